"""Terminal view of what more human answers would buy."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.review.answer_plan import AnswerPlan, Expected
from dprm_data.terminal.table import table

_GROUPS, _ITEMS, _NAMED = 10, 5, 3


def answer_plan_view(plan: AnswerPlan, run: Path) -> RenderableType:
    """The expected error now and after each number of answers, the groups, the first items, and the command that sends them."""
    shown = table("more answers", "items", "error, at random", "error, chosen", "mean, at random", "mean, chosen")
    shown.add_row("none", "0", *[f"{number(plan.now.error, 3)}"] * 2, *[_half(plan.now)] * 2)
    for one in plan.purchases:
        shown.add_row(
            f"{one.answers:,}",
            f"{one.items:,}",
            number(one.at_random.error, 3),
            number(one.chosen.error, 3),
            _half(one.at_random),
            _half(one.chosen),
        )
    parts: list[RenderableType] = [_state(plan), shown, _meaning(plan)]
    if plan.groups:
        parts += [Text(), *_groups(plan)]
    best = table("where an answer helps most", "expected reward", "error now")
    for item in plan.chosen[:_ITEMS]:
        best.add_row(item.item_id[:12], number(item.expected_reward, 2, sign=True), number(item.error, 2))
    most = plan.purchases[-1]
    send = f"dprm review push {run} -w WORKSPACE -d DATASET --select gain --records {most.items} --people {plan.people} --blind"
    return Group(*parts, Text(), best, Text(), Text(f"To send them: {send}", style="dim"))


def _state(plan: AnswerPlan) -> Text:
    text = Text(f"{plan.items:,} items, {plan.answers:,} answers by {plan.reviewers:,} people so far\n", style="bold")
    if plan.learned:
        text.append("The panel's error was learned from these answers.\n", style="not bold")
    else:
        text.append(
            "The panel's error is assumed, since too few people have answered to learn it: figures are only as good as this assumption. Plan again after the first answers.\n",
            style="not bold yellow",
        )
        if plan.worth:
            text.append(f"{plan.worth}\n", style="not bold")
    return text


def _meaning(plan: AnswerPlan) -> Text:
    text = Text(
        f"Error: expected root mean squared error of all items' expected rewards, after review calibrate. Mean: half of the {percent(plan.level)} interval of their mean. "
        f"{plan.people} {'person' if plan.people == 1 else 'people'} per item.\n",
        style="dim",
    )
    if plan.spread is not None and plan.spread < plan.purchases[-1].chosen.error:
        most = plan.purchases[-1]
        text.append(
            f"With one person per item (--people 1), {most.answers:,} answers would bring the error to {number(plan.spread, 3)}.\n"
        )
    return text


def _groups(plan: AnswerPlan) -> list[RenderableType]:
    """The groups with the widest intervals, by name and in a table."""
    names = ", ".join(one.group for one in plan.groups[:_NAMED])
    shown = table(str(plan.by), "items", "mean now", "mean, at random", "mean, chosen", "answers, chosen")
    for one in plan.groups[:_GROUPS]:
        shown.add_row(
            one.group,
            f"{one.items:,}",
            *(f"± {number(half, 3)}" for half in (one.half_width, one.at_random, one.chosen)),
            f"{one.answers:,}",
        )
    lines: list[RenderableType] = [Text(f"Widest intervals: {names}"), shown]
    if len(plan.groups) > _GROUPS:
        lines.append(Text(f"{len(plan.groups) - _GROUPS:,} more in --json", style="dim"))
    return lines


def _half(one: Expected) -> str:
    return f"± {number(one.half_width, 3)}"
