"""The losses against POT and against their definitions: value and gradient."""

from __future__ import annotations

import subprocess
import sys
import warnings

import hypothesis.strategies as st
import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from dprm_data.labels.geometry import is_metric, is_negative_type, line_positions
from dprm_data.labels.lipschitz import lipschitz_vertices
from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import LossError
from dprm_trainers.reward.losses import (
    Transport,
    bradley_terry_loss,
    ce_loss,
    cramer_loss,
    ot_loss,
    wasserstein_loss,
)

HH6 = LabelSpace.load("hh6")
REWARDS = HH6.ground_cost
GRID = LabelSpace.model_validate(HH6.model_dump() | {"cost": "axes"}).ground_cost
METRICS = {"line": REWARDS, "grid": GRID, "mixture": REWARDS / REWARDS.max() + GRID / GRID.max()}


def euclidean(rng: np.random.Generator, d: int) -> np.ndarray:
    x = rng.normal(size=(d, 3))
    return np.sqrt(((x[:, None] - x) ** 2).sum(axis=2))


def by_pot(logits: np.ndarray, target: np.ndarray, cost: np.ndarray) -> tuple[float, np.ndarray]:
    """Value and gradient with respect to the logits of one row, by the oracle."""
    p = np.exp(logits - logits.max())
    p /= p.sum()
    value, log = ot.emd2(p, target / target.sum(), cost, log=True)
    u = log["u"]
    return float(value), p * (u - p @ u)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, target (d,) and a metric (d, d): on a line, on a grid, shortest paths of random lengths, or in general position."""
    d = draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["line", "grid", "paths", "general"]))
    if kind == "line":
        x = rng.choice([0.0, 0.5, 1.0, 2.5, 4.0], d) if draw(st.booleans()) else rng.normal(size=d)
        cost = np.abs(x[:, None] - x)
    elif kind == "grid":
        at = rng.integers(0, 3, (d, 2))
        cost = np.abs(at[:, None] - at).sum(axis=2).astype(float)
    elif kind == "paths":
        cost = rng.integers(1, 6, (d, d)).astype(float)
        cost = np.triu(cost, 1) + np.triu(cost, 1).T
        for k in range(d):
            cost = np.minimum(cost, cost[:, [k]] + cost[[k], :])
    else:
        cost = euclidean(rng, d)
    logits = draw(arrays(np.float64, d, elements=st.floats(-6, 6)))
    target = rng.dirichlet(np.full(d, draw(st.sampled_from([0.1, 1.0, 10.0]))))
    return logits, target, cost


@settings(max_examples=150, deadline=None)
@given(problems())
def test_ot_is_what_pot_finds(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, cost = problem
    value, _ = by_pot(logits, target, cost)
    z = torch.tensor(logits[None], requires_grad=True)
    found = ot_loss(z, torch.tensor(target[None]), torch.tensor(cost))
    assert found.shape == (1,)
    assert abs(found.item() - value) < 1e-6
    # The gradient is a subgradient: it never promises more than the loss gives, at any other prediction.
    found.sum().backward()
    p = torch.tensor(logits).softmax(0)
    transport = Transport(cost)
    potential = torch.func.grad(lambda a: transport(a[None], torch.tensor(target[None])).sum())(p)
    for other in torch.distributions.Dirichlet(torch.ones(len(p), dtype=torch.float64)).sample((8,)):
        there = float(transport(other[None], torch.tensor(target[None])))
        assert there >= found.item() + float(potential @ (other - p)) - 1e-9
    assert z.grad is not None
    assert torch.allclose(z.grad[0], p * (potential - p @ potential), atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_in_one_step_with_the_softmax_it_is_the_same(name: str) -> None:
    """Values and gradients in both arguments, for weights of rows, rows at the optimum (p = q) and a large batch."""
    rng = np.random.default_rng(2)
    transport = Transport(METRICS[name])
    target = torch.tensor(rng.dirichlet(np.ones(6), size=2_000))
    logits = torch.tensor(rng.normal(size=(2_000, 6)))
    logits[:5] = target[:5].log()
    weight = torch.tensor(rng.uniform(size=2_000))
    found = []
    for solve in (transport.of_logits, lambda z, q: transport(z.softmax(-1), q)):
        z, q = logits.clone().requires_grad_(), target.clone().requires_grad_()
        loss = solve(z, q)
        (loss[5:] * weight[5:]).sum().backward()
        found.append((loss.detach(), z.grad, q.grad))
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None
        assert torch.allclose(one, other, atol=1e-12)


def test_a_diverged_prediction_gives_nan() -> None:
    for name in METRICS:
        z = torch.full((2, 6), float("nan"), requires_grad=True)
        found = ot_loss(z, torch.full((2, 6), 1 / 6), torch.tensor(METRICS[name]))
        assert found.isnan().all()
        found.sum().backward()


@pytest.mark.parametrize("name", METRICS)
def test_the_gradient_is_pot_s_where_it_is_unique(name: str) -> None:
    """In general position the optimal potential is unique on the labels that carry mass, and so is the gradient."""
    rng = np.random.default_rng(1)
    cost = METRICS[name]
    logits, target = rng.normal(size=(64, 6)), rng.dirichlet(np.ones(6), size=64)
    z = torch.tensor(logits, requires_grad=True)
    ot_loss(z, torch.tensor(target), torch.tensor(cost)).sum().backward()
    expected = np.stack([by_pot(a, b, cost)[1] for a, b in zip(logits, target, strict=True)])
    assert z.grad is not None
    assert np.abs(z.grad.numpy() - expected).max() < 1e-6


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([1e-6, 1.0, 0.3, 1e4]))
def test_a_metric_in_float32_is_one_up_to_its_precision(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray], unit: float
) -> None:
    logits, target, cost = problem
    for dtype, close in ((torch.float32, 1e-5), (torch.float64, 1e-9)):
        rounded = torch.tensor(cost * unit, dtype=dtype)
        transport = Transport(rounded)
        assert transport.method in ("line", "vertices")
        assert transport.note is None
        p, q = torch.tensor(logits).softmax(0), torch.tensor(target)
        exact = ot.emd2(p.numpy(), q.numpy(), rounded.double().numpy())
        found = transport(p[None].to(dtype), q[None].to(dtype))
        assert abs(found.item() - exact) <= close * float(rounded.max()) + 1e-300


@pytest.mark.parametrize("name", METRICS)
def test_rounding_makes_no_vertices(name: str) -> None:
    third = METRICS[name] / 3  # in float32 no sum of two is a third any more
    exact, rounded = (Transport(torch.tensor(third, dtype=d), "vertices") for d in (torch.float64, torch.float32))
    assert rounded.solver.forms.shape == exact.solver.forms.shape


@pytest.mark.parametrize(("name", "count"), [("line", 16), ("grid", 18)])
def test_the_number_of_vertices(name: str, count: int) -> None:
    found = lipschitz_vertices(METRICS[name])
    assert found is not None
    assert 2 * len(found) == count


def test_vertices_in_general_position_reach_the_known_bound() -> None:
    rng = np.random.default_rng(0)
    counts = [2 * len(lipschitz_vertices(euclidean(rng, d))) for d in (4, 5, 6)]  # type: ignore[arg-type]
    assert counts == [20, 70, 252]  # binomial(2d - 2, d - 1)


def test_vertices_give_up_where_there_are_too_many() -> None:
    assert lipschitz_vertices(euclidean(np.random.default_rng(0), 9), limit=100) is None


@pytest.mark.parametrize("method", ["line", "vertices", "emd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_methods_agree(method: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 32, 6, generator=generator, dtype=dtype).softmax(-1)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    auto = Transport(REWARDS)
    assert auto.method == "line"
    assert torch.allclose(Transport(REWARDS, method)(p, q), auto(p, q), atol=tolerance)


def test_many_labels_on_a_line_go_by_cumulative_sums() -> None:
    x = np.random.default_rng(0).normal(size=100)
    cost = np.abs(x[:, None] - x)
    p, q = torch.rand(2, 4, 100, dtype=torch.float64).softmax(-1)
    expected = [ot.emd2(a, b, cost) for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    assert torch.allclose(Transport(cost)(p, q), torch.tensor(expected, dtype=torch.float64), atol=1e-9)


def test_sinkhorn_comes_near_and_has_its_gradient() -> None:
    cost = euclidean(np.random.default_rng(0), 40)
    transport = Transport(cost, "sinkhorn")
    p, q = torch.softmax(2 * torch.randn(2, 8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), -1)
    exact = Transport(cost, "emd")(p, q)
    assert torch.allclose(transport(p, q), exact, rtol=0.05)
    assert transport(p, p).abs().max() < 1e-6 * cost.max()
    step = 1e-4 * (torch.randn(8, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * p)
    step -= p * step.sum(-1, keepdim=True)
    a = p.clone().requires_grad_()
    transport(a, q).sum().backward()
    assert a.grad is not None
    difference = (transport(p + step, q) - transport(p - step, q)).sum() / 2
    assert abs(float((a.grad * step).sum() - difference)) < 0.05 * float((a.grad * step).abs().sum())


def test_a_cost_that_is_no_metric_is_still_solved_exactly() -> None:
    cost = np.array([[0.0, 1.0, 9.0], [1.0, 0.0, 1.0], [9.0, 1.0, 0.0]])
    assert not is_metric(cost)
    transport = Transport(cost)
    assert transport.method == "emd"
    assert "from label 0 to 2 it is 9, over 1 only 2" in str(transport.note)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            ot_loss(torch.zeros(1, 3), torch.full((1, 3), 1 / 3), torch.tensor(cost, dtype=torch.float32))
    assert ["triangle" in str(each.message) for each in said] == [True]  # once, not for every batch
    one = torch.eye(3, dtype=torch.float64)
    assert float(transport(one[:1], one[2:])) == pytest.approx(9.0)  # with a metric it would be 2, over the middle
    z = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([[0.1, 0.2, 0.7]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: ot_loss(x, q, torch.tensor(cost)), z)


def test_wasserstein_counts_steps_in_the_given_order() -> None:
    p = torch.tensor([[0.7, 0.1, 0.2]], dtype=torch.float64)
    q = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
    order = [2, 0, 1]
    steps = np.empty(3)
    steps[order] = np.arange(3)
    expected = ot.wasserstein_1d(steps, steps, p[0].numpy(), q[0].numpy())
    assert float(wasserstein_loss(p.log(), q, torch.tensor(order))) == pytest.approx(float(expected), abs=1e-12)


@given(problems())
@settings(max_examples=50, deadline=None)
def test_cramer_is_the_ranked_probability_score_on_a_line(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, target, _ = problem
    z, q = torch.tensor(logits[None]), torch.tensor(target[None])
    x = torch.arange(len(logits), dtype=torch.float64)
    found = cramer_loss(z, q, (x[:, None] - x).abs())
    cuts = (z.softmax(-1) - q).cumsum(-1)[:, :-1]
    assert torch.allclose(found, (cuts**2).sum(-1), atol=1e-12)


def test_negative_type() -> None:
    assert is_negative_type(REWARDS)
    assert is_negative_type(GRID)
    star = np.full((6, 6), 2.0)  # K_{3,3} with its edges at distance 1: a metric, not of negative type
    star[:3, 3:] = star[3:, :3] = 1.0
    np.fill_diagonal(star, 0)
    assert is_metric(star)
    assert not is_negative_type(star)


def test_cross_entropy_sees_no_geometry_and_transport_does() -> None:
    """The paper's example: mass on the second label is as wrong as mass on the last, for cross-entropy."""
    x = torch.arange(6, dtype=torch.float64)
    cost = (x[:, None] - x).abs()
    q = torch.tensor([[0.9, 0.1, 0, 0, 0, 0]], dtype=torch.float64)
    near, far = (
        torch.tensor([row], dtype=torch.float64).clamp_min(1e-12).log()
        for row in ([0.9, 0, 0.1, 0, 0, 0], [0.9, 0, 0, 0, 0, 0.1])
    )
    assert float(ce_loss(near, q)) == pytest.approx(float(ce_loss(far, q)))
    assert float(ot_loss(near, q, cost)) == pytest.approx(0.1)
    assert float(ot_loss(far, q, cost)) == pytest.approx(0.4)


def test_saturation_and_what_cures_it() -> None:
    """Confident and wrong: the gradient of transport is nearly gone, that of cross-entropy is not."""
    z = torch.tensor([[12.0, 0, 0, 0, 0, 0]], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([[0, 0, 0, 0, 0, 1.0]], dtype=torch.float64)
    (saturated,) = torch.autograd.grad(ot_loss(z, q, torch.tensor(REWARDS)).sum(), z)
    (alive,) = torch.autograd.grad(ce_loss(z, q).sum(), z)
    assert saturated.abs().max() < 1e-4
    assert alive.abs().max() > 0.9


def test_transport_learns_the_median_of_votes_and_the_others_their_mean() -> None:
    votes = torch.eye(2, dtype=torch.float64)[[0, 0, 0, 1, 1]]  # 60 % and 40 %
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    logits = torch.stack([grid, 1 - grid], -1).log()

    def best(loss: object) -> float:
        values = torch.stack([loss(z.expand(5, 2), votes).mean() for z in logits])  # type: ignore[operator]
        return float(grid[values.argmin()])

    assert best(lambda z, q: ot_loss(z, q, cost)) == pytest.approx(0.99)
    assert best(ce_loss) == pytest.approx(0.6)
    assert best(lambda z, q: cramer_loss(z, q, cost)) == pytest.approx(0.6)


def test_bradley_terry() -> None:
    assert float(bradley_terry_loss(torch.tensor(2.0), torch.tensor(0.0))) == pytest.approx(np.log1p(np.exp(-2.0)))


@pytest.mark.parametrize("cost", [REWARDS, GRID], ids=["line", "vertices"])
def test_number_types_and_modes_change_nothing(cost: np.ndarray) -> None:
    """bf16 logits with float32 targets, autocast, inference mode, and training after it."""
    ground = torch.tensor(cost, dtype=torch.float32)
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    q = torch.rand(4, 6, generator=torch.Generator().manual_seed(1)).softmax(-1)
    losses = {
        "ot": lambda z: ot_loss(z, q, ground),
        "wasserstein": lambda z: wasserstein_loss(z, q),
        "ce": lambda z: ce_loss(z, q),
        "cramer": lambda z: cramer_loss(z, q, ground),
        "bt": lambda z: bradley_terry_loss(z, q),
    }
    for name, loss in losses.items():
        with torch.inference_mode():
            found = {"inference": loss(z), "a cost made there": loss(z)}
            if name == "ot":
                made = ground.clone()
                found["a cost made there"] = ot_loss(z, q, made)
                assert torch.allclose(ot_loss(z, q, made.mul_(2)), 2 * found["inference"])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found["autocast"] = loss(z)
        wide = z.float().requires_grad_()
        expected = loss(wide)
        expected.sum().backward()  # what was prepared in inference mode serves a training
        assert wide.grad is not None
        for how, value in found.items():
            assert value.dtype == torch.float32, (name, how)
            assert torch.equal(value, expected), (name, how)


def test_a_cost_that_changes_is_prepared_again() -> None:
    cost = torch.tensor(REWARDS)
    z, q = torch.randn(3, 6, dtype=torch.float64), torch.full((3, 6), 1 / 6, dtype=torch.float64)
    before = ot_loss(z, q, cost)
    cost.mul_(2)
    assert torch.allclose(ot_loss(z, q, cost), 2 * before)


@pytest.mark.parametrize(
    ("cost", "method", "says"),
    [
        (np.zeros((2, 3)), "auto", "square"),
        (np.array([[0, 1], [2, 0]]), "auto", "symmetric"),
        (np.array([[0, np.nan], [np.nan, 0]]), "auto", "finite"),
        (np.array([[1, 1], [1, 0]]), "auto", "the diagonal"),
        (GRID, "line", "do not lie on a line"),
        (np.array([[0.0, 1, 9], [1, 0, 1], [9, 1, 0]]), "vertices", "triangle"),
        (GRID, "guess", "no method"),
    ],
)
def test_costs_that_cannot_be_used(cost: np.ndarray, method: str, says: str) -> None:
    with pytest.raises(LossError, match=says):
        Transport(cost, method)


def test_positions_on_a_line() -> None:
    x = line_positions(REWARDS)
    assert x is not None
    assert np.allclose(np.abs(x[:, None] - x), REWARDS)
    assert line_positions(GRID) is None


def test_importing_the_losses_needs_torch_only() -> None:
    program = "import sys, dprm_trainers.reward.losses; print(sorted({'transformers', 'ot', 'peft', 'pandas', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
