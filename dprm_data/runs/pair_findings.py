"""What a report says of a run's pairs: the surest, those on which people are most divided, and how often each generator's responses are preferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.labels.statistics import Interval, Resamples

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

SHOWN = 5  # pairs of each kind
_FIGURES = tables.part(
    tables.PREFERENCES,
    [
        "group_id",
        "chosen_generator",
        "rejected_generator",
        "margin",
        "probability",
        "share",
        "share_low",
        "share_high",
        "tie",
        "basis",
    ],
)
_TEXTS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class PairLine:
    """A pair with the last turns of its texts. against: the share of people who prefer rejected."""

    group_id: str
    prompt: str
    chosen: str
    rejected: str
    margin: float
    probability: float
    share: float
    share_low: float
    share_high: float
    tie: float
    against: float


@dataclass(frozen=True)
class Wins:
    """The responses of one generator against those of others to the same prompts: how many people prefer them, in `pairs` pairs. Those without a preference count half."""

    generator: str
    pairs: int
    share: Interval


@dataclass(frozen=True)
class PairFindings:
    """pairs: how many were published, sure: of them with a probability above 0.9; divided: pairs whose two shares are closest to each other."""

    pairs: int
    sure: int
    surest: list[PairLine]
    divided: list[PairLine]
    wins: list[Wins]


def pair_findings(run: Run) -> PairFindings | None:
    """The pairs of a run; None if there are none, or if an older version wrote them without probabilities."""
    path = run.folder.needs("preferences")
    there = [name for name in _FIGURES.names if name in pq.read_schema(path).names]
    pairs = tables.conformed(pq.read_table(path, columns=there), _FIGURES)
    if not pairs.num_rows or pairs["probability"].null_count:
        return None
    probability, share, tie, margin = (
        pairs[name].to_numpy().astype(np.float64) for name in ("probability", "share", "tie", "margin")
    )
    surest = np.lexsort((-margin, -probability))[:SHOWN]
    divided = np.argsort(np.abs(2.0 * share + tie - 1.0), kind="stable")[:SHOWN]
    lines = _lines(run, pairs, np.concatenate([surest, divided]))
    return PairFindings(
        len(share),
        int((probability > 0.9).sum()),
        lines[: len(surest)],
        lines[len(surest) :],
        _wins(pairs, share + 0.5 * tie),
    )


def _lines(run: Run, pairs: pa.Table, rows: Ints) -> list[PairLine]:
    texts: dict[int, dict[str, Any]] = {}
    with pq.ParquetFile(run.folder.needs("preferences")) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = sorted({int(row) for row in rows if start <= row < end})
            if here:
                found = file.read_row_group(group, columns=list(_TEXTS)).take([row - start for row in here])
                texts |= dict(zip(here, found.to_pylist(), strict=True))
            start = end
    lines = []
    for row, figures in zip(rows, pairs.take(pa.array(rows)).to_pylist(), strict=True):
        said = {name: (texts[int(row)][name] or [{"content": ""}])[-1]["content"] for name in _TEXTS}
        values = {name: figures[name] for name in PairLine.__dataclass_fields__ if name in figures}
        lines.append(PairLine(**said, **values, against=max(0.0, 1.0 - figures["share"] - figures["tie"])))
    return lines


def _wins(pairs: pa.Table, preferred: Floats) -> list[Wins]:
    """By generator. preferred (P,): how many people prefer chosen, those without a preference counting half."""
    chosen, rejected = (
        np.array(pairs[f"{side}_generator"].to_pylist(), dtype=object) for side in ("chosen", "rejected")
    )
    apart = np.array([a is not None and b is not None and a != b for a, b in zip(chosen, rejected, strict=True)])
    groups = pairs["group_id"].to_pylist()
    found = []
    for name in sorted({*chosen[apart], *rejected[apart]}):
        rows = np.flatnonzero(apart & ((chosen == name) | (rejected == name)))
        share = np.where(chosen[rows] == name, preferred[rows], 1.0 - preferred[rows])
        draws = Resamples.of([groups[row] for row in rows], np.ones(len(rows)), resamples=1000, level=0.95, seed=0)
        found.append(Wins(str(name), len(rows), draws.mean(share)))
    return sorted(found, key=lambda wins: -(wins.share.value or 0.0))
