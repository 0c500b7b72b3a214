"""The jury: every persona and every item meets the models as the design says, whoever comes later."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core.errors import PanelError
from dprm_data.elicit.template import load_prompt
from dprm_data.elicit.work import Work, make_work
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel, Persona
from dprm_data.recipe.recipe import Recipe
from tests.engine.helpers import items

MODELS = [{"name": "openai", "model": name} for name in ("a", "b", "c")]


def work(
    personas: int | list[dict[str, Any]] = 6, *, models: list[dict[str, Any]] | None = None, **recipe: Any
) -> Work:
    given = [{"id": f"p{i}"} for i in range(personas)] if isinstance(personas, int) else personas
    panel = Panel(name="made", personas=tuple(Persona(**({"description": "you"} | each)) for each in given))
    parsed = Recipe.of({"models": models or MODELS, "labels": 3} | recipe)
    prior = load_prompt("distribution") if parsed.prior else None
    return make_work(parsed, LabelSpace.load(3), panel, load_prompt("choice"), prior)


def who(asked: Work, count: int = 1) -> list[list[tuple[str, str, int]]]:
    """By item: persona, model, replicate."""
    return [
        [(task.annotator.id, task.elicitation.model_id, task.replicate) for task in asked.tasks(item)]
        for item in items(count)
    ]


def test_crossed_asks_every_model_as_every_persona() -> None:
    [seats] = who(work(2, replicates=2))
    assert seats == [(p, m, r) for p in ("p0", "p1") for m in "abc" for r in (0, 1)]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(2, 7), st.integers(1, 8))
def test_balanced_gives_each_item_each_model_equally_often(personas: int, models: int, count: int) -> None:
    entries = [{"name": "openai", "model": f"m{i}"} for i in range(models)]
    for seats in who(work(personas, models=entries, design="balanced"), count):
        assert [persona for persona, _, _ in seats] == [f"p{i}" for i in range(personas)], "each persona answers once"
        met = Counter(model for _, model, _ in seats)
        assert max(met.values()) - min(met.get(f"m{i}", 0) for i in range(models)) <= 1
        for block in range(0, personas - models + 1, models):
            assert len({model for _, model, _ in seats[block : block + models]}) == models, "a Latin square's column"


def test_balanced_gives_each_persona_each_model_equally_often() -> None:
    """And each pair of personas each pair of models: nobody is always beside the same one."""
    count = 1200
    met: dict[str, Counter[str]] = defaultdict(Counter)
    together: Counter[tuple[str, str]] = Counter()
    for seats in who(work(5, design="balanced"), count):
        models = {persona: model for persona, model, _ in seats}
        for persona, model in models.items():
            met[persona][model] += 1
        together[models["p0"], models["p4"]] += 1
    share = np.array([[met[f"p{i}"][model] for model in "abc"] for i in range(5)]) / count
    spread = 4 * np.sqrt(1 / 3 * 2 / 3 / count)
    assert np.abs(share - 1 / 3).max() < spread
    assert np.abs(np.array(list(together.values())) / count - 1 / 9).max() < spread


def test_who_answered_stays_when_personas_and_items_are_appended() -> None:
    before, after = who(work(4, design="balanced"), 5), who(work(9, design="balanced"), 8)
    assert [seats[:4] for seats in after[:5]] == before
    assert before != who(work(4, design="balanced", panel={"use": "paper", "seed": 1}), 5), "the panel's seed draws"


def test_the_replicates_of_an_answer_are_of_one_model() -> None:
    [seats] = who(work(3, design="balanced", replicates=2))
    assert all(len({model for p, model, _ in seats if p == persona}) == 1 for persona in ("p0", "p1", "p2"))


def test_a_persona_may_name_its_model() -> None:
    personas = [{"id": "p0"}, {"id": "p1", "model": "b"}]
    assert who(work(personas))[0] == [("p0", "a", 0), ("p0", "b", 0), ("p0", "c", 0), ("p1", "b", 0)]
    [seats] = who(work(personas, design="balanced"))
    assert [p for p, _, _ in seats] == ["p0", "p1"]
    assert seats[1] == ("p1", "b", 0)


def test_a_persona_that_names_another_model_is_refused() -> None:
    with pytest.raises(PanelError, match=r"the persona 'p0' names the model 'd', .* \(has: a, b, c\)"):
        work([{"id": "p0", "model": "d"}])
    with pytest.raises(PanelError, match="names the model 'd'"):
        make_work(
            Recipe.of({"provider": MODELS[0], "labels": 3}),
            LabelSpace.load(3),
            Panel(name="made", personas=(Persona(id="p", description="you", model="d"),)),
            load_prompt("choice"),
            None,
        )


def weights(asked: Work) -> dict[tuple[str, str], float]:
    [item] = items(1)
    return {(task.annotator.id, task.elicitation.model_id): task.annotator.weight for task in asked.tasks(item)}


def test_weights_multiply_and_n_answers_are_n_votes() -> None:
    models = [MODELS[0] | {"weight": 3}, MODELS[1] | {"weight": 1}]
    found = weights(work([{"id": "p0", "weight": 3}, {"id": "p1"}], models=models, prior={}))
    assert found == {
        ("population", "a"): 1.5,
        ("population", "b"): 0.5,
        ("p0", "a"): 2.25,
        ("p0", "b"): 0.75,
        ("p1", "a"): 0.75,
        ("p1", "b"): 0.25,
    }


def test_a_persona_with_one_model_counts_as_much_as_one_with_all() -> None:
    found = weights(work([{"id": "p0"}, {"id": "p1", "model": "b"}]))
    assert sum(found.values()) == pytest.approx(4), "four answers are four votes"
    assert found["p1", "b"] == pytest.approx(sum(found["p0", model] for model in "abc"))


@pytest.mark.parametrize("design", ["crossed", "balanced"])
def test_the_parts_are_the_whole(design: str) -> None:
    whole = work(7, design=design, prior={}, replicates=2)
    for item in items(4):
        together = [key(task) for part in whole.parts.values() for task in part.tasks(item)]
        assert sorted(together) == sorted(key(task) for task in whole.tasks(item))
        assert len(set(together)) == len(together) == whole.annotations_per_item


def key(task: Any) -> tuple[str, str, int, float]:
    return task.elicitation.model_id, task.annotator.id, task.replicate, task.annotator.weight


def test_a_crossed_part_is_the_work_of_its_model_alone() -> None:
    """So adding a model to a run asks nothing again, and need not even look at what is done."""
    alone = make_work(
        Recipe.of({"provider": MODELS[1], "labels": 3}),
        LabelSpace.load(3),
        work(6).panel,
        load_prompt("choice"),
        None,
    )
    assert work(6).parts["b"].plan_key() == alone.plan_key()
    balanced = work(6, design="balanced").parts
    assert len({part.plan_key() for part in balanced.values()} | {alone.plan_key()}) == 4
