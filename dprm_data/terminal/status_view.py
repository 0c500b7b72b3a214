"""Terminal view of how a run stands."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import money, percent
from dprm_data.core.text import one_line
from dprm_data.runs.run_status import RunStatus
from dprm_data.terminal.table import facts


def status_view(found: RunStatus) -> RenderableType:
    """What is paid and how far it is, then what failed, then what to do."""
    rows = facts()
    rows.add_row("run", Text(f"{found.name or 'not begun'} in {found.folder}", style="bold"))
    rows.add_row("state", _state(found))
    if found.items is not None:
        share = f"  ({percent(found.items_done / found.items)})" if found.items else ""
        rows.add_row("items done", f"{found.items_done:,} of {found.items:,}{share}")
    rows.add_row("calls", _calls(found))
    rows.add_row("paid", Text(_paid(found), style="bold"))
    if found.possibly_billed:
        when = "in flight now, or when a process was killed" if found.running else "when a process was killed"
        rows.add_row(
            "",
            Text(f"{money(found.possibly_billed)} may be billed besides, for calls in flight {when}", style="yellow"),
        )
    if found.calls_left:
        rows.add_row("still to pay", "not known" if found.cost_left is None else f"about {money(found.cost_left)}")
    if found.budget is not None:
        rows.add_row("budget", money(found.budget))
    tables = ", ".join(f"{count:,} {name}" for name, count in found.tables.items())
    rows.add_row("tables", tables or "none yet")
    parts: list[RenderableType] = [rows]
    for reason, count in found.failures.items():
        parts.append(Text(f"  {count:,} × {one_line(reason, 120)}", style="yellow"))
    if found.attempts:
        listed = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in found.attempts.items())
        parts.append(Text(f"failed attempts: {listed}", style="yellow"))
    parts += [Text(fault, style="yellow") for fault in found.faults]
    parts.append(_next(found))
    return Group(*parts)


def _state(found: RunStatus) -> str:
    if found.running:
        return "a process is working on it"
    if found.stopped:
        return found.stopped if found.stopped == "stopped" else f"stopped: {one_line(found.stopped, 300)}"
    if found.calls_left == 0 and found.items:
        return "complete" if found.tables.get("distributions") else "every call is made; not fitted yet"
    return "not complete" if found.calls_made else "no call was made"


def _calls(found: RunStatus) -> str:
    left = "" if found.calls_left is None else f", {found.calls_left:,} left"
    return f"{found.calls_made:,} made{left}"


def _paid(found: RunStatus) -> str:
    unknown = f", and {found.unpriced:,} calls whose price is not known" if found.unpriced else ""
    return f"{money(found.spent)}{unknown}"


def _next(found: RunStatus) -> Text:
    text = Text("\nNext\n", style="bold")
    for command, purpose in found.steps:
        text.append(f"  {command}", style="bold cyan")
        text.append(f"   {purpose}\n", style="dim not bold")
    return text
