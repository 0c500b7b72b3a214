"""Terminal view of one prompt: its responses in order, with how sure each step of the order is."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.core.text import one_line, visible
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.prompt_ranking import PromptRanking, RankedResponse
from dprm_data.terminal.bars import bar

_BASIS = {"ratings": "ratings", "comparisons": "comparisons", "both": "ratings and comparisons"}


def prompt_view(found: PromptRanking, space: LabelSpace) -> RenderableType:
    """The prompt, and every response, the best first."""
    texts = Text()
    for message in found.prompt:
        texts.append(f"{visible(message['role'])}: ", style="bold")
        texts.append(f"{visible(message['content'])}\n")
    rewards = space.rewards.tolist()
    parts: list[RenderableType] = [
        Panel(texts, title=Text(f"prompt {visible(found.group_id)}"), title_align="left"),
        Text(f"Responses in order, by {_BASIS[found.basis]}", style="dim"),
        *(_response(place, each, rewards) for place, each in enumerate(found.responses, 1)),
    ]
    if found.without_votes:
        parts.append(Text(f"{found.without_votes:,} more neither rated nor compared"))
    return Group(*parts)


def _response(place: int, each: RankedResponse, rewards: list[float]) -> RenderableType:
    """A response with its figures, and what is known of it against the next."""
    low, high = (number(value, 2, sign=True) for value in (each.reward_low, each.reward_high))
    head = Table.grid(padding=(0, 2))
    figures = f"{place}. {number(each.expected_reward, 2, sign=True)} ({low} … {high})"
    ratings = bar(each.distribution, rewards, 16) if each.distribution else Text()
    head.add_row(Text(figures, style="bold"), ratings, Text(each.item_id[:8], style="dim"))
    text = Text(f"   {one_line(each.response[-1]['content'] if each.response else '', 76)}\n")
    if each.probability is not None and each.share is not None and each.tie is not None:
        text.append(
            f"   Better than the next with probability {number(each.probability, 2)}; {percent(each.share)} of people prefer it, "
            f"{percent(each.tie)} have no preference.\n",
            style="dim",
        )
    return Group(head, text)
