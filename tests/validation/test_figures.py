"""Every figure of a validation recovers what was put into a simulated crowd and panel, and agrees with independent computations."""

from __future__ import annotations

import numpy as np
import ot
import pytest
from scipy.stats import false_discovery_control, norm

from dprm_data import LabelSpace
from dprm_data.ingest.items import Item
from dprm_data.ingest.ratings import Ratings
from dprm_data.labels.statistics import Resamples
from dprm_data.validation.alternative_annotator import alternative_annotator, rejected
from dprm_data.validation.by_group import by_group
from dprm_data.validation.crowd import Crowd, dividedness, sampled
from dprm_data.validation.distance import AVERAGE, HALF, WHOLE, Halves, average_of_others, distances
from dprm_data.validation.mean_and_spread import mean_and_spread
from dprm_data.validation.pairwise import pairwise_calibration, share_preferring
from dprm_data.validation.worth import worth_of_distribution, worth_of_mean

SPACE = LabelSpace.ordinal(5)
EDGES = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])


def opinions(position: np.ndarray, spread: float = 1.0) -> np.ndarray:
    """Distributions (N, 5) of people around positions on the scale."""
    return np.diff(norm.cdf((EDGES - np.asarray(position)[:, None]) / spread), axis=1)


def votes(p: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.multinomial(n, row) for row in p], dtype=np.float64)


def positions(rng: np.random.Generator, items: int = 250) -> np.ndarray:
    return rng.normal(3.0, 0.8, items)


@pytest.mark.parametrize("people", [2, 5, 15])
def test_a_panel_of_n_random_people_is_worth_n(people: int) -> None:
    rng, held = np.random.default_rng(people), np.zeros(2)
    for _ in range(40):
        truth = opinions(positions(rng))
        panel, crowd = votes(truth, people, rng) / people, votes(truth, 5, rng)
        draw = Resamples.of(np.arange(len(truth)), resamples=200)
        for i, worth in enumerate((worth_of_mean, worth_of_distribution)):
            found = worth(panel, crowd, SPACE, draw, dollars=0.5, calls=people)
            assert found.low is not None
            held[i] += found.low <= people <= (found.high or np.inf)
            assert found.per_call == pytest.approx((found.people or np.nan) / people, nan_ok=True)
    assert (held >= 34).all()  # of 40 intervals at 95 %


def test_bias_width_and_contrast_are_those_put_in() -> None:
    rng = np.random.default_rng(1)
    held = np.zeros(3)
    for _ in range(30):
        position = rng.normal(3.0, 0.5, 300)
        truth = opinions(position, 0.7)
        panel = opinions(0.5 * (position - 3.0) + 3.2, 0.4)  # lenient, flat over items, narrow within
        draw = Resamples.of(np.arange(len(truth)), resamples=200)
        found = mean_and_spread(panel, votes(truth, 6, rng), SPACE, draw)
        r = SPACE.rewards

        def within(p: np.ndarray) -> float:
            return float((p @ SPACE.rewards**2 - (p @ SPACE.rewards) ** 2).mean())

        put_in = (
            float(((panel - truth) @ r).mean()),
            np.sqrt(within(panel) / within(truth)),
            float((panel @ r).std() / (truth @ r).std()),
        )
        for i, (figure, value) in enumerate(zip((found.bias, found.width, found.contrast), put_in, strict=True)):
            held[i] += figure.low <= value <= figure.high
        assert found.disagreement_of_people.value is not None
    assert (held >= 25).all()  # of 30


def test_the_intervals_of_a_panel_that_is_too_sure_hold_too_rarely() -> None:
    rng = np.random.default_rng(2)
    position = positions(rng, 400)
    truth, crowd = opinions(position), votes(opinions(position), 8, rng)
    off = np.clip(position + rng.normal(0, 0.6, 400), 1, 5)  # an error that its intervals do not know
    panel = opinions(off)
    draw = Resamples.of(np.arange(400), resamples=200)
    mean = panel @ SPACE.rewards
    narrow = mean_and_spread(panel, crowd, SPACE, draw, low=mean - 0.1, high=mean + 0.1).held
    error = np.std((panel - truth) @ SPACE.rewards)
    right = mean_and_spread(panel, crowd, SPACE, draw, low=mean - 1.645 * error, high=mean + 1.645 * error).held
    assert narrow.high < 0.85
    assert right.low < 0.91 and right.high > 0.88


def test_scores_agree_with_their_definitions() -> None:
    rng = np.random.default_rng(3)
    truth = opinions(positions(rng, 40))
    crowd, groups = votes(truth, 7, rng), [str(i // 2) for i in range(40)]
    draw = Resamples.of(np.asarray(groups), resamples=100)
    rows = {row.name: row for row in distances({"panel": truth}, crowd, groups, SPACE, draw, seed=5)}
    second = Halves.of(crowd, cuts=20, seed=5).second
    shares = second / second.sum(axis=2, keepdims=True)
    cost = np.ascontiguousarray(SPACE.ground_cost)
    w1 = np.mean([[ot.emd2(p, q, cost) for p, q in zip(truth, cut, strict=True)] for cut in shares])
    rps = np.mean([((np.cumsum(truth - cut, axis=1)[:, :4]) ** 2).mean() for cut in shares])
    assert rows["panel"].w1.value == pytest.approx(w1, abs=1e-9)
    assert rows["panel"].rps.value == pytest.approx(rps, abs=1e-12)
    assert (second.sum(axis=2) == 4).all()  # of seven votes, three are the floor's
    others = average_of_others(crowd, groups)
    assert others[0] == pytest.approx(crowd[2:].mean(axis=0) / 7)


def test_the_truth_scores_like_the_whole_crowd_and_the_average_has_no_skill() -> None:
    rng = np.random.default_rng(4)
    gaps, halves = [], []
    for _ in range(30):
        truth = opinions(positions(rng, 200))
        draw = Resamples.of(np.arange(200), resamples=100)
        rows = {
            r.name: r
            for r in distances({"truth": truth}, votes(truth, 4, rng), [str(i) for i in range(200)], SPACE, draw)
        }
        gaps.append(rows["truth"].rps.value - rows[WHOLE].rps.value)
        halves.append(rows[HALF].skill.value)
        assert rows[AVERAGE].skill.value == 0.0 and rows[WHOLE].skill.value == 1.0
        assert rows["truth"].rps.value < rows[HALF].rps.value
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(30)  # without bias


def test_a_prediction_that_leaves_items_out_is_scored_on_the_others() -> None:
    rng = np.random.default_rng(5)
    truth = opinions(positions(rng, 60))
    partial = truth.copy()
    partial[:20] = np.nan
    draw = Resamples.of(np.arange(60), resamples=100)
    rows = {
        r.name: r for r in distances({"p": partial}, votes(truth, 4, rng), [str(i) for i in range(60)], SPACE, draw)
    }
    assert rows["p"].items == 40 and rows["p"].skill.value is not None


def ratings(labels: np.ndarray, ids: list[str]) -> Ratings:
    """Labels (A, N) of annotators who all judged all items."""
    A, N = labels.shape
    item, who = np.tile(np.arange(N), A), np.repeat(np.arange(A), N)
    zeros = np.zeros(A * N, dtype=np.int64)
    return Ratings([str(i) for i in range(N)], ids, 5, item, who, labels.ravel(), np.ones(A * N), zeros)


def grouped(
    rng: np.random.Generator, annotators: int, effect: float, items: int = 150
) -> tuple[np.ndarray, np.ndarray]:
    """A function's halves: positions with an interaction of group and item, of size `effect`, for annotators of two groups in turn; labels (A, N)."""
    position, sign = positions(rng, items), rng.choice([-1.0, 1.0], items)
    return position, sign * effect


def panel_of(position: np.ndarray, shift: np.ndarray, annotators: int, rng: np.random.Generator) -> np.ndarray:
    group = np.arange(annotators) % 2 * 2 - 1
    value = position[None, :] + group[:, None] * shift[None, :] + rng.normal(0, 0.9, (annotators, len(position)))
    return np.clip(np.rint(value), 1, 5).astype(np.int64) - 1


def find_groups(said: np.ndarray, crowd: np.ndarray) -> object:
    personas, people = ([f"{kind}{i}" for i in range(len(one))] for kind, one in (("p", said), ("r", crowd)))
    team = {name: "north" if int(name[1:]) % 2 else "South" for name in [*personas, *people]}
    draw = Resamples.of(np.arange(said.shape[1]), resamples=200)
    return by_group("team", ratings(said, personas), team, ratings(crowd, people), team, SPACE, draw, permutations=400)


def test_personas_who_depart_as_their_group_does_are_found() -> None:
    rng = np.random.default_rng(6)
    position, shift = grouped(rng, 12, 0.6)
    found = find_groups(panel_of(position, shift, 12, rng), panel_of(position, shift, 20, rng))
    assert [group.name for group in found.groups] == ["north", "south"] and found.groups[0].personas == 6
    assert found.p_value < 0.01
    assert 0.6 < found.share < 1.4
    assert all(group.own.value < group.others.value for group in found.groups)


def test_personas_without_group_effects_are_not_and_reversed_ones_are_below_zero() -> None:
    rng = np.random.default_rng(7)
    small, below = 0, 0
    for _ in range(20):
        position, shift = grouped(rng, 10, 0.6, items=60)
        crowd = panel_of(position, shift, 20, rng)
        small += find_groups(panel_of(position, 0 * shift, 10, rng), crowd).p_value <= 0.05
        below += find_groups(panel_of(position, -shift, 10, rng), crowd).alignment.high < 0
    assert small <= 3 and below >= 19


def test_chance_differences_between_a_few_personas_are_no_group_effect() -> None:
    """Personas differ in severity and the crowd's groups do, too, but not together: permuting personas does not call that alignment."""
    rng, small = np.random.default_rng(8), 0
    for _ in range(30):
        position = positions(rng, 60)
        severity = rng.normal(0, 0.7, (6, 1))
        said = np.clip(np.rint(position[None] + severity + rng.normal(0, 0.9, (6, 60))), 1, 5).astype(np.int64) - 1
        crowd = panel_of(position, np.full(60, 0.5), 20, rng)
        small += find_groups(said, crowd).p_value <= 0.05
    assert small <= 4


def test_people_in_one_group_only_show_nothing() -> None:
    rng = np.random.default_rng(9)
    one = ratings(panel_of(positions(rng, 10), np.zeros(10), 4, rng), [f"p{i}" for i in range(4)])
    draw = Resamples.of(np.arange(10), resamples=100)
    same = dict.fromkeys(one.annotator_ids, "all")
    assert by_group("team", one, same, one, same, SPACE, draw) is None


def test_the_alternative_annotator_test() -> None:
    rng = np.random.default_rng(10)
    position = positions(rng, 80)
    crowd = ratings(panel_of(position, np.zeros(80), 8, rng), [f"r{i}" for i in range(8)])
    best = np.clip(np.rint(position), 1, 5).astype(np.int64) - 1
    passed = alternative_annotator(best, crowd, SPACE)
    assert passed is not None and passed.passed and passed.advantage > 0.6 and passed.people == 8 and passed.items == 80
    failed = alternative_annotator(rng.integers(0, 5, 80), crowd, SPACE)
    assert failed is not None and not failed.passed and failed.winning_rate == 0.0
    assert alternative_annotator(best[:20], crowd.take(np.flatnonzero(crowd.item < 20)), SPACE) is None  # too few items
    missing = np.where(np.arange(80) < 40, -1, best)
    assert alternative_annotator(missing, crowd, SPACE).items == 40


@pytest.mark.parametrize("seed", range(5))
def test_false_discoveries_are_controlled_as_scipy_does(seed: int) -> None:
    p = np.random.default_rng(seed).beta(0.3, 3.0, 12)
    assert (rejected(p) == (false_discovery_control(p, method="by") <= 0.05)).all()


def test_pairs_of_a_calibrated_panel() -> None:
    rng = np.random.default_rng(11)
    truth = opinions(positions(rng, 400))
    crowd, groups = votes(truth, 40, rng), [str(i // 2) for i in range(400)]
    found = pairwise_calibration(truth, crowd, groups, SPACE, level=0.95)
    assert found is not None and found.same_prompt and found.pairs == 200
    assert found.error.high < found.average.low and found.error.value < found.floor.value
    for each in found.bins:
        assert abs(each.said - each.true) < 4 * 0.5 / np.sqrt(40 * each.pairs) + 0.02
    over = opinions(3.0 + 2.5 * (truth @ SPACE.rewards - 3.0), 0.5)  # exaggerates
    assert pairwise_calibration(over, crowd, groups, SPACE, level=0.95).error.low > found.error.high
    brute = sum(
        truth[0, k] * truth[1, j] * (1.0 if k > j else 0.5 if k == j else 0.0) for k in range(5) for j in range(5)
    )
    assert share_preferring(truth[:1], truth[1:2], SPACE)[0] == pytest.approx(brute)
    alone = pairwise_calibration(truth, crowd, [str(i) for i in range(400)], SPACE, level=0.95)
    assert alone is not None and not alone.same_prompt


def test_a_sample_holds_all_degrees_of_division_and_grows() -> None:
    rng = np.random.default_rng(12)
    labels = np.clip(np.rint(rng.normal(3, 1, (6, 300)) * rng.random(300)), 1, 5).astype(np.int64) - 1
    found = ratings(labels, [f"r{i}" for i in range(6)])
    items = [Item(str(i), (), (), str(i), None, "", {}) for i in range(300)]
    whole = Crowd("set", SPACE, items, found, {}, named=True)
    few, more = sampled(whole, 30, seed=1), sampled(whole, 90, seed=1)
    assert {item.item_id for item in few.items} <= {item.item_id for item in more.items}
    gaps = [dividedness(sampled(whole, 90, seed=s).counts).mean() - dividedness(whole.counts).mean() for s in range(20)]
    assert abs(np.mean(gaps)) < 0.01 and np.std(gaps) < 0.03
    assert (few.counts.sum(axis=1) == 6).all() and len(few) == 30
    assert few.digest != more.digest and sampled(whole, 900).digest == whole.digest
