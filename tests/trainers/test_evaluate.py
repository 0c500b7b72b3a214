"""Figures against their definitions, models side by side, pairs as JSON lines, and the commands."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.core.errors import DprmError
from dprm_data.core.format import typographic
from dprm_data.labels.statistics import Resamples
from dprm_data.preference.pairs import outcomes
from dprm_trainers.data.rows import load_data, preference_pairs
from dprm_trainers.evaluation.evaluate import CONSTANT, LONGER, TEXT, compare, evaluate
from dprm_trainers.evaluation.evaluation_files import write_files
from dprm_trainers.evaluation.evaluation_tables import markdown
from dprm_trainers.evaluation.metrics import calibration_error, reliability, spearman
from dprm_trainers.evaluation.pair_file import read_pairs, score_pairs
from dprm_trainers.reward.reward_model import Judgement, RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from tests.trainers import tiny

SPACE = tiny.SPACE
RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(6), 60), RNG.dirichlet(np.ones(6), 60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("models")
    good = train_reward(tiny.settings(folder, epochs=8, output=str(folder / "good")))
    scalar = train_reward(tiny.settings(folder, epochs=4, objective="bt", output=str(folder / "scalar")))
    return SimpleNamespace(
        folder=folder, good=str(good.output), scalar=str(scalar.output), data=str(folder / "data.parquet")
    )


def test_calibration() -> None:
    assert calibration_error(Q, Q) == 0
    assert calibration_error(np.full((50, 2), 0.5), np.tile([0.7, 0.3], (50, 1))) == pytest.approx(0.0)
    assert calibration_error(np.tile([0.9, 0.1], (50, 1)), np.tile([0.7, 0.3], (50, 1))) == pytest.approx(0.2)
    assert sum(n for _, _, n in reliability(P, Q)) == P.size


def test_rank_correlation_and_pairs() -> None:
    x, y = RNG.integers(0, 5, 40).astype(float), RNG.normal(size=40)
    assert spearman(x, y) == pytest.approx(float(spearmanr(x, y).statistic))
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))
    pairs = np.array([[0, 1], [1, 0], [2, 2]])
    assert outcomes(np.array([1.0, 0.0, 5.0]), pairs).tolist() == [1.0, 0.0, 0.5]


def test_the_bootstrap_draws_whole_groups() -> None:
    """Rows that repeat within a group say nothing new: the interval is that of the groups."""
    values = RNG.normal(size=100)
    alone = Resamples.of(np.arange(100), resamples=2000).mean(values)
    repeated = Resamples.of(np.repeat(np.arange(100), 5), resamples=2000).mean(np.repeat(values, 5))
    assert repeated.value == pytest.approx(alone.value)
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.15)


def test_a_perfect_prediction_and_the_constant_one() -> None:
    rewards = Q @ SPACE.rewards
    pairs = np.array(
        [[int(a), int(b)] for a, b in zip(np.argsort(-rewards)[:20], np.argsort(rewards)[:20], strict=True)]
    )
    judged = {"perfect": Judgement(rewards, rewards * 0, Q)}
    found = compare(judged, Q, Q.mean(axis=0), SPACE, np.arange(60), pairs).figures
    assert found["perfect"]["ot"].value == pytest.approx(0, abs=1e-12)
    assert found["perfect"]["ece"].value == 0
    assert found["perfect"]["spearman"].value == pytest.approx(1)
    assert found["perfect"]["spread"].value == pytest.approx(1)
    assert "spread" not in found[CONSTANT]
    assert found["perfect"]["pairs"].value == 1
    assert found[CONSTANT]["nll"].value > found["perfect"]["nll"].value
    assert "pairs" not in found[CONSTANT]


def test_models_side_by_side(trained: SimpleNamespace, tmp_path: Path) -> None:
    data = load_data(trained.data, labels="hh6", test=0.2, validation=0.2)
    models = {"good": RewardModel.load(trained.good), "scalar": RewardModel.load(trained.scalar)}
    found = evaluate(models, data, resamples=50)
    figures = found.figures
    assert figures["good"]["nll"].value < figures[CONSTANT]["nll"].value
    assert set(figures["scalar"]) & {"ot", "nll"} == set()
    assert figures["scalar"]["pairs"].value > 0.5
    table = markdown(found)
    assert table.count("\n") > 5
    assert "margin" in table
    assert "disagreement" in table
    write_files(found, tmp_path)
    assert "<svg" in (tmp_path / "reliability.svg").read_text()
    assert (
        json.loads((tmp_path / "evaluation.json").read_text())["figures"]["good"]["ot"]["value"]
        == figures["good"]["ot"].value
    )


class Seen(HTMLParser):
    """What a page has: its words, its tags, and its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.tags, self.attributes = "", [], {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_has_every_figure_in_order_and_asks_no_network(trained: SimpleNamespace, tmp_path: Path) -> None:
    data = load_data(trained.data, labels="hh6", test=0.3, validation=0.2)
    bad = "<script>alert(1)</script>"
    models = {trained.good: RewardModel.load(trained.good), bad: RewardModel.load(trained.scalar)}
    found = evaluate(models, data, resamples=50)
    write_files(found, tmp_path)
    written = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    page = Seen((tmp_path / "evaluation.html").read_text())
    sections = ["Models and rivals", "Reliability", "Accuracy on pairs", "Groups of people", "What was evaluated"]
    places = [page.words.rindex(title) for title in sections]
    assert places == sorted(places)
    assert page.words.index(written["verdict"][0]["answer"]) < places[0]
    assert bad in page.words
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert page.attributes["href"] == ["data:,", *[link for link in page.attributes["href"] if link.startswith("#")]]
    assert "src" not in page.attributes
    assert [value for value in page.attributes["content"] if value.startswith("default-src 'none'")]
    for figures in written["figures"].values():
        for figure in figures.values():
            assert figure["value"] is None or typographic(f"{round(figure['value'], 3) + 0.0:.3f}") in page.words
    assert "only a run folder says who voted" in page.words
    assert written["pair_curves"].keys() == written["figures"].keys() - {CONSTANT, LONGER}
    assert "Infinity" not in (tmp_path / "evaluation.json").read_text()


def test_a_verdict_is_one_sentence_with_intervals(trained: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    rivals = {TEXT: Judgement(Q @ SPACE.rewards, np.zeros(60), 0.5 * Q + 0.5 / 6)}
    judged = {"best": Judgement(Q @ SPACE.rewards, np.zeros(60), Q), "middle": Judgement(Q @ SPACE.rewards, np.zeros(60), 0.3 * Q + 0.7 * Q.mean(axis=0)),
              "worst": Judgement(P @ SPACE.rewards, np.zeros(60), rng.dirichlet(np.ones(6), 60))}  # fmt: skip
    pairs = np.stack([np.arange(0, 60, 2), np.arange(1, 60, 2)], axis=1)
    found = compare(judged, Q, Q.mean(axis=0), SPACE, np.arange(60), pairs, rivals=rivals).verdict
    assert [line.question for line in found] == ["best", "middle", "worst"]
    assert [line.concern for line in found] == [False, True, True]
    assert found[0].answer == f"Beats the constant and {TEXT}."
    assert found[1].answer == f"Beats the constant, but is worse than {TEXT}."
    assert found[2].answer == f"Is worse than the constant and {TEXT}."
    assert "RPS 0.000. The constant: 0." in found[0].detail
    assert re.search(r"difference -0\.\d{4} \(-0\.\d{4} to -0\.\d{4}\)", found[0].detail)


def test_a_padded_batch_says_what_each_row_says_alone(trained: SimpleNamespace) -> None:
    model = RewardModel.load(trained.good)
    ids = [[3, 5, 6, 7], [3, 5, 6], [4, 5, 9, 10, 11, 12, 8]]
    together = model.logits(ids, batch_size=3)
    assert np.allclose(together, np.vstack([model.logits([row]) for row in ids]), atol=1e-5)


def test_pairs_as_json_lines(trained: SimpleNamespace, tmp_path: Path) -> None:
    rows = [
        {"id": 1, "prompt": "what is red", "chosen": "good kind fine", "rejected": "bad rude awful", "subset": "words"},
        {
            "id": 2,
            "prompt": [{"role": "user", "content": "what is blue"}],
            "chosen": [{"role": "assistant", "content": "fine good good"}],
            "rejected": [{"role": "user", "content": "what is blue"}, {"role": "assistant", "content": "awful"}],
            "subset": "lists",
        },
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read_pairs(file)
    assert pairs.rejected[1] == [{"role": "assistant", "content": "awful"}]
    found = score_pairs(RewardModel.load(trained.good), pairs, out=tmp_path / "scored.jsonl")
    assert {name: count for name, (_, count) in found.items()} == {"all": 2, "words": 1, "lists": 1}
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert [row["id"] for row in scored] == [1, 2]
    assert all(row["correct"] == float(row["score_chosen"] > row["score_rejected"]) for row in scored)
    file.write_text('{"prompt": "x", "chosen": "y"}\n')
    with pytest.raises(DprmError, match="line 1: no 'rejected'"):
        read_pairs(file)


def test_pairs_of_rows() -> None:
    data = load_rows(responses=3)
    within = preference_pairs(data, SPACE.rewards)
    expected = data.target @ SPACE.rewards
    assert (data.groups[within[:, 0]] == data.groups[within[:, 1]]).all()
    assert (expected[within[:, 0]] > expected[within[:, 1]]).all()
    assert len(preference_pairs(data, SPACE.rewards, within="any")) > len(within)


def load_rows(responses: int):  # type: ignore[no-untyped-def]
    import pyarrow as pa

    from dprm_trainers.data.rows import checked_rows

    return checked_rows(pa.Table.from_pylist(tiny.rows(30, responses)), SPACE, "rows")


def test_splits_keep_prompts_together(trained: SimpleNamespace) -> None:
    data = load_data(trained.data, labels="hh6", test=0.3, validation=0.2)
    groups = [set(rows.groups.tolist()) for rows in data.splits.values()]
    assert all(groups)
    assert not (groups[0] & groups[1]) | (groups[0] & groups[2]) | (groups[1] & groups[2])
    again = load_data(trained.data, labels="hh6", test=0.3, validation=0.2)
    assert all((data.splits[name].groups == again.splits[name].groups).all() for name in data.splits)


def test_another_label_space_is_refused(trained: SimpleNamespace, tmp_path: Path) -> None:
    file = tiny.write(tmp_path / "six.parquet", tiny.rows(space=tiny.LabelSpace.ordinal(6)))
    with pytest.raises(DprmError, match="is on the label space hh6"):
        evaluate({"m": RewardModel.load(trained.good)}, load_data(file, labels=6))


def test_the_commands(trained: SimpleNamespace, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["train", "reward", "--data", trained.data, "--labels", "hh6", "--model", str(trained.folder / "base"),
                               "--output", str(tmp_path / "m"), "--epochs", "1", "--set", "warmup=0.1", "--json", "--quiet"])  # fmt: skip
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["figures"]["epochs"] == 1
    done = runner.invoke(
        app, ["eval", "reward", "-m", str(tmp_path / "m"), "-m", trained.good, "--data", trained.data, "--json"]
    )
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["figures"]) == {CONSTANT, TEXT, LONGER, str(tmp_path / "m"), trained.good}


def test_a_settings_file(trained: SimpleNamespace, tmp_path: Path) -> None:
    from dprm_trainers.reward.reward_config import RewardConfig

    file = tmp_path / "settings.yaml"
    file.write_text("data: a.parquet\nmodel: b\nepochs: 3\n")
    assert RewardConfig.of(file, epochs=2.0).epochs == 2.0
    file.write_text("data: a.parquet\nmodel: b\nepoch: 3\n")
    with pytest.raises(DprmError, match="epoch"):
        RewardConfig.of(file)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DprmError, match=r"not installed: .*torch") as caught:
        CliRunner().invoke(app, ["train", "reward", "--data", "x", "--model", "y"], catch_exceptions=False)
    assert "[train]" in str(caught.value.hint)
