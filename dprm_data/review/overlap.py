"""The overlap: items that both the panel and people have judged, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import ReviewError
from dprm_data.ingest.votes import votes_from_annotations
from dprm_data.review.human_annotations import submitted
from dprm_data.review.records import PanelView, panel_view
from dprm_data.review.selection import REPRESENTATIVE
from dprm_data.review.sent_log import SentLog

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


@dataclass(frozen=True)
class Overlap:
    """n items that both the panel and people have judged, one row each.

    `rows` (n,): in the panel's fit; `groups`, `sources`: the items' prompts and origins; `people` (n, K): counts of submitted answers; `panel` (n, K): the panel's
    own weighted votes; `stands_for` (n,): the number of the run's items that each represents; `representative`: whether that is defined; `purposes`: how they
    were chosen; `persons`: the number of people; `unjudged`: items that people judged and the panel did not; `blind`: whether the panel's answers were hidden
    from people (None if unknown).
    """

    view: PanelView
    answers: pa.Table
    rows: Ints
    item_ids: list[str]
    groups: list[str]
    sources: list[str]
    people: Floats
    panel: Floats
    stands_for: Floats
    representative: bool
    purposes: dict[str, int]
    persons: int
    unjudged: int
    blind: bool | None

    def __len__(self) -> int:
        return len(self.rows)


def reviewed(run: Run) -> Overlap:
    """The run's overlap. Raises ReviewError if people have submitted nothing on items that the panel judged."""
    answers = submitted(run.folder)
    if not answers.num_rows:
        raise ReviewError(
            f"{run.folder} has no submitted answers from people yet",
            hint=f"Fetch them: dprm review pull {run.folder} (Argilla) or dprm review import {run.folder} FILE.",
        )
    view = panel_view(run)
    item_ids = view.fit.votes.item_ids
    people = votes_from_annotations(answers, run.space, item_ids=item_ids).counts
    panel = votes_from_annotations(view.annotations, run.space, item_ids=item_ids).counts
    judged = people.sum(axis=1) > 0
    both = judged & (view.fit.evidence > 0)
    rows = np.flatnonzero(both)
    if not len(rows):
        raise ReviewError(
            "people and the panel have judged no item in common", hint="Check that these answers belong to this run."
        )
    ids = [item_ids[int(row)] for row in rows]
    register = SentLog.of(run.folder)
    chosen = [register.chosen.get(item, ("", 1.0)) for item in ids]
    purposes = [purpose or "elsewhere" for purpose, _ in chosen]
    # Weights of different selections cannot be combined.
    representative = len(set(purposes)) == 1 and purposes[0] in REPRESENTATIVE
    about = pq.read_table(run.folder.needs("items"), columns=["group_id", "source"]).take(rows)
    places = [place.get("blind") for place in register.places if place.get("what") != "pairs"]
    return Overlap(
        view=view,
        answers=answers.filter(pc.is_in(answers["item_id"], pa.array(ids, pa.string()))),
        rows=rows,
        item_ids=ids,
        groups=about["group_id"].to_pylist(),
        sources=[(source or "").rsplit(":", 1)[0] for source in about["source"].to_pylist()],
        people=people[rows],
        panel=panel[rows],
        stands_for=np.array([weight if representative else 1.0 for _, weight in chosen]),
        representative=representative,
        purposes={purpose: purposes.count(purpose) for purpose in dict.fromkeys(purposes)},
        persons=len(pc.unique(answers["annotator_id"])),
        unjudged=int((judged & ~both).sum()),
        blind=places[-1] if places else None,
    )
