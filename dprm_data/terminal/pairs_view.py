"""Terminal view of a run's pairs: the surest, and those on which people are most divided."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import number, percent
from dprm_data.core.text import one_line
from dprm_data.runs.pair_findings import PairFindings, PairLine
from dprm_data.terminal.table import table

_RESPONSE, _DIVIDED = 24, 3


def pairs_view(found: PairFindings) -> RenderableType:
    """The surest pairs, and the most divided ones where there are more."""
    parts: list[RenderableType] = [_lines("surest pairs: chosen", found.surest)]
    if found.pairs > _DIVIDED:
        parts += [Text(), _lines("most divided: chosen", found.divided[:_DIVIDED])]
    return Group(*parts)


def _lines(title: str, lines: Sequence[PairLine]) -> RenderableType:
    shown = table(title, "rejected", "probability", "prefer it", "tie", "prompt", left=("rejected", "prompt"))
    for column in shown.columns:
        column.no_wrap = True
    for line in lines:
        shown.add_row(
            one_line(line.chosen, _RESPONSE),
            one_line(line.rejected, _RESPONSE),
            number(line.probability, 2),
            percent(line.share),
            percent(line.tie),
            line.group_id[:8],
        )
    return shown
