"""How many independent people a run's panel is worth, given the shared error in the fit: as figures, and as a sentence for the terminal, tables and cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats
from dprm_data.core.format import number
from dprm_data.ingest.votes import item_codes, label_codes, model_of, vote_rows
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.shared_error import (
    SHARED,
    SHARED_HIGH,
    SHARED_LOW,
    SharedError,
    between_models,
    jury_error,
    people_worth,
)


@dataclass(frozen=True)
class PanelWorth:
    """How many independent people the panel's votes on the median item are worth, with an interval (a range, if it is assumed). error: r of `shared_error`, None if the worth
    was learned from people's answers. answers, reviewers: how many answers of how many people it was learned from, 0 if it is assumed."""

    personas: int
    models: list[str]
    people: float
    low: float
    high: float
    error: float | None = None
    answers: int = 0
    reviewers: int = 0

    @property
    def assumed(self) -> bool:
        return not self.answers

    @property
    def sentence(self) -> str:
        """ "15 personas of M are worth 2.3 people on these items (1.6–3.4)", and where that comes from."""
        several = self.personas != 1
        of = f" of {', '.join(self.models)}" if self.models else ""
        worth = f"{number(self.people, 1)} {'person' if number(self.people, 1) == '1.0' else 'people'}"
        said = f"{self.personas:,} persona{'s' if several else ''}{of} {'are' if several else 'is'} worth {worth} on these items "
        said += f"({number(self.low, 1)}–{number(self.high, 1)})"
        if self.assumed:
            return f"{said}. This is assumed, and intervals depend on it; dprm review calibrate learns it from people's answers."
        return f"{said}. This was learned from {self.answers:,} answers by {self.reviewers:,} people."

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"assumed": self.assumed, "sentence": self.sentence}


def assumed_error(annotations: pa.Table, space: LabelSpace) -> float:
    """r of the annotations' panel: the default, adjusted by the disagreement of its models if there are several."""
    rows = vote_rows(_panel(annotations))
    hard = rows.filter(pc.is_valid(rows["label"]))
    if not hard.num_rows:
        return SHARED
    _, item = item_codes(hard["item_id"], None)
    _, model = item_codes(model_of(hard), None)
    reward = space.rewards[label_codes(hard["label"], space, "annotations")]
    return jury_error(*between_models(item, model, reward))


def shared_by_panel(people: Floats, annotations: pa.Table, space: LabelSpace) -> SharedError | None:
    """The shared error of a run's panel, with the weight of people's votes (N,); None if there is no panel."""
    panel = _panel(annotations)
    return SharedError(assumed_error(annotations, space), people) if panel.num_rows else None


def assumed_worth(annotations: pa.Table, votes: Floats, error: float) -> PanelWorth | None:
    """The panel's assumed worth, from the weight of its votes on every item (N,); None if it has no votes."""
    panel = _panel(annotations)
    voted = votes[votes > 0]
    if not panel.num_rows or not len(voted):
        return None
    typical, scale = float(np.median(voted)), error / SHARED
    worth, low, high = (float(people_worth(typical, r)) for r in (error, scale * SHARED_HIGH, scale * SHARED_LOW))
    return PanelWorth(*_who(panel), worth, low, high, error)


def learned_worth(annotations: pa.Table, worth: tuple[float, float, float], answers: int, reviewers: int) -> PanelWorth:
    """The panel's worth, learned from people's answers. worth: (estimate, low, high)."""
    return PanelWorth(*_who(_panel(annotations)), *worth, None, answers, reviewers)


def worth_sentences(manifest: Mapping[str, Any]) -> list[str]:
    """The sentence about it in a run's manifest, if any: "15 personas of M are worth 2.3 people on these items (1.6–3.4). ..."."""
    worth = manifest.get("panel_worth")
    return [str(worth["sentence"])] if isinstance(worth, dict) and worth.get("sentence") else []


def _panel(annotations: pa.Table) -> pa.Table:
    return annotations.filter(pc.fill_null(pc.equal(annotations["annotator_kind"], "persona"), False))


def _who(panel: pa.Table) -> tuple[int, list[str]]:
    """How many personas, and the names of the models as providers give them."""
    ok = panel.filter(pc.fill_null(pc.equal(panel["status"], "ok"), False))
    names = ok["model"] if "model" in ok.column_names else model_of(ok)
    return len(pc.unique(ok["annotator_id"])), sorted(name for name in pc.unique(names).to_pylist() if name)
