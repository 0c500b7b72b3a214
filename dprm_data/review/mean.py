"""People's mean reward over a run's items, estimated from the panel and the answers of a few people: `dprm review mean`.

Over all items, or for each group of items (a column of the source's rows, or the source file), with the differences between groups. The mathematics is in `powered.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError, ReviewError
from dprm_data.ingest.votes import item_codes, label_codes
from dprm_data.review.overlap import reviewed
from dprm_data.review.powered import Estimate, powered_difference, powered_mean

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

SOURCE = "source"
MOST_GROUPS = 20


@dataclass(frozen=True)
class Means:
    """of: "reward", or the label whose share is estimated. whole: over all items; groups: by value of `by`; differences: (first, second, first minus second). representative: whether
    the reviewed items represent all items; skipped: groups with too few answers, with the reason."""

    of: str
    by: str | None
    level: float
    whole: Estimate
    groups: dict[str, Estimate]
    differences: list[tuple[str, str, Estimate]]
    representative: bool
    skipped: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def means(run: Run, *, label: str | None = None, by: str | None = None, level: float = 0.9) -> Means:
    """People's mean reward over the run's items, or the share of a label. by: a column of the source's rows, or `source`. Makes no call.

    Raises `ReviewError` without enough people's answers, `InputError` for a label or column that is not there.
    """
    both, space = reviewed(run), run.space
    values = space.rewards
    if label is not None:
        found = space.find(label)
        if found is None:
            raise InputError(f"--label {label!r}: not a label (allowed: {', '.join(space.names)})")
        values = np.eye(space.K)[found]
    fit = both.view.fit
    panel = fit.posterior @ values
    _, item = item_codes(both.answers["item_id"], fit.votes.item_ids)
    _, person = item_codes(both.answers["annotator_id"], None)
    answer = values[label_codes(both.answers["label"], space, "answers")]
    stands_for = np.ones(len(panel))
    stands_for[both.rows] = both.stands_for
    judged = _Judged(panel, item, person, answer, stands_for, level)
    groups: dict[str, Estimate] = {}
    differences: list[tuple[str, str, Estimate]] = []
    skipped: dict[str, str] = {}
    names, of = groups_of_items(run, by) if by else ([], np.zeros(0, np.int64))
    for at, name in enumerate(names):
        try:
            groups[name] = judged.mean_of(np.flatnonzero(of == at))
        except ReviewError as error:
            skipped[name] = error.message
    for one, two in itertools.combinations(groups, 2):
        side = np.select([of == names.index(one), of == names.index(two)], [1, 0], -1)
        differences.append(
            (one, two, powered_difference(panel, side, item, person, answer, stands_for=stands_for, level=level))
        )
    whole = powered_mean(panel, item, person, answer, stands_for=stands_for, level=level)
    return Means(label or "reward", by, level, whole, groups, differences, both.representative, skipped)


@dataclass(frozen=True)
class _Judged:
    """The panel's estimates of all items, and people's answers."""

    panel: Floats
    item: Ints
    person: Ints
    answer: Floats
    stands_for: Floats
    level: float

    def mean_of(self, rows: Ints) -> Estimate:
        """The mean over these items alone."""
        place = np.full(len(self.panel), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = np.flatnonzero(place[self.item] >= 0)
        return powered_mean(
            self.panel[rows],
            place[self.item[kept]],
            self.person[kept],
            self.answer[kept],
            stands_for=self.stands_for[rows],
            level=self.level,
        )


def groups_of_items(run: Run, by: str) -> tuple[list[str], Ints]:
    """The names of the groups, and the group of every item; -1 for an item without a value."""
    columns = ["source"] if by == SOURCE else ["metadata"]
    table = pq.read_table(run.folder.needs("items"), columns=columns)
    if by == SOURCE:
        found = [(source or "").rsplit(":", 1)[0] or None for source in table["source"].to_pylist()]
    else:
        rows = [orjson.loads(text) if text else {} for text in table["metadata"].to_pylist()]
        if not any(by in row for row in rows):
            known = sorted({name for row in rows[:1000] for name in row})
            raise InputError(f"--by {by}: no item has this column (allowed: {', '.join([SOURCE, *known])})")
        found = [None if row.get(by) is None else str(row[by]) for row in rows]
    names = sorted({name for name in found if name is not None})
    if len(names) > MOST_GROUPS:
        raise InputError(f"--by {by}: {len(names)} different values (allowed: at most {MOST_GROUPS})")
    place = {name: i for i, name in enumerate(names)}
    return names, np.array([-1 if name is None else place[name] for name in found], dtype=np.int64)
