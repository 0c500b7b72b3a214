"""Terminal views of a finished run: the verdict, its items, the most divided ones, figures, and what to do next."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dprm_data.core.failure_reasons import advice_on_failed
from dprm_data.core.format import money, number, percent
from dprm_data.core.text import one_line
from dprm_data.engine.counters import Counters
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.pair_findings import PairFindings
from dprm_data.runs.summary import ItemLine, ModelLine, Summary
from dprm_data.runs.verdict import Verdict
from dprm_data.terminal.bars import WIDTH, bar
from dprm_data.terminal.counters_view import estimated_note, usage_line
from dprm_data.terminal.pairs_view import pairs_view
from dprm_data.terminal.table import table
from dprm_data.terminal.verdict_view import verdict_view

_WIDE = 100  # columns of a terminal that has room for more figures


def summary_view(
    verdict: Verdict,
    summary: Summary,
    folder: RunFolder,
    counters: Counters | None,
    *,
    local: bool,
    pairs: PairFindings | None = None,
) -> RenderableType:
    """A run's verdict and summary. counters: of this process's calls, if it made any; local: whether the bundled model answered; pairs: of a run in which responses were compared."""
    parts: list[RenderableType] = [verdict_view(verdict), *([_demo_warning()] if local else [])]
    if _rated(summary) or not pairs:
        parts += [_legend(summary), _first_items(summary)]
        more = summary.items - len(summary.first)
        if more > 0:
            parts.append(Text(f"… and {more:,} more: dprm show {folder} --item ID", style="dim"))
    parts.append(Text())
    if pairs:
        parts += [pairs_view(pairs), Text()]
    if summary.divided and summary.items > 3:
        parts += [_divided_items(summary), Text()]
    if summary.by_model:
        parts += [_models(summary.by_model), Text()]
    parts += [_figures(summary, counters, said=verdict.signal.line().detail), _next_steps(summary, folder, pairs)]
    return Group(*parts)


def _rated(summary: Summary) -> bool:
    """Whether any item has a vote."""
    return summary.mean_expected_reward is not None


def _legend(summary: Summary) -> RenderableType:
    entries = []
    for i, (label, reward) in enumerate(zip(summary.labels, summary.rewards, strict=True)):
        only = [float(j == i) for j in range(len(summary.labels))]
        entry = Table.grid(padding=(0, 1))
        entry.add_row(bar(only, summary.rewards, 2), Text(f"{label} ({reward:g})", no_wrap=True))
        entries.append(entry)
    return Padding(Columns(entries, padding=(0, 2)), (1, 0))


@dataclass(frozen=True)
class Column:
    """A figure of an item, shown on terminals of at least `from_width` columns."""

    name: str
    figure: Callable[[ItemLine], str]
    from_width: int = 0


@dataclass(frozen=True)
class ItemTable:
    """A line per item: id, response, distribution, and the figures that the width allows."""

    title: str
    rewards: Sequence[float]
    lines: Sequence[ItemLine]
    columns: Sequence[Column]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        shown = [column for column in self.columns if options.max_width >= column.from_width]
        items = table(
            self.title,
            "response",
            "distribution",
            *(column.name for column in shown),
            left=("response", "distribution"),
        )
        items.expand = True
        for column in items.columns:
            column.no_wrap = True
        items.columns[1].ratio = 1
        items.columns[2].min_width = WIDTH
        for line in self.lines:
            voted = line.evidence > 0
            items.add_row(
                line.item_id[:8],
                Text(one_line(line.response, 200)),
                bar(line.distribution, self.rewards) if voted else Text("no votes", style="dim"),
                *(column.figure(line) if voted else "–" for column in shown),
            )
        yield items


def _first_items(summary: Summary) -> RenderableType:
    columns = (
        Column("reward", lambda line: number(line.expected_reward, 2, sign=True)),
        Column(
            "90%",
            lambda line: f"{number(line.reward_low, 1, sign=True)} … {number(line.reward_high, 1, sign=True)}",
            _WIDE,
        ),
        Column("evidence", lambda line: f"{round(line.evidence, 1):g}", _WIDE),
    )
    return ItemTable("item", summary.rewards, summary.first, columns)


def _divided_items(summary: Summary) -> RenderableType:
    disagreement = Column("disagreement", lambda line: percent(line.disagreement))
    return ItemTable("most divided", summary.rewards, summary.divided, (disagreement,))


def _models(lines: Sequence[ModelLine]) -> RenderableType:
    shown = table("model", "annotations", "with a label", "cost", "per 1,000 labels")
    for line in lines:
        thousand = None if line.cost_per_vote is None else 1000 * line.cost_per_vote
        shown.add_row(
            one_line(line.model_id, 60),
            f"{line.annotations:,}",
            percent(line.ok / max(line.annotations, 1)),
            money(line.cost, "not known"),
            money(thousand, "not known"),
        )
    return shown


def _figures(summary: Summary, counters: Counters | None, *, said: str) -> Text:
    """Figures. said: what the verdict says of the annotators, which is not said again."""
    failed = sum(count for status, count in summary.statuses.items() if status != "ok")
    text = Text()
    some = f"{summary.voted_items:,} of " if summary.voted_items < summary.items else ""
    labels = summary.annotations - summary.comparisons
    counts = [f"{labels:,} annotations"] if labels or not summary.comparisons else []
    counts += [f"{summary.comparisons:,} comparisons"] if summary.comparisons else []
    text.append(f"{some}{summary.items:,} items, {', '.join(counts)}", style="bold")
    what = "a label" if labels or not summary.comparisons else "an answer"
    text.append(f" ({failed:,} without {what})" if failed else f" (all with {what})")
    text.append(f", {summary.pairs:,} preference pairs")
    if _rated(summary) or not summary.comparisons:
        text.append(f", mean expected reward {number(summary.mean_expected_reward, 2, sign=True)}")
    for reason, count in summary.failures.items():
        text.append(f"\n  {count:,} × {one_line(reason, 120)}", style="yellow")
    if failed:
        text.append(f"\n  {advice_on_failed(summary.failures)}", style="yellow")
    if counters:
        text.append("\n").append_text(usage_line(counters))
    if summary.estimated_calls and not (counters and counters.estimated_calls):
        text.append(f"\n{estimated_note(summary.estimated_calls)}", style="yellow")
    if summary.reasoning_tokens and not counters:
        text.append(f"\ntokens of thought: {summary.reasoning_tokens:,}")
    if summary.pair_accuracy and summary.longer_accuracy:
        share, pairs = summary.pair_accuracy
        text.append(
            f"\nagreement with the source's {pairs:,} ranked pairs: panel {percent(share)}, "
            f"longer response {percent(summary.longer_accuracy[0])}"
        )
    for sentence in summary.spread:
        if sentence not in said:
            text.append(f"\n{sentence}")
    return text


def _demo_warning() -> Text:
    return Text(
        "\nThe bundled model is very small. It shows that the pipeline works, not what people think: "
        "on real pairs it agrees with people no better than chance.",
        style="italic",
    )


def _next_steps(summary: Summary, folder: RunFolder, pairs: PairFindings | None) -> Text:
    text = Text("\nNext\n", style="bold")
    example = summary.divided[0].item_id[:8] if summary.divided else "ID"
    dprm = command_name()
    steps = []
    if pairs:
        prompt = pairs.divided[0].group_id[:8]
        steps += [(f"{dprm} show {folder} --prompt {prompt}", "show one prompt with its responses in order")]
    if _rated(summary) or not pairs:
        steps += [
            (f"{dprm} show {folder} --item {example}", "show one item with every vote"),
            (f"{dprm} ratings fit {folder} --family dirichlet", "fit the same votes another way, without a call"),
        ]
    opened = "distributions" if _rated(summary) or not pairs else "preferences"
    steps += [
        (f"dprm_data.open_run({str(folder)!r}).{opened}", "open its tables in Python"),
        (f"{folder}/README.md", "read the dataset card"),
    ]
    for command, purpose in steps:
        text.append(f"  {purpose}:\n", style="dim not bold")
        text.append(f"    {command}\n", style="bold cyan")
    return text


def command_name() -> str:
    """How to call this command: its bare name, or its path if it is not on the PATH (in an inactive virtual environment)."""
    called = Path(sys.argv[0])
    if called.name != "dprm" or shutil.which("dprm"):
        return "dprm"
    relative = os.path.relpath(called)
    return str(called.absolute()) if relative.startswith("..") else relative
