"""Variance components: against brute force, against the analysis of variance, against known truths, in designs of every kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.pair_sums import PairSums
from dprm_data.preference.variance_components import VarianceComponents, variance_components

Design = tuple[Ints, Ints, Ints]  # item, persona, model of every rating


def crossed(items: int, personas: int, models: int = 1, replicates: int = 1) -> Design:
    grid = np.indices((items, personas, models, replicates)).reshape(4, -1)
    return grid[0], grid[1], grid[2]


def drawn(design: Design, sd: dict[str, float], rng: np.random.Generator) -> Floats:
    """Ratings with these standard deviations of their effects, named by the factors' initials; `e` is the noise."""
    item, persona, model = design
    codes = {"i": item, "p": persona, "m": model}
    y = rng.normal(scale=sd.get("e", 1.0), size=len(item))
    for effect, scale in sd.items():
        if effect != "e":
            code = np.zeros(len(item), dtype=np.int64)
            for factor in effect:
                code = code * 1000 + codes[factor]
            _, level = np.unique(code, return_inverse=True)
            y += rng.normal(scale=scale, size=level.max() + 1)[level]
    return y


def summed(design: Design, values: Floats, *, blocks: int | None = None, batches: int = 1) -> PairSums:
    item, persona, model = design
    values = values.reshape(len(item), -1)
    sums = PairSums(blocks or int(item.max()) + 1, int(persona.max()) + 1, int(model.max()) + 1, (values.shape[1],))
    for part in np.array_split(np.unique(item), batches):
        rows = np.isin(item, part)
        sums.add(item[rows] % sums.blocks, item[rows], persona[rows], model[rows], values[rows])
    return sums


def components(design: Design, values: Floats, **settings: int) -> VarianceComponents:
    return variance_components(summed(design, values), items=len(np.unique(design[0])), **settings)


def variances(found: VarianceComponents) -> dict[str, float]:
    return {component.name: component.estimate for component in found.components}


def brute(design: Design, values: Floats, weights: Floats) -> dict[frozenset[str], float]:
    """gamma_S by enumeration of all pairs, with weights of items."""
    sums: dict[frozenset[str], list[float]] = {}
    values = values.reshape(len(values), -1)
    for a, b in combinations(range(len(values)), 2):
        shared = frozenset(
            name for name, code in zip(("item", "persona", "model"), design, strict=True) if code[a] == code[b]
        )
        weight = weights[design[0][a]] * (1.0 if "item" in shared else weights[design[0][b]])
        entry = sums.setdefault(shared, [0.0, 0.0])
        entry[0] += weight * 0.5 * float(((values[a] - values[b]) ** 2).sum())
        entry[1] += weight
    return {shared: total / count for shared, (total, count) in sums.items() if count}


# -- the sums -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3])
def test_sums_are_those_of_all_pairs(columns: int) -> None:
    """Holes in the design, replicates here and there, weights of items, several batches."""
    rng = np.random.default_rng(columns)
    item, persona, model = crossed(7, 4, 3, 2)
    kept = rng.random(len(item)) < 0.45
    design = item[kept], persona[kept], model[kept]
    values = rng.normal(size=(int(kept.sum()), columns))
    weights = rng.integers(0, 3, size=7).astype(float)
    gamma, _ = summed(design, values, batches=3).semivariances(weights[None])
    expected = brute(design, values, weights)
    assert len(expected) == 8
    for kind, value in expected.items():
        assert gamma[kind][0] == pytest.approx(value), kind
    count = len(values)
    assert sum(float(n[0]) for n in summed(design, values).semivariances(np.ones((1, 7)))[1].values()) == pytest.approx(
        count * (count - 1) / 2
    )


def test_blocks_change_nothing_but_the_resamples() -> None:
    rng = np.random.default_rng(0)
    design = crossed(40, 5, 2, 2)
    values = drawn(design, {"i": 1.0, "e": 1.0}, rng)
    one, other = (variances(variance_components(summed(design, values, blocks=blocks), items=40)) for blocks in (40, 8))
    assert one == pytest.approx(other)


# -- the estimates ------------------------------------------------------------------------------------------------------


def test_a_balanced_design_gives_the_analysis_of_variance() -> None:
    """Two crossed factors with replicates: mean squares and their expectations."""
    rng = np.random.default_rng(1)
    N, P, R = 30, 6, 3
    design = crossed(N, P, 1, R)
    y = drawn(design, {"i": 1.0, "p": 0.7, "ip": 0.5, "e": 0.8}, rng)
    cube = y.reshape(N, P, R)
    cell, row, column, all_ = cube.mean(2), cube.mean((1, 2)), cube.mean((0, 2)), cube.mean()
    ms_e = ((cube - cell[..., None]) ** 2).sum() / (N * P * (R - 1))
    ms_ip = R * ((cell - row[:, None] - column[None] + all_) ** 2).sum() / ((N - 1) * (P - 1))
    ms_i = P * R * ((row - all_) ** 2).sum() / (N - 1)
    ms_p = N * R * ((column - all_) ** 2).sum() / (P - 1)
    assert variances(components(design, y)) == pytest.approx(
        {
            "item": (ms_i - ms_ip) / (P * R),
            "persona": (ms_p - ms_ip) / (N * R),
            "item × persona": (ms_ip - ms_e) / R,
            "replicate noise": ms_e,
        }
    )


def test_three_crossed_factors_give_the_analysis_of_variance() -> None:
    """One replicate: the highest interaction and the noise are one mean square."""
    rng = np.random.default_rng(2)
    shape = N, P, M = 20, 5, 4
    design = crossed(N, P, M)
    y = drawn(design, {"i": 1.0, "p": 0.9, "m": 0.8, "ip": 0.7, "im": 0.7, "pm": 0.6, "e": 0.4}, rng)
    cube = y.reshape(shape)
    squares, free = {}, {}
    for axes in [some for n in range(4) for some in combinations(range(3), n)]:  # orthogonal parts of the cube
        part = cube
        for axis in range(3):
            mean = part.mean(axis, keepdims=True)
            part = part - mean if axis in axes else np.broadcast_to(mean, part.shape)
        free[axes] = int(np.prod([shape[axis] - 1 for axis in axes]))
        squares[axes] = float((part**2).sum()) / free[axes]
    rest = squares[0, 1, 2]
    two = {(0, 1): (squares[0, 1] - rest) / M, (0, 2): (squares[0, 2] - rest) / P, (1, 2): (squares[1, 2] - rest) / N}
    one = {
        0: (squares[0,] - squares[0, 1] - squares[0, 2] + rest) / (P * M),
        1: (squares[1,] - squares[0, 1] - squares[1, 2] + rest) / (N * M),
        2: (squares[2,] - squares[0, 2] - squares[1, 2] + rest) / (N * P),
    }
    found = components(design, y)
    assert variances(found) == pytest.approx(
        {
            "item": one[0],
            "persona": one[1],
            "model": one[2],
            "item × persona": two[0, 1],
            "item × model": two[0, 2],
            "persona × model": two[1, 2],
            "residual": rest,
        }
    )
    assert found.noise is None
    assert "item × persona × model" in found.notes[0]


TRUTH = {"i": 1.0, "p": 0.5, "m": 0.6, "ip": 0.4, "im": 0.5, "pm": 0.3, "ipm": 0.3, "e": 0.7}
NAMES = {"i": "item", "p": "persona", "m": "model", "e": "replicate noise"}


def name(effect: str) -> str:
    return " × ".join(NAMES[factor] for factor in effect)


def unbalanced(rng: np.random.Generator) -> Design:
    """Items with few and many ratings, in a quarter of the cells."""
    item, persona, model = crossed(120, 12, 6, 2)
    kept = rng.random(len(item)) < np.linspace(0.05, 0.5, 120)[item]
    return item[kept], persona[kept], model[kept]


def balanced(rng: np.random.Generator) -> Design:
    """Each item × persona meets one model, every model equally often; two replicates."""
    item, persona, _ = crossed(120, 12, 1, 2)
    return item, persona, (item + persona) % 6


def nested(rng: np.random.Generator) -> Design:
    """Every persona has a model of its own choice."""
    item, persona, _ = crossed(120, 12, 1, 2)
    return item, persona, persona % 6


@pytest.mark.parametrize(
    ("design", "merged"),
    [
        (unbalanced, {}),
        (balanced, {"ip": ("ipm",)}),
        (nested, {"p": ("pm",), "ip": ("ipm",)}),
    ],
)
def test_estimates_are_right_on_the_average(
    design: Callable[[np.random.Generator], Design], merged: dict[str, tuple[str, ...]]
) -> None:
    """Bias over simulations is within its error, for every component; what cannot be told apart is added and named."""
    rng = np.random.default_rng(3)
    effects = [effect for effect in TRUTH if not any(effect in parts for parts in merged.values())]
    expected = {name(e): sum(TRUTH[part] ** 2 for part in (e, *merged.get(e, ()))) for e in effects}
    runs = []
    for _ in range(150):
        where = design(rng)
        found = components(where, drawn(where, TRUTH, rng), resamples=1)
        runs.append(variances(found))
        included = {each.name: each.includes for each in found.components if each.includes}
        assert included == {name(k): tuple(map(name, v)) for k, v in merged.items()}
    for component, truth in expected.items():
        values = np.array([estimates[component] for estimates in runs])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - truth) < 4 * error, component


def test_without_replicates_the_residual_says_what_it_holds() -> None:
    rng = np.random.default_rng(4)
    design = crossed(60, 8)
    found = components(design, drawn(design, {"i": 1.0, "p": 0.5, "ip": 0.6, "e": 0.8}, rng))
    assert [c.name for c in found.components] == ["item", "persona", "residual"]
    assert found.components[-1].includes == ("item × persona",)
    assert found.components[-1].variance.value == pytest.approx(1.0, rel=0.3)
    assert [sorted(each.shares) for each in found.likeness] == [["item"]]


def test_shares_add_up_and_what_is_negative_is_nothing() -> None:
    rng = np.random.default_rng(5)
    design = crossed(12, 3, 2, 2)
    for _ in range(20):
        found = components(design, drawn(design, {"i": 0.2, "e": 1.0}, rng), resamples=100)
        assert sum(c.share.value or 0 for c in found.components) == pytest.approx(1)
        assert all((c.variance.value or 0) >= 0 for c in found.components)
        if any(c.estimate < 0 for c in found.components):
            assert any("below 0" in note for note in found.notes)
            return
    pytest.fail("no estimate was ever negative")


# -- what it says -------------------------------------------------------------------------------------------------------


def test_personas_that_do_nothing_are_not_above_the_noise_and_others_are() -> None:
    rng = np.random.default_rng(6)
    design = crossed(25, 10, 1, 2)
    still, moving = 0, 0
    for _ in range(40):
        for sd, expected in ((0.0, False), (0.5, True)):
            effect = components(
                design, drawn(design, {"i": 1.0, "p": sd, "ip": sd, "e": 0.6}, rng), resamples=200
            ).effect("persona")
            assert effect
            assert effect.within_items
            still += effect.beyond_noise and not expected
            moving += effect.beyond_noise and expected
    assert still <= 5  # 2.5 % of 40, more or less
    assert moving == 40


def test_likeness_is_agreement_beyond_chance() -> None:
    """Replicates are more alike than personas, personas more than models; alpha is the share of the variance that is shared."""
    rng = np.random.default_rng(7)
    design = crossed(400, 6, 3, 2)
    sd = {"i": 1.0, "p": 0.3, "m": 0.8, "e": 0.5}
    found = components(design, drawn(design, sd, rng))
    alphas = {each.shares: each.alpha.value or 0 for each in found.likeness}
    order = [("item", "persona", "model"), ("item", "model"), ("item", "persona"), ("item",)]
    assert list(alphas) == sorted(alphas, key=lambda shares: order.index(shares))
    assert [alphas[shares] for shares in order] == sorted(alphas.values(), reverse=True)
    assert alphas["item", "persona", "model"] == pytest.approx(1 - 0.25 / found.total, abs=0.02)


def test_intervals_hold_the_panels_own_components() -> None:
    """Coverage of the shares, over items; personas are the same ten in every simulation, as the interval takes them."""
    rng = np.random.default_rng(8)
    design = crossed(60, 10, 1, 2)
    persona = np.linspace(-1, 1, 10)
    truth = float(persona.var(ddof=1))
    held = 0
    for _ in range(60):
        y = drawn(design, {"i": 1.0, "ip": 0.4, "e": 0.6}, rng) + persona[design[1]]
        interval = components(design, y, resamples=200).components[1].variance
        held += (interval.low or 0) <= truth <= (interval.high or 0)
    assert held >= 51  # of 60: 95 % would be 57


@pytest.mark.parametrize("design", [crossed(1, 5, 1, 2), crossed(30, 1), crossed(2, 1, 1, 1)])
def test_too_little_to_compare_is_said(design: Design) -> None:
    found = components(design, np.arange(len(design[0]), dtype=float))
    assert all(c.share.value is None or 0 <= c.share.value <= 1 for c in found.components)
    assert found.notes


def test_ratings_that_are_all_alike_have_no_spread() -> None:
    found = components(crossed(10, 4, 2, 2), np.ones(160))
    assert found.total == 0
    assert all(c.variance.value == 0 for c in found.components)
    assert all(c.share.value is None for c in found.components)
