"""Terminal views of a pilot: what it will cost, and what it found."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import duration, money
from dprm_data.engine.plan import Plan
from dprm_data.labels.statistics import Interval
from dprm_data.pipeline.pilot import Pilot, Projection
from dprm_data.preference.model_agreement import StatedCheck
from dprm_data.runs.variance_sentences import sentences
from dprm_data.terminal.comparison_view import estimate, signed
from dprm_data.terminal.table import facts, table
from dprm_data.terminal.variance_view import variance_view


def pilot_price(plan: Plan) -> str:
    """What the pilot will ask and cost, in a line."""
    return f"the pilot: {calls_and_price(plan)}"


def calls_and_price(plan: Plan) -> str:
    """Items, calls and dollars of a plan."""
    known = f" ({plan.calls_known:,} more are in the ledger already)" if plan.calls_known else ""
    cost = "cost not known" if plan.cost is None else f"about {money(plan.cost)}, at most {money(plan.cost_at_most)}"
    return f"{plan.items:,} items, {plan.calls_needed:,} calls{known}, {cost}"


def pilot_view(found: Pilot) -> RenderableType:
    """The findings, the warning first where there is one."""
    failed = found.annotations - found.ok
    header = Text(f"{found.items:,} items, {found.annotations:,} annotations", style="bold")
    header.append(f" ({failed:,} without a label)" if failed else " (all with a label)", style="not bold")
    parts: list[RenderableType] = [header, Text()]
    if found.variance:
        for sentence in sentences(found.variance.components)[1:]:
            parts.append(Text(sentence, style="bold yellow" if found.warns and sentence.startswith("Personas") else ""))
        parts += [Text(), variance_view(found.variance), Text()]
    if found.stated:
        parts += [_stated(found.stated), Text()]
    parts += [projection_view(found.projection), Text()]
    notes = [*found.notes, *(found.variance.components.notes if found.variance else ())]
    parts += [Text(f"note: {note}", style="dim") for note in notes]
    parts.append(Text("These labels are simulated: the intervals say nothing about people.", style="italic"))
    return Group(*parts)


def _stated(found: StatedCheck) -> RenderableType:
    shown = table(f"distance to half of the votes ({found.items:,} items)", "Wasserstein-1", "beyond the other half")
    shown.add_row("the other half of the votes", estimate(found.other_half), "")
    shown.add_row("what the model states", estimate(found.stated), estimate(found.worse_than_half, signed))
    shown.add_row("one distribution for all items", estimate(found.everyone), "")
    return Group(shown, Text(_verdict(found.better_than_everyone)))


def _verdict(better: Interval) -> str:
    if better.low is not None and better.low > 0:
        return "A stated distribution tells items apart."
    if better.high is not None and better.high < 0:
        return "A stated distribution is farther from the votes than one distribution for all items is."
    return "A stated distribution tells no more about an item than one distribution for all items does."


def projection_view(found: Projection) -> RenderableType:
    """The whole run: calls, dollars, time."""
    rows = facts()
    most = "at most " if found.at_most else ""
    cost = "not known"
    if found.cost.value is not None:
        cost = f"{most}{money(found.cost.value)}"
        if found.cost.value and found.cost.low is not None:
            cost += f"  ({money(found.cost.low)} to {money(found.cost.high)}, over items)"
    rows.add_row("the whole run", Text(f"{found.items:,} items, {most}{found.calls:,} calls", style="bold"))
    rows.add_row("cost", Text(cost, style="bold"))
    rows.add_row("still to pay", f"{money(found.left, 'not known')}, {found.calls_left:,} calls")
    if found.seconds is not None and found.calls_left:
        rows.add_row("time", f"about {duration(found.seconds)} at the pilot's pace")
    return rows
