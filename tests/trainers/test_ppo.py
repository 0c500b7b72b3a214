"""The mathematics of PPO against naive loops, numbers worked out by hand, and what must hold for any input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dprm_trainers.ppo.critic import (
    critic_loss,
    explained_variance,
    midpoints,
    quantile_huber,
    quantile_loss,
    value_loss,
)
from dprm_trainers.ppo.ppo import (
    KLControl,
    gae,
    kl_estimate,
    masked_mean,
    observed_returns,
    policy_loss,
    token_entropy,
    token_logprobs,
    token_rewards,
    whiten,
)

SEEDS = st.integers(0, 2**31)


def batch(seed: int, rows: int = 4, longest: int = 6) -> tuple[Tensor, ...]:
    """Three random (B, T) tensors in float64 and a mask of responses of one token and more."""
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(rows, longest, generator=rng, dtype=torch.float64) for _ in range(3)]
    lengths = torch.randint(1, longest + 1, (rows,), generator=rng)
    return *made, (torch.arange(longest) < lengths[:, None]).double()


# -- distributions --------------------------------------------------------------------------------------------------------


def test_logprobs_and_entropies_are_those_of_torch() -> None:
    logits = torch.randn(3, 5, 11, dtype=torch.float64)
    tokens = torch.randint(0, 11, (3, 5))
    known = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(token_logprobs(logits, tokens), known.log_prob(tokens))
    torch.testing.assert_close(token_entropy(logits), known.entropy())


def test_a_forbidden_token_adds_nothing_to_the_entropy() -> None:
    logits = torch.tensor([[[0.0, 0.0, -1e30]]])
    assert token_entropy(logits).item() == pytest.approx(math.log(2))


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_kl_estimators_have_the_expectations_that_are_claimed(seed: int) -> None:
    """Summed exactly over all outcomes: k1 and k3 are unbiased, k2 is near where the two are near, k2 and k3 are never negative."""
    rng = torch.Generator().manual_seed(seed)
    p = torch.randn(7, generator=rng, dtype=torch.float64).log_softmax(0)
    q = (p + 0.05 * torch.randn(7, generator=rng, dtype=torch.float64)).log_softmax(0)
    exact = float((p.exp() * (p - q)).sum())
    mean = {kind: float((p.exp() * kl_estimate(p, q, kind)).sum()) for kind in ("k1", "k2", "k3")}  # type: ignore[arg-type]
    assert mean["k1"] == pytest.approx(exact, abs=1e-12)
    assert mean["k3"] == pytest.approx(exact, abs=1e-12)
    assert mean["k2"] == pytest.approx(exact, rel=0.2, abs=1e-6)
    assert (kl_estimate(p, q, "k2") >= 0).all()
    assert (kl_estimate(p, q, "k3") >= -1e-15).all()


def test_only_k1_in_the_rewards_follows_the_gradient_of_the_divergence() -> None:
    """The derivation in `dprm_trainers.ppo.ppo`: the policy gradient sum_y grad pi(y) k(y), with k held fixed, against autograd on the divergences."""
    q = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).log_softmax(0)
    logits = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def gradient(of: Any) -> Tensor:
        (found,) = torch.autograd.grad(of(logits.log_softmax(0)), logits)
        return torch.as_tensor(found)

    def as_reward(kind: Any) -> Tensor:
        return gradient(lambda p: (p.exp() * kl_estimate(p, q, kind).detach()).sum())

    forward = gradient(lambda p: (p.exp() * (p - q)).sum())
    reverse = gradient(lambda p: (q.exp() * (q - p)).sum())
    torch.testing.assert_close(as_reward("k1"), forward)
    torch.testing.assert_close(as_reward("k3"), forward - reverse)
    assert not torch.allclose(as_reward("k2"), forward, atol=1e-3)


# -- rewards and advantages -----------------------------------------------------------------------------------------------


def test_the_score_comes_on_the_last_token_and_the_penalty_on_all() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -9.0, -9.0]])
    reference = torch.tensor([[-1.5, -1.0, -3.0], [-2.0, -1.0, -1.0]])
    mask = torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    found = token_rewards(torch.tensor([10.0, 20.0]), logprobs, reference, mask, 0.1)
    torch.testing.assert_close(found, torch.tensor([[-0.05, 0.1, 10.0], [19.9, 0, 0]]))


def naive_gae(r: list[float], v: list[float], gamma: float, lam: float) -> list[float]:
    """The definition as it is written: A_t = sum_k (gamma lambda)^k delta_t+k, with the value after the end zero."""
    v = [*v, 0.0]
    delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
    return [sum((gamma * lam) ** k * delta[t + k] for k in range(len(r) - t)) for t in range(len(r))]


@given(SEEDS, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_gae_is_its_definition_row_by_row(seed: int, gamma: float, lam: float) -> None:
    rewards, values, _, mask = batch(seed)
    found = gae(rewards, values, mask, gamma, lam)
    for row, length in enumerate(mask.sum(1).int().tolist()):
        wanted = naive_gae(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert found[row].tolist() == pytest.approx(wanted + [0.0] * (found.shape[1] - length), abs=1e-12)


def test_gae_by_hand() -> None:
    # delta_2 = 1 - 0.4 = 0.6; delta_1 = 0 + 0.5 * 0.4 - 0.2 = 0; A_1 = 0 + 0.5 * 0.5 * 0.6
    found = gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.2, 0.4]]), torch.ones(1, 2), 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[0.15, 0.6]]))


@given(SEEDS, st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_with_lambda_one_advantage_and_value_are_the_observed_return(seed: int, gamma: float) -> None:
    rewards, values, _, mask = batch(seed)
    returns = observed_returns(rewards, mask, gamma)
    torch.testing.assert_close((gae(rewards, values, mask, gamma, 1.0) + values) * mask, returns)
    torch.testing.assert_close(
        returns[:, 0], (rewards * mask * gamma ** torch.arange(mask.shape[1], dtype=torch.float64)).sum(1)
    )


@given(SEEDS, st.booleans())
@settings(max_examples=30, deadline=None)
def test_whitening_is_what_numpy_finds(seed: int, centre: bool) -> None:
    values, _, _, mask = batch(seed)
    inside = values[mask > 0].numpy()
    found = whiten(5 * values + 3, mask, centre=centre)
    shifted = 5 * inside + (0 if centre else 3) - (5 * inside.mean() if centre else 0)
    np.testing.assert_allclose(
        found[mask > 0].numpy(), shifted / np.sqrt(25 * inside.var() + 1e-8), rtol=1e-5, atol=1e-5
    )
    assert (found[mask == 0] == 0).all()


def test_whitening_of_parts_with_a_common_total_is_that_of_the_whole() -> None:
    """What several processes do: each has a part, and sums go over all."""
    values, _, _, mask = (tensor.float() for tensor in batch(3, rows=6))
    whole = whiten(values, mask)
    # The first part whitens with the sums of the second added: those that the whole has.
    mean = masked_mean(values, mask)
    sums = iter(
        [
            torch.stack([m.sum(), (x * m).sum()])
            for m, x in ((mask[3:], values[3:]), (mask[3:], (values[3:] - mean) ** 2))
        ]
    )
    torch.testing.assert_close(whiten(values[:3], mask[:3], total=lambda part: part + next(sums)), whole[:3])


def test_values_that_do_not_vary_are_not_blown_up() -> None:
    assert whiten(torch.full((2, 3), 7.0), torch.ones(2, 3)).abs().max() < 1e-3


# -- losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "slope"),
    [
        (1.0, 2.0, -2.0, 0, -2.0),
        (1.5, 2.0, -2.4, 1, 0.0),  # gone far enough the right way: no gradient
        (0.5, 2.0, -1.0, 0, -1.0),  # gone the wrong way: it may come back
        (1.5, -2.0, 3.0, 0, 3.0),
        (0.5, -2.0, 1.6, 1, 0.0),
    ],
)
def test_the_clipped_surrogate_by_hand(ratio: float, advantage: float, loss: float, clipped: int, slope: float) -> None:
    logprobs = torch.tensor([[math.log(ratio)]], requires_grad=True)
    found, held = policy_loss(logprobs, torch.zeros(1, 1), torch.tensor([[advantage]]), 0.2)
    assert (found.item(), held.item()) == (pytest.approx(loss), clipped)
    (gradient,) = torch.autograd.grad(found.sum(), logprobs)
    assert gradient.item() == pytest.approx(slope)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_clipped_losses_are_their_definitions(seed: int) -> None:
    new, old, target, _ = batch(seed)
    surrogate, _ = policy_loss(new, old, target, 0.2)
    values = value_loss(new, old, target, 0.3)
    for place in np.ndindex(*new.shape):
        n, o, t = float(new[place]), float(old[place]), float(target[place])
        ratio = math.exp(n - o)
        assert float(surrogate[place]) == pytest.approx(max(-ratio * t, -min(max(ratio, 0.8), 1.2) * t))
        near = o + min(max(n - o, -0.3), 0.3)
        assert float(values[place]) == pytest.approx(max((n - t) ** 2, (near - t) ** 2) / 2)
    torch.testing.assert_close(value_loss(new, old, target, None), (new - target) ** 2 / 2)
    assert (value_loss(new, old, target, 0.3) >= value_loss(new, old, target, None)).all()


@given(SEEDS, st.floats(0.01, 2))
@settings(max_examples=20, deadline=None)
def test_the_quantile_loss_is_its_definition(seed: int, width: float) -> None:
    new, old, target, _ = batch(seed, rows=2, longest=3)
    new, old = (x.unsqueeze(-1) + torch.linspace(-1, 1, 4, dtype=torch.float64) for x in (new, old))

    def naive(quantiles: list[float], z: float) -> float:
        whole = 0.0
        for i, theta in enumerate(quantiles):
            u, tau = z - theta, (2 * (i + 1) - 1) / (2 * len(quantiles))
            huber = u * u / 2 if abs(u) <= width else width * (abs(u) - width / 2)
            whole += abs(tau - (u < 0)) * huber / width
        return whole / len(quantiles)

    plain, held = quantile_huber(new, target, width), quantile_loss(new, old, target, 0.1, width)
    for place in np.ndindex(*target.shape):
        z = float(target[place])
        near = old[place] + (new[place] - old[place]).clamp(-0.1, 0.1)
        assert float(plain[place]) == pytest.approx(naive(new[place].tolist(), z))
        assert float(held[place]) == pytest.approx(max(naive(new[place].tolist(), z), naive(near.tolist(), z)))
    torch.testing.assert_close(critic_loss(new, old, target, None, width, distributional=True), plain)
    torch.testing.assert_close(
        critic_loss(new[..., :1], old[..., :1], target, 0.3, width, distributional=False),
        value_loss(new[..., 0], old[..., 0], target, 0.3),
    )


def test_the_quantile_critic_learns_the_quantiles_of_a_known_distribution() -> None:
    """Returns of one state are exponential: quantile -log(1 - tau), mean 1. A scalar critic learns the mean of the same returns."""
    z = torch.from_numpy(np.random.default_rng(0).exponential(size=(4000, 1)))
    count = 9
    theta = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    scalar = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta, scalar], lr=0.1)
    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / 500)
        optimizer.zero_grad()
        loss = quantile_huber(theta.expand(len(z), 1, count), z, 0.01).mean()
        (loss + value_loss(scalar.expand_as(z), z, z, None).mean()).backward()
        optimizer.step()
    empirical = np.quantile(z.numpy(), midpoints(count).numpy())
    np.testing.assert_allclose(theta.detach().numpy(), empirical, atol=0.03)
    np.testing.assert_allclose(theta.detach().numpy(), -np.log(1 - midpoints(count).numpy()), atol=0.15)
    assert scalar.item() == pytest.approx(float(z.mean()), abs=0.02)


def test_explained_variance() -> None:
    returns, noise, _, mask = batch(5, rows=200)
    assert explained_variance(returns, returns, mask) == pytest.approx(1.0)
    assert explained_variance(torch.full_like(returns, 3.0), returns, mask) == pytest.approx(0.0, abs=1e-6)
    inside = mask > 0
    wanted = 1 - (returns - noise)[inside].var(unbiased=False) / returns[inside].var(unbiased=False)
    assert explained_variance(noise, returns, mask).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert explained_variance(noise, torch.ones_like(returns), mask) == 0.0


# -- the reference's hold -------------------------------------------------------------------------------------------------


def test_the_coefficient_is_led_to_the_target() -> None:
    control = KLControl(0.1, target=6.0, horizon=100.0)
    control.update(6.6, 10)  # a tenth too much, 10 of 100 responses
    assert control.coefficient == pytest.approx(0.1 * 1.01)
    control.update(600.0, 10)  # the error counts up to a fifth
    assert control.coefficient == pytest.approx(0.1 * 1.01 * 1.02)
    control.update(0.0, 10)
    assert control.coefficient == pytest.approx(0.1 * 1.01 * 1.02 * 0.98)


def test_a_fixed_coefficient_stays_and_none_becomes_negative() -> None:
    fixed, small = KLControl(0.1), KLControl(0.1, target=1.0, horizon=1.0)
    fixed.update(1e9, 1000)
    small.update(0.0, 1000)
    assert (fixed.coefficient, small.coefficient) == (0.1, 0.0)
