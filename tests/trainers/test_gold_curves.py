"""Best of n against all subsets; falls of gold that are there and that are noise; the command from training to curves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.core.errors import DprmError
from dprm_data.labels.statistics import Resamples
from dprm_trainers.data.rows import digest
from dprm_trainers.evaluation.best_of_n import choice_weights, kl_bound, sizes
from dprm_trainers.evaluation.gold_fall import deepest_fall
from dprm_trainers.evaluation.judges import Verdict, judged_by
from dprm_trainers.evaluation.policy_comparison import evaluate_policies
from dprm_trainers.evaluation.policy_responses import Response, read_responses
from dprm_trainers.ppo.ppo_trainer import train_ppo
from dprm_trainers.ppo.prompt_sets import Prompts
from tests.helpers import write_rows
from tests.trainers import tiny
from tests.trainers.ppo_tiny import PROMPTS, by_text, config


def of_all_subsets(scores: Any, values: Any, n: int) -> float:
    """The mean over all subsets of n of the value of the best, or of the best ones' mean."""
    best = []
    for subset in itertools.combinations(range(len(scores)), n):
        top = max(scores[i] for i in subset)
        best.append(np.mean([values[i] for i in subset if scores[i] == top]))
    return float(np.mean(best))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=8), st.data())
def test_the_weights_are_those_of_all_subsets_ties_too(rows: list[tuple[int, float]], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(rows)))
    scores, values = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    weights = choice_weights(scores, n)
    assert weights.sum() == pytest.approx(1)
    assert weights @ values == pytest.approx(of_all_subsets(scores, values, n), abs=1e-9)
    assert weights @ scores <= choice_weights(scores, len(rows)) @ scores + 1e-9


def test_the_bound_of_the_divergence_is_reached_without_ties() -> None:
    """The best of n of a continuous reward has the density n u^(n - 1) over its quantiles u."""
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (1, 2, 8, 64):
        log_density = np.log(n) + (n - 1) * np.log(u)
        assert kl_bound(n) == pytest.approx(float((np.exp(log_density) * log_density).mean()), abs=1e-3)
    assert sizes(1) == [1]
    assert sizes(8) == [1, 2, 4, 8]
    assert sizes(12) == [1, 2, 4, 8, 12]


# -- falls ----------------------------------------------------------------------------------------------------------------


def test_a_fall_is_found_where_it_is_and_hardly_ever_in_noise() -> None:
    rng = np.random.default_rng(0)
    points = list("abcdef")
    rising = np.arange(6) + rng.normal(0, 0.1, (60, 6))
    draws = Resamples.of(np.arange(60), resamples=300)
    found = [deepest_fall(points, rising, rng.normal(0, 1, (60, 6)), draws) for _ in range(100)]
    assert sum(fall is not None and fall.visible for fall in found) <= 12  # 2.5 are expected, by 15 pairs at once
    peaked = np.array([0, 1, 2, 1.5, 0, 0.5]) + rng.normal(0, 3, (60, 1)) + rng.normal(0, 0.5, (60, 6))
    fall = deepest_fall(points, rising, peaked, draws)
    assert fall is not None and fall.visible
    assert (fall.start, fall.end) == ("c", "e")
    assert fall.gold.low is not None and fall.gold.high is not None and fall.gold.low < -2 < fall.gold.high < 0
    assert deepest_fall(points, rising, rising, draws) is None
    assert deepest_fall(points, -rising, peaked, draws) is None  # a proxy that does not rise is not over-optimised


def test_a_curve_needs_responses_to_choose_from() -> None:
    rows = [Response("p", f"{i}", 0, [{"role": "user", "content": f"{i}"}], "a", 1, True) for i in range(3)]
    proxy, gold = (
        Verdict(name, "reward model", "mean", np.arange(3.0) * sign, None, (), np.zeros(0))
        for name, sign in (("proxy", 1), ("gold", -1))
    )
    found = evaluate_policies(rows, [proxy], gold=gold)
    assert not found.best_of_n and not found.policy_curves
    assert any(note.startswith("no curves: one response to each prompt") for note in found.notes)


# -- the command ----------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["eval", "policy", *map(str, arguments)])


def test_from_a_training_to_its_curves(tmp_path: Path) -> None:
    """Sampled anew once, then judged again; every figure from the responses in the folder, by all subsets."""
    train_ppo(
        config(tmp_path, steps=4, policy_every=2, learning_rate=1e-2),
        lambda said: None,
        prompts=Prompts(PROMPTS, [str(i) for i in range(len(PROMPTS))], "tests"),
        reward=by_text(lambda text: len(text) % 7),
    )
    policy = tmp_path / "policy"
    proxy, gold = (str(tiny.reward_model(tmp_path / name, seed=i)) for i, name in enumerate(["proxy", "gold"]))
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
    out = tmp_path / "eval"
    asked = ("--prompts", tmp_path / "prompts.jsonl", "--split", "all", "--max-new-tokens", 6, "--responses", 4)
    done = run("--checkpoints", policy, *asked, "--judge", proxy, "--gold", gold, "--output", out, "-q")
    assert done.exit_code == 0, done.output
    assert "the intervals of the curves cover the choice of prompts, not the errors of the gold judge" in done.output

    rows = read_responses(out)
    found = json.loads((out / "evaluation.json").read_text())
    (best,), (along,) = found["best_of_n"], found["policy_curves"]
    assert [point["policy"] for point in along["points"]] == ["base", "step-2", "step-4"]
    assert along["points"][0]["kl"]["value"] == pytest.approx(0, abs=1e-5)
    assert along["points"][2]["kl"]["value"] > 0
    by = {name: judged_by(judge, rows).reward for name, judge in (("proxy", proxy), ("gold", gold))}
    for k, point in enumerate(along["points"]):
        assert point["gold"]["value"] == pytest.approx(np.split(by["gold"], 3)[k].mean())
    prompts: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.policy == "base":
            prompts.setdefault(digest(row.prompt), []).append(i)
    length = np.array([float(row.tokens) for row in rows])
    assert (best["policy"], best["responses"], [point["n"] for point in best["points"]]) == ("base", 4, [1, 2, 4])
    for point in best["points"]:
        for key, scores, judge in (
            ("proxy", by["proxy"], "proxy"),
            ("gold", by["proxy"], "gold"),
            ("longest_gold", length, "gold"),
        ):
            expected = [of_all_subsets(scores[at], by[judge][at], point["n"]) for at in prompts.values()]
            assert point[key]["value"] == pytest.approx(np.mean(expected))
    picture = (out / "gold-curves.svg").read_text()
    assert picture.startswith("<svg") and "step-4: " in picture

    config_file = Path(gold) / "config.json"
    record = json.loads(config_file.read_text())
    (tmp_path / "labels" / "tables").mkdir(parents=True)
    kinds = pa.table({"annotator_kind": ["persona", "persona", "human", "persona"]})
    pq.write_table(kinds, tmp_path / "labels" / "tables" / "annotations.parquet")
    record["dprm"]["trained_on"] = str(tmp_path / "labels")
    config_file.write_text(json.dumps(record))
    again = run("--judge", proxy, "--gold", gold, "--output", out, "--json", "-q")
    assert again.exit_code == 0, again.output
    printed = json.loads(again.stdout)
    assert printed["best_of_n"] == found["best_of_n"]
    assert any("is simulated: 75% of its labels are by language models" in note for note in printed["notes"])
    assert printed["gold_simulated"] == 0.75
    assert "simulated gold: " in (out / "gold-curves.svg").read_text()
    assert run("--judge", proxy, "--output", out, "-q").exit_code == 0
    assert not (out / "gold-curves.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gold", "a"], "--gold needs a proxy"),
        (["--gold", "./a", "--judge", "a"], "cannot be both the proxy"),
        (["--checkpoints", "a", "--prompts", "b"], "holds no policies that were kept"),
        (["--checkpoints", "running", "--prompts", "b"], "--policy base=MODEL"),
        (["--checkpoints", "running", "--policy", "base=a/b"], "--checkpoints needs --prompts"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    kept = tmp_path / "running" / "checkpoints" / "policy-00000002"
    kept.mkdir(parents=True)
    (kept / "config.json").write_text("{}")
    done = run(*arguments, "--output", "eval")
    assert isinstance(done.exception, DprmError)
    assert said in f"{done.exception} {done.exception.hint}"
