"""What makes a panel's ratings differ, read from tables of annotations as runs write them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dprm_data.core.tables import ANNOTATIONS, ITEMS, write_parquet
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.pair_sums import PairSums
from dprm_data.preference.variance_components import variance_components
from dprm_data.runs import panel_variance as module
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.panel_variance import PanelVariance, panel_variance

SPACE = LabelSpace.ordinal(5)
ITEMS_OF, PERSONAS, MODELS, REPLICATES = 24, 5, ("large", "small"), 2


def annotations(**changes: Any) -> list[dict[str, Any]]:
    """Rows of a panel of two models, item by item, with a person's and a stated distribution among them."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(ITEMS_OF):
        position = rng.normal(3, 1)
        common = {"item_id": f"item{i}", "weight": 1.0, "replicate": 0, "status": "ok", "estimated_calls": 0}
        persona = common | {"annotator_kind": "persona", "cost": 0.01}
        stated = [0.2] * 5
        rows.append(persona | {"annotator_id": "population", "elicitation": "distribution", "probs": stated})
        for p in range(PERSONAS):
            for m, model in enumerate(MODELS):
                for r in range(REPLICATES):
                    label = int(np.clip(round(rng.normal(position + 0.3 * p - m, 0.5)), 1, 5))
                    one = {"annotator_id": f"p{p}", "elicitation": "choice", "label": str(label), "replicate": r}
                    rows.append(persona | one | {"model": model, "cost": 0.01 * (m + 1)} | changes)
        rows.append(common | {"annotator_kind": "human", "annotator_id": "ann", "elicitation": "vote", "label": "5"})
    rows[5] |= {"status": "refusal", "label": None}
    return rows


def folder(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = ANNOTATIONS) -> RunFolder:
    """A run folder with these annotations; two items answer one prompt."""
    made = RunFolder(path)
    write_parquet(made.table("annotations"), schema, [pa.Table.from_pylist(rows, schema=schema)])
    said = [{"role": "user", "content": "x"}]
    items = [
        {"item_id": f"item{i}", "prompt": said, "completion": said, "group_id": f"g{i // 2}"} for i in range(ITEMS_OF)
    ]
    write_parquet(made.table("items"), ITEMS, [pa.Table.from_pylist(items, schema=ITEMS)])
    return made


def found(path: Path, rows: list[dict[str, Any]]) -> PanelVariance:
    result = panel_variance(folder(path, rows), SPACE)
    assert result
    return result


def test_figures_are_those_of_the_panels_rows(tmp_path: Path) -> None:
    rows = annotations()
    result = found(tmp_path, rows)
    votes = [row for row in rows if row["elicitation"] == "choice" and row["status"] == "ok"]
    item, persona = (
        np.array([int(row[name][at:]) for row in votes]) for name, at in (("item_id", 4), ("annotator_id", 1))
    )
    model = np.array([MODELS.index(row["model"]) for row in votes])
    sums = PairSums(ITEMS_OF, PERSONAS, 2)
    sums.add(item, item, persona, model, np.array([[float(row["label"])] for row in votes]))
    expected = variance_components(sums, items=ITEMS_OF)
    assert (result.components.ratings, result.components.items) == (len(votes), ITEMS_OF)
    assert [c.name for c in result.components.components] == [c.name for c in expected.components]
    for mine, other in zip(result.components.components, expected.components, strict=True):
        assert mine.estimate == pytest.approx(other.estimate)
    same = {each.shares: each.same_label.value for each in result.components.likeness}
    pairs = [
        (a["label"], b["label"])
        for a, b in itertools.pairwise(votes)
        if all(a[name] == b[name] for name in ("item_id", "annotator_id", "model"))
    ]
    assert same["item", "persona", "model"] == pytest.approx(np.mean([a == b for a, b in pairs]))


def test_models_have_their_votes_and_their_cost(tmp_path: Path) -> None:
    lines = {line.model: line for line in found(tmp_path, annotations()).models}
    each = ITEMS_OF * PERSONAS * REPLICATES
    assert (lines["small"].annotations, lines["small"].ok) == (each, each)
    assert lines["small"].cost_per_vote == pytest.approx(0.02)
    assert (lines["large"].annotations, lines["large"].ok) == (each, each - 1)
    assert lines["large"].cost == pytest.approx(0.01 * each)
    assert lines["large"].cost_per_vote == pytest.approx(0.01 * each / (each - 1))  # a refusal is paid, too
    (pair,) = found(tmp_path, annotations()).pairs
    assert pair.models == ("large", "small")
    assert (pair.reward_difference.low or 0) > 0


def test_an_unknown_price_is_not_known(tmp_path: Path) -> None:
    rows = annotations()
    rows[7]["cost"] = None
    lines = {line.model: line for line in found(tmp_path, rows).models}
    assert [line.model for line in lines.values() if line.cost is None] == [rows[7]["model"]]


@pytest.mark.parametrize("size", [7, 64])
def test_batches_and_their_order_change_nothing(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(tmp_path / "a", annotations())
    monkeypatch.setattr(module, "_ROWS", size)
    assert_equal(found(tmp_path / "b", annotations()), whole)
    mixed = annotations()
    np.random.default_rng(1).shuffle(mixed)  # type: ignore[arg-type]
    assert_equal(found(tmp_path / "c", mixed), whole)


def assert_equal(one: PanelVariance, other: PanelVariance) -> None:
    assert {c.name: c.estimate for c in one.components.components} == pytest.approx(
        {c.name: c.estimate for c in other.components.components}
    )
    assert one.components.items == other.components.items
    assert [line.ok for line in one.models] == [line.ok for line in other.models]
    assert one.pairs[0].alpha.value == pytest.approx(other.pairs[0].alpha.value)
    assert one.pairs[0].distance.value == pytest.approx(other.pairs[0].distance.value)


def test_the_recipes_name_of_a_model_goes_before_the_servers(tmp_path: Path) -> None:
    """A server may say another name for the same model in the middle of a run; the recipe's name of it is one model."""
    schema = (
        ANNOTATIONS.append(pa.field("model_id", pa.string())) if "model_id" not in ANNOTATIONS.names else ANNOTATIONS
    )
    rows = [row | {"model_id": "mine"} for row in annotations()]
    result = panel_variance(folder(tmp_path, rows, schema), SPACE)
    assert result
    assert [line.model for line in result.models] == ["mine"]
    assert result.components.models == 1
    assert result.pairs == ()
    older = panel_variance(folder(tmp_path, [row | {"model_id": None} for row in rows], schema), SPACE)
    assert older
    assert older.components.models == 2


def test_soft_labels_count_as_their_expected_reward(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = [
        row | {"elicitation": "logprobs", "probs": rng.dirichlet(np.ones(5)).tolist(), "replicate": 0}
        for row in annotations()
        if row["elicitation"] == "choice" and row["replicate"] == 0
    ]
    result = found(tmp_path, rows)
    assert 0 < result.components.total < 1.0  # of means of five levels, not of levels
    assert result.components.noise is None
    assert all(each.same_label.value is None for each in result.components.likeness)


def test_without_a_panel_there_is_nothing(tmp_path: Path) -> None:
    people = [row for row in annotations() if row["annotator_kind"] == "human"]
    assert panel_variance(folder(tmp_path, people), SPACE) is None
    assert panel_variance(folder(tmp_path, annotations(status="refusal", label=None)), SPACE) is None
