"""What the terminal shows of a run: plain data in, rich renderables out."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dprm_data.core.text import one_line, visible
from dprm_data.engine.counters import Counters
from dprm_data.engine.plan import Plan
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.summary import ItemLine, PersonaLine, Summary
from dprm_data.terminal.bars import WIDTH, bar, colour

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit

_ROOMY = 100  # columns of a screen from which on there is room for more figures


def summary_view(summary: Summary, folder: RunFolder, counters: Counters | None, *, local: bool) -> RenderableType:
    """The end of a run, for a person."""
    parts: list[RenderableType] = [_legend(summary), _items_table(summary, summary.first), Text()]
    if summary.items > len(summary.first):
        parts.insert(
            2, Text(f"… and {summary.items - len(summary.first):,} more: dprm show {folder} --item ID", style="dim")
        )
    if summary.divided and summary.items > 3:
        parts += [_divided(summary), Text()]
    parts += [_figures(summary, counters), _warning(summary, local), _next_steps(summary, folder)]
    return Group(*parts)


def _legend(summary: Summary) -> RenderableType:
    entries = []
    for i, (label, reward) in enumerate(zip(summary.labels, summary.rewards, strict=True)):
        one = [0.0] * len(summary.labels)
        one[i] = 1.0
        entry = Table.grid(padding=(0, 1))
        entry.add_row(bar(one, summary.rewards, 2), Text(f"{label} ({reward:g})", no_wrap=True))
        entries.append(entry)
    return Padding(Columns(entries, padding=(0, 2)), (1, 0))


def _items_table(summary: Summary, lines: Sequence[ItemLine]) -> RenderableType:
    columns = (
        Column("reward", lambda line: f"{line.expected_reward:+.2f}"),
        Column("90 %", lambda line: f"{line.reward_low:+.1f} … {line.reward_high:+.1f}", _ROOMY),
        Column("votes", lambda line: f"{line.evidence:g}", _ROOMY),
    )
    return ItemTable("item", summary.rewards, lines, columns)


@dataclass(frozen=True)
class Column:
    """A figure about an item; shown where the screen is at least `from_width` wide."""

    name: str
    of: Callable[[ItemLine], str]
    from_width: int = 0


@dataclass(frozen=True)
class ItemTable:
    """Items in a line each: id, response, distribution, and figures as far as the width allows."""

    title: str
    rewards: Sequence[float]
    lines: Sequence[ItemLine]
    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        shown = [column for column in self.columns if options.max_width >= column.from_width]
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", expand=True)
        table.add_column(self.title, no_wrap=True)
        table.add_column("response", ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_column("distribution", no_wrap=True, min_width=WIDTH)
        for column in shown:
            table.add_column(column.name, justify="right", no_wrap=True)
        for line in self.lines:
            response = Text(one_line(line.response, 200))
            table.add_row(
                line.item_id[:8],
                response,
                bar(line.distribution, self.rewards) if line.evidence > 0 else Text("no votes", style="dim"),
                *(column.of(line) if line.evidence > 0 else "–" for column in shown),
            )
        yield table


def _divided(summary: Summary) -> RenderableType:
    return ItemTable(
        "divided", summary.rewards, summary.divided, (Column("differ", lambda line: f"{line.disagreement:.0%}"),)
    )


def _figures(summary: Summary, counters: Counters | None) -> Text:
    failed = sum(count for status, count in summary.statuses.items() if status != "ok")
    text = Text()
    text.append(f"{summary.items:,} items, {summary.annotations:,} annotations", style="bold")
    text.append(f" ({failed:,} without a label)" if failed else " (all with a label)")
    text.append(f", {summary.pairs:,} preference pairs, mean expected reward {_reward(summary.mean_expected_reward)}\n")
    for reason, count in summary.failures.items():
        text.append(f"  {count:,} × {one_line(reason, 120)}\n", style="yellow")
    if failed:
        text.append("  run again with --retry-failed to ask these anew\n", style="yellow")
    if counters:
        text.append_text(counters_line(counters))
    if summary.estimated_calls and not (counters and counters.estimated_calls):
        text.append(f"\n{_estimated(summary.estimated_calls)}", style="yellow")
    if summary.pair_accuracy and summary.longer_accuracy:
        share, pairs = summary.pair_accuracy
        text.append(
            f"\nThe source's own ranking: the panel agrees in {share:.2f} of {pairs:,} pairs; the longer response is the better in {summary.longer_accuracy[0]:.2f}."
        )
    return text


def _estimated(calls: int) -> str:
    return f"the server did not report the tokens of {calls:,} calls: they are estimated, and such a call costs at most what is counted"


def _reward(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def counters_line(counters: Counters) -> Text:
    """Calls, tokens, dollars and time of this process."""
    usage = counters.usage
    text = Text(f"now: {counters.calls:,} calls", style="none")
    if counters.replayed:
        text.append(f" ({counters.replayed:,} annotations were in the ledger, for nothing)")
    text.append(f", {usage.input_tokens:,} tokens in")
    if usage.cached_tokens:
        text.append(f" ({usage.cached_tokens / max(1, usage.input_tokens):.0%} from the provider's cache)")
    text.append(
        f", {usage.output_tokens:,} out, {money(counters.cost if counters.cost_known else None)}, {clock(counters.seconds)}"
    )
    if counters.estimated_calls:
        text.append(f"\n{_estimated(counters.estimated_calls)}", style="yellow")
    if counters.retries:
        text.append(
            "\nretried: "
            + ", ".join(f"{count} × {kind.replace('_', ' ')}" for kind, count in counters.retries.items()),
            style="yellow",
        )
    return text


def _warning(summary: Summary, local: bool) -> RenderableType:
    if summary.simulated == 0:
        return Text()
    words = "These labels are simulated: a model played the personas."
    if local:
        words += " The bundled model is very small. It shows that the pipeline works, not what people think: on real pairs it agrees with people no better than chance."
    return Text("\n" + words, style="italic")


def _next_steps(summary: Summary, folder: RunFolder) -> Text:
    text = Text("\nNext\n", style="bold")
    example = summary.divided[0].item_id[:8] if summary.divided else "ID"
    dprm = command_name()
    for command, what in (
        (f"{dprm} show {folder} --item {example}", "one item, with every vote"),
        (f"{dprm} fit {folder} --family dirichlet", "the same votes otherwise, for nothing"),
        (f"datasets.load_dataset({str(folder)!r})", "the dataset, in Python"),
        (f"{folder}/README.md", "its card"),
    ):
        text.append(f"  {command}", style="bold cyan")
        text.append(f"   {what}\n", style="dim")
    return text


def command_name() -> str:
    """How this command can be typed: its bare name, or its path where it is not on the PATH (a virtual environment that is not active)."""
    called = Path(sys.argv[0])
    if called.name != "dprm" or shutil.which("dprm"):
        return "dprm"
    relative = os.path.relpath(called)
    return str(called.absolute()) if relative.startswith("..") else relative


def plan_view(plan: Plan, budget: float | None) -> RenderableType:
    """The plan, for a person."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    about = "" if plan.error == 0 else f"  (counted on {plan.sample:,} items, ± {plan.error:.0%})"
    table.add_row("items", f"{plan.items:,}")
    table.add_row("annotations", f"{plan.annotations:,}  ({plan.annotators} per item)")
    table.add_row("calls to make", Text(f"{plan.calls_needed:,}{about}", style="bold"))
    if plan.calls_known:
        table.add_row("", f"{plan.calls_known:,} more are in the ledger and cost nothing")
    source = (
        f"as {plan.corrected_by:,} real answers had it"
        if plan.corrected_by
        else "taking 4 characters for a token; real ones may differ by a third"
    )
    table.add_row("tokens", f"{plan.input_tokens:,} in, {plan.output_tokens:,} out  ({source})")
    table.add_row(
        "cost",
        Text(
            f"{money(plan.cost)}, at most {money(plan.cost_at_most)}" if plan.cost is not None else "not known",
            style="bold",
        ),
    )
    table.add_row("", "without re-asks and without the provider's cache, which makes it cheaper" if plan.cost else "")
    table.add_row("prices", plan.prices)
    if plan.spent:
        table.add_row("spent before", money(plan.spent))
    if budget is not None:
        fits = plan.cost is not None and plan.spent + plan.cost <= budget
        table.add_row(
            "budget",
            Text(
                f"{money(budget)}{'' if fits else ': not enough for all of it; the run would stop there, and could go on later'}",
                style="none" if fits else "yellow",
            ),
        )
    return table


def fit_view(fitted: Fit, space: LabelSpace, out: object) -> RenderableType:
    """The end of a fit of people's votes."""
    figures = fitted.summary()
    text = Text(
        f"{figures['items']:,} items, {figures['votes']:,.0f} votes, family {figures['family']}\n", style="bold"
    )
    text.append(
        f"mean expected reward {figures['mean_expected_reward']:+.3f}, credible interval {figures['mean_interval_width']:.3f} wide on average\n"
        f"mean disagreement {figures['mean_disagreement']:.3f}, {figures['divided_items']:,} items divided into two camps\n",
        style="not bold",
    )
    for note in figures["notes"]:
        text.append(f"{note}\n", style="yellow not bold")
    text.append(f"wrote {out}", style="bold")
    shares = fitted.distribution.mean(axis=0).tolist()
    return Group(_shares_table(space, shares), text)


def _shares_table(space: LabelSpace, shares: Sequence[float]) -> Table:
    """Every label with its share of all mass."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("label", "reward", "share", ""):
        table.add_column(column, justify="right" if column in ("reward", "share") else "left")
    rewards = space.rewards.tolist()
    for i, name in enumerate(space.names):
        table.add_row(
            name, f"{rewards[i]:g}", f"{shares[i]:.3f}", Text("█" * round(shares[i] * 40), style=colour(rewards, i))
        )
    return table


def item_view(row: dict[str, Any], annotations: Sequence[dict[str, Any]], space: LabelSpace) -> RenderableType:
    """One item: its texts, its distribution, and what every annotator said."""
    names, rewards = space.names, space.rewards.tolist()
    texts = Text()
    for message in [*row["prompt"], *row["completion"]]:
        texts.append(f"{visible(message['role'])}: ", style="bold")
        texts.append(f"{visible(message['content'])}\n")
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("label", "share", "", "votes", "reward"):
        table.add_column(column, justify="left" if column in ("label", "") else "right")
    for i, name in enumerate(names):
        share = row["label_distribution"][i]
        table.add_row(
            name,
            f"{share:.3f}",
            Text("█" * round(share * 30), style=colour(rewards, i)),
            f"{row['votes'][i]:.2f}",
            f"{rewards[i]:g}",
        )
    figures = Text(
        f"expected reward {row['expected_reward']:+.3f} ({row['reward_low']:+.2f} … {row['reward_high']:+.2f}), disagreement {row['disagreement']:.2f}, entropy {row['entropy']:.2f} nats\n"
    )
    return Group(
        Panel(texts, title=f"item {visible(row['item_id'])}", title_align="left"),
        table,
        figures,
        _votes_table(annotations, names, rewards),
    )


def _votes_table(annotations: Sequence[dict[str, Any]], names: Sequence[str], rewards: Sequence[float]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("annotator", "label", "probabilities", "why"):
        table.add_column(column)
    for row in annotations:
        label = Text(
            row["label"] or row["status"],
            style=colour(rewards, names.index(row["label"])) if row["label"] else "yellow",
        )
        probs: RenderableType = bar(row["probs"], rewards, 16) if row["probs"] else Text()
        who = (
            row["annotator_id"]
            + (f" #{row['replicate']}" if row["replicate"] else "")
            + (" (person)" if row["annotator_kind"] == "human" else "")
        )
        table.add_row(who, label, probs, one_line(row["rationale"] or row["reason"] or "", 80))
    return table


def annotator_view(
    annotator_id: str, persona: dict[str, Any] | None, annotations: pa.Table, space: LabelSpace
) -> RenderableType:
    """One annotator: who it is, and how often it gave each label."""
    names, rewards = space.names, space.rewards.tolist()
    counts = Counter(annotations["label"].to_pylist())
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("label", "", "annotations"):
        table.add_column(column, justify="right" if column == "annotations" else "left")
    for i, name in enumerate(names):
        table.add_row(
            name,
            Text("█" * round(30 * counts[name] / annotations.num_rows), style=colour(rewards, i)),
            f"{counts[name]:,}",
        )
    if counts[None]:
        table.add_row("(none)", "", f"{counts[None]:,}")
    who = (
        Text(f"{persona['name'] or annotator_id}\n", style="bold")
        if persona
        else Text(f"{annotator_id}\n", style="bold")
    )
    if persona:
        who.append(f"{persona['description']}\n", style="not bold")
    return Group(who, table)


def personas_view(personas: Sequence[PersonaLine]) -> Table:
    """What every annotator did."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("annotator", "annotations", "without a label", "mean reward", "cost"):
        table.add_column(column, justify="left" if column == "annotator" else "right")
    for line in personas:
        reward = "–" if line.mean_reward is None else f"{line.mean_reward:+.2f}"
        table.add_row(
            line.annotator_id, f"{line.annotations:,}", f"{line.annotations - line.ok:,}", reward, money(line.cost)
        )
    return table


def money(dollars: float | None) -> str:
    """Dollars in so many digits as they need."""
    if dollars is None:
        return "cost not known"
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def clock(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
