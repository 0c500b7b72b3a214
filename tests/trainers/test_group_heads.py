"""One backbone with a head for each group of people: trained, saved, read, exported, evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from transformers import AutoModelForSequenceClassification

from dprm_data.core.errors import DprmError
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.group_votes import GroupVotes
from dprm_trainers.data.rows import Rows, load_data
from dprm_trainers.evaluation.group_evaluation import evaluate_groups
from dprm_trainers.reward.group_export import export_group
from dprm_trainers.reward.group_figures import HEAD, MEAN, POPULATION, group_figures
from dprm_trainers.reward.group_heads import GroupedFrozenHead, GroupedLinear
from dprm_trainers.reward.group_loss import GroupLoss, levels
from dprm_trainers.reward.reward_model import RewardModel, softmax
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.scorer import Scorer
from tests.pipeline.test_people_run import ratings, write_people
from tests.trainers import grouped_people as people
from tests.trainers import tiny
from tests.trainers.test_people_reward import do

GROUPS = ("gender=female", "gender=male")
PROMPTS = [[{"role": "user", "content": "what is one"}]] * 3
RESPONSES = ["good good red red red", "bad bad blue blue blue", "good good blue blue blue"]
COMPLETIONS = [[{"role": "assistant", "content": text}] for text in RESPONSES]
WAYS: dict[str, dict[str, Any]] = {
    "head alone": {"freeze": "backbone", "epochs": 15, "learning_rate": 5e-2},
    "all weights": {"freeze": "none", "lora": 0, "epochs": 12, "learning_rate": 1e-2},
    "LoRA": {"freeze": "none", "lora": 4, "epochs": 12, "learning_rate": 1e-2},
    "encoder, mean": {"freeze": "none", "lora": 0, "epochs": 3, "learning_rate": 1e-2, "pooling": "mean"},
}


def train(folder: Path, way: str, given: dict[str, Any], **more: Any) -> Path:
    settings = tiny.settings(
        folder, **given, **{"group_heads": "gender", "early_stopping": 0, "batch_size": 16, **WAYS[way], **more}
    )
    return train_reward(settings).output


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Data of groups that differ, and the folder with it."""
    folder = tmp_path_factory.mktemp("apart")
    return {"folder": folder, "given": people.write_all(folder, apart=2.5)}


@pytest.fixture(scope="module")
def trained(apart: dict[str, Any]) -> Path:
    return train(apart["folder"], "head alone", apart["given"])


# -- what is trained ---------------------------------------------------------------------------------------------------


def test_the_offset_is_the_posteriors_maximum() -> None:
    """On fixed features: minimised by the loss, it is what SciPy finds for the logistic regression with a prior."""
    rng = np.random.default_rng(1)
    N, G, K, H = 40, 2, 3, 2
    x, counts = rng.normal(size=(N, H)), rng.integers(0, 4, (N, G, K)).astype(float)
    counts[rng.random((N, G)) < 0.3] = 0.0
    head = nn.Linear(H, K, bias=False)
    votes = GroupVotes("g", ("a", "b"), counts, rng.integers(0, 3, N).astype(float))
    start = rng.normal(size=(G * K, H))
    share = votes.of_all
    wide = GroupedLinear.of(head, torch.from_numpy(start), None, 1.7, torch.from_numpy(share).float())
    loss = GroupLoss(votes, spread=0.8)
    population = wide.weight.detach()[:K].numpy().copy()

    def value(offset: np.ndarray) -> float:
        total = 0.0
        E = offset.reshape(G, K, H)
        for g in range(G):
            D = E[g] - sum(share[h] * E[h] for h in range(G))
            logits = x @ (population + D).T
            logp = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
            n = counts[:, g].sum(axis=1, keepdims=True)
            total -= (counts[:, g] / (1 + 0.1 * np.maximum(n - 1, 0)) * logp).sum()
        return total + 1.7 * ((offset - start.ravel()) ** 2).sum() / (2 * 0.8**2)

    expected = minimize(value, start.ravel(), method="L-BFGS-B", tol=1e-12).x.reshape(G * K, H)
    optimiser = torch.optim.LBFGS([wide.weight], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    features, given = torch.from_numpy(x).float(), torch.from_numpy(counts).float()

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        found = loss.of_batch(loss.split(wide(features))[1], {"group_votes": given}, wide)
        found.backward()
        return found

    optimiser.step(step)
    assert np.allclose(wide.weight.detach().numpy()[K:], expected, atol=2e-3)
    assert np.array_equal(wide.weight.detach().numpy()[:K], population)  # the population learns nothing from groups


def test_batches_of_any_size_have_the_loss_of_all_rows_in_the_mean() -> None:
    rng = np.random.default_rng(2)
    counts, logits = rng.integers(0, 3, (12, 2, 4)).astype(float), torch.from_numpy(rng.normal(size=(12, 2, 4))).float()
    loss, votes = GroupLoss(GroupVotes("g", ("a", "b"), counts)), torch.from_numpy(counts).float()
    parts = [float(loss(logits[i : i + 3], votes[i : i + 3])) for i in range(0, 12, 3)]
    assert np.isclose(np.mean(parts), float(loss(logits, votes)), atol=1e-6)
    single = (counts > 0) * (counts.cumsum(axis=2) == counts) * 1.0  # one label a cell at most, one vote for it
    one = GroupLoss(GroupVotes("g", ("a", "b"), single))
    p = torch.softmax(logits, dim=-1).numpy()
    expected = -(single * np.log(p)).sum() / single.sum()
    assert np.isclose(float(one(logits, torch.from_numpy(single).float())), expected, atol=1e-6)


def test_offsets_have_the_mean_zero_over_all_who_voted(trained: Path, apart: dict[str, Any]) -> None:
    heads = RewardModel.load(str(trained)).heads
    data = load_data(apart["given"]["data"], labels=5, test=0.2, validation=0.2, group_heads="gender", votes=apart["given"]["votes"])  # fmt: skip
    votes = data.split("train").of_groups
    assert heads is not None and votes is not None and votes.others is not None and not votes.others.any()
    mean = np.einsum("g,gkh->kh", votes.of_all, heads.weight.numpy())
    assert np.abs(mean).max() < 1e-4 < np.abs(heads.weight.numpy()).max()


def test_a_group_of_few_votes_starts_and_stays_near_everyone() -> None:
    counts = np.zeros((50, 2, 3))
    counts[:, 0] = [4, 1, 1]
    counts[0, 1] = [0, 0, 1]
    few = levels(GroupVotes("g", ("many", "few"), counts))
    assert np.abs(few[1]).max() < 0.3
    counts[:, 1] = [0, 1, 5]
    assert levels(GroupVotes("g", ("many", "few"), counts))[1, 2] > 0.5


def test_the_head_on_features_folds_into_the_wide_head() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 5)).astype(np.float32) + 2
    frozen = GroupedFrozenHead(x, 3, np.array([0.2, 0.3, 0.5]), rng.normal(size=(2, 3)), np.array([0.5, 0.3]))
    with torch.no_grad():
        frozen.weight.add_(torch.randn_like(frozen.weight))
    wide = GroupedLinear.of(nn.Linear(5, 3), torch.zeros(6, 5), share=torch.tensor([0.5, 0.3]))
    frozen.fold(wide)
    with torch.no_grad():
        assert torch.allclose(wide(torch.from_numpy(x)), frozen(torch.from_numpy(x))["logits"], atol=1e-4)


# -- saved, loaded, exported -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=pytest.mark.slow if way == "all weights" else ()) for way in WAYS]
)
def test_what_is_saved_is_plain_and_every_reader_agrees(apart: dict[str, Any], tmp_path: Path, way: str) -> None:
    given = dict(apart["given"])
    if way == "encoder, mean":
        given |= {"model": str(tiny.encoder(tmp_path / "base")), "chat_template": "plain"}
    folder = train(tmp_path, way, given, epochs=2, calibrate=way == "LoRA", test=0.5)
    model = RewardModel.load(str(folder))
    assert model.groups == GROUPS
    population = model.judge(PROMPTS, COMPLETIONS).distribution
    assert population is not None
    if way != "encoder, mean":
        stock = AutoModelForSequenceClassification.from_pretrained(folder)  # as before: no trace of groups
        assert np.allclose(RewardModel(stock, model.tokenizer).judge(PROMPTS, COMPLETIONS).distribution, population)
    for group in GROUPS:
        own = model.judge(PROMPTS, COMPLETIONS, group=group).distribution
        assert own is not None and np.abs(own - population).max() > 1e-4
        output = tmp_path / group
        export_group(str(folder), group, str(output))
        exported = RewardModel.load(str(output))
        assert not (output / "group_heads").exists() and exported.groups == ()
        assert np.allclose(exported.judge(PROMPTS, COMPLETIONS).distribution, own, atol=1e-5)
        assert Scorer.load(str(output)).groups == (group,)
        if way != "encoder, mean":
            stock = AutoModelForSequenceClassification.from_pretrained(output)
            assert stock.config.num_labels == 5
            assert np.allclose(RewardModel(stock, model.tokenizer).judge(PROMPTS, COMPLETIONS).distribution, own, atol=1e-5)  # fmt: skip
    # Reading groups leaves the model as it was.
    assert np.array_equal(model.judge(PROMPTS, COMPLETIONS).distribution, population)


def test_one_pass_gives_the_least_satisfied_group(trained: Path, tmp_path: Path) -> None:
    outputs = []
    for group in GROUPS:
        outputs.append(str(tmp_path / group))
        export_group(str(trained), group, outputs[-1])
    passes: list[int] = []
    one = Scorer.load(str(trained), group="least")
    one.models[0].model.register_forward_hook(lambda *_: passes.append(1))
    found, several = one(PROMPTS, RESPONSES), Scorer.load(outputs)(PROMPTS, RESPONSES)
    assert len(passes) == 1
    assert one.groups == GROUPS
    assert np.allclose(found.reward, several.reward, atol=1e-4)
    assert found.worst is not None and several.worst is not None
    assert found.worst.tolist() == several.worst.tolist()
    assert GROUPS[found.worst[0]] == "gender=male"  # who does not like what ends in red
    women = Scorer.load(str(trained), group="gender=female")
    assert women.groups == ("gender=female",)
    assert np.allclose(women(PROMPTS, RESPONSES).reward, Scorer.load(outputs[0])(PROMPTS, RESPONSES).reward, atol=1e-4)
    with pytest.raises(TrainingError, match="no head for the group gender=other") as caught:
        Scorer.load(str(trained), group="gender=other")
    assert "gender=female, gender=male" in str(caught.value.hint)
    with pytest.raises(TrainingError, match="no heads of groups"):
        Scorer.load(outputs[0], group="least")


# -- do they help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["head alone", pytest.param("LoRA", marks=pytest.mark.slow)])
def test_heads_beat_the_population_where_groups_differ(apart: dict[str, Any], tmp_path: Path, way: str) -> None:
    folder = train(tmp_path, way, apart["given"], test=0.4)
    found = evaluate_groups({"m": RewardModel.load(str(folder))}, apart["given"]["data"], votes=apart["given"]["votes"])
    together = found.figures["m"].groups[-1]
    assert together.beats(POPULATION) and together.beats(MEAN)
    assert together.scores["rps"][HEAD] < 0.8 * together.scores["rps"][POPULATION]


@pytest.mark.slow
def test_heads_are_not_worse_where_groups_do_not_differ(tmp_path: Path) -> None:
    given = people.write_all(tmp_path, apart=0.0)
    folder = train(tmp_path, "head alone", given, objective="ce", test=0.4)
    found = evaluate_groups({"m": RewardModel.load(str(folder))}, given["data"], votes=given["votes"])
    together = found.figures["m"].groups[-1]
    assert not together.beats(MEAN)
    assert abs(together.scores["rps"][HEAD] - together.scores["rps"][POPULATION]) < 0.004


def test_figures_are_means_over_votes() -> None:
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 3, (9, 2, 5)).astype(float)
    counts[:4, 1] = 0.0
    votes = GroupVotes("g", ("a", "b"), counts)
    rows = Rows(
        [[]] * 9, [[]] * 9, np.array([f"p{i}" for i in range(9)]), np.full((9, 5), 0.2), np.ones(9), of_groups=votes
    )
    p = rng.dirichlet(np.ones(5), (9, 3))
    [first, second, together] = group_figures(votes, rows, p, people.SPACE).groups
    each = [[-np.log(p[i, 1 + g, k]) for i in range(9) for k in range(5) for _ in range(int(counts[i, g, k]))] for g in range(2)]  # fmt: skip
    assert np.isclose(first.scores["nll"][HEAD], np.mean(each[0]))
    assert np.isclose(second.scores["nll"][HEAD], np.mean(each[1]))
    assert np.isclose(together.scores["nll"][HEAD], np.mean(each[0] + each[1]))
    assert second.rows == 5 and together.votes == counts.sum()


# -- commands, resuming, mistakes --------------------------------------------------------------------------------------


def test_the_commands(apart: dict[str, Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = apart["given"]
    data = ["--data", given["data"], "--votes", json.dumps(given["votes"])]
    model = ["--labels", "5", "--model", given["model"], "--freeze", "backbone", "--epochs", "2"]
    said = do(["train", "reward", *data, *model, "--group-heads", "gender", "-o", "rm", "--json"])
    assert [row["name"] for row in json.loads(said)["figures"]["groups"]] == [*GROUPS, "all groups"]
    assert "heads of groups" in (tmp_path / "rm" / "README.md").read_text()
    do(["train", "reward", *data, *model, "--groups", "gender", "-o", "models", "-q"])
    assert {folder.name for folder in (tmp_path / "models").iterdir()} == set(GROUPS)
    said = do(["eval", "reward", "-m", str(trained), *data, "--group", "all", "-o", "figures"])
    for text in ("gender=female", "gender=male", "all groups", "rps: mean of all heads"):
        assert text in said
    assert json.loads((tmp_path / "figures" / "groups.json").read_text())["figures"]
    said = do(["eval", "reward", "-m", str(trained), *data, "--group", "gender=male"])
    assert "gender=male" in said and "gender=female" not in said
    assert "of gender=male" in do(["export-reward", str(trained), "--group", "gender=male", "-o", "men"]).replace("\n", " ")  # fmt: skip
    assert json.loads((tmp_path / "men" / "config.json").read_text())["dprm"]["group"]["value"] == "male"


def test_a_resumed_training_ends_as_one_that_went_through(apart: dict[str, Any], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file

    options = {"freeze": "none", "lora": 0, "learning_rate": 1e-2, "epochs": 3, "test": 0.5}
    whole = tiny.settings(tmp_path, **apart["given"], **options, group_heads="gender", output=str(tmp_path / "whole"))
    train_reward(whole)
    again = whole.model_copy(update={"output": str(tmp_path / "again"), "resume": True})
    (tmp_path / "again").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoints", tmp_path / "again" / "checkpoints")
    last = max((tmp_path / "again" / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    shutil.rmtree(last)
    train_reward(again)
    first, second = (load_file(tmp_path / name / "group_heads" / "offsets.safetensors") for name in ("whole", "again"))
    assert torch.allclose(first["weight"], second["weight"], atol=1e-6)
    with pytest.raises(TrainingError, match="began with gender"):
        train_reward(again.model_copy(update={"group_heads": None}))


def test_groups_of_a_table_of_votes(apart: dict[str, Any], tmp_path: Path) -> None:
    given = apart["given"]
    data = load_data(given["data"], labels=5, group_heads="gender", votes=given["votes"])
    texts = {(row["prompt"], row["response"]): row["item_id"] for row in people.votes(apart=2.5)}
    wanted: dict[Any, int] = {}
    for row in people.votes(apart=2.5):
        key = (row["item_id"], row["gender"], row["label"])
        wanted[key] = wanted.get(key, 0) + 1
    for rows in data.splits.values():
        assert rows.of_groups is not None and rows.of_groups.names == GROUPS
        for i in range(len(rows)):
            item = texts[rows.prompts[i][0]["content"], rows.completions[i][0]["content"]]
            for g, gender in enumerate(("female", "male")):
                expected = [wanted.get((item, gender, label), 0) for label in range(1, 6)]
                assert rows.of_groups.counts[i, g].tolist() == expected
    one = load_data(given["data"], labels=5, group="gender=male", votes=given["votes"]).split("train")
    assert one.votes is not None and np.allclose(one.votes.sum(axis=1), one.evidence)
    everyone = load_data(given["data"], labels=5).split("train")
    assert one.prompts == everyone.prompts and np.abs(one.target - everyone.target).max() > 0.1


def test_mistakes_are_told(apart: dict[str, Any], tmp_path: Path) -> None:
    given = apart["given"]
    with pytest.raises(DprmError, match="who is in which group of gender is unknown") as caught:
        load_data(given["data"], labels=5, group_heads="gender")
    assert "votes" in str(caught.value.hint)
    with pytest.raises(DprmError, match="no column 'age'"):
        load_data(given["data"], labels=5, group_heads="age", votes=given["votes"])
    other = [row | {"item_id": f"other {row['item_id']}", "id": i} for i, row in enumerate(people.votes(60))]
    table = {"path": str(people.write_votes(tmp_path / "other.csv", other)), "base": 1}
    with pytest.raises(DprmError, match=r"no item of .* is in the data"):
        load_data(given["data"], labels=5, group_heads="gender", votes=table)
    with pytest.raises(DprmError, match="id has 480 values"):
        load_data(given["data"], labels=5, group_heads="id", votes=table | {"columns": {"annotator_id": "id"}})
    with pytest.raises(DprmError, match="votes: 'colums' is unknown"):
        load_data(given["data"], labels=5, group_heads="gender", votes=table | {"colums": {}})
    for wrong, text in (
        ({"objective": "bt"}, "group_heads: the objective must train distributions"),
        ({"group": "gender=male"}, "leave one of the two out"),
    ):
        with pytest.raises(DprmError, match=text):
            tiny.settings(tmp_path, **given, group_heads="gender", **wrong)
    with pytest.raises(TrainingError, match="spread over processes"):
        train_reward(tiny.settings(tmp_path, **given, group_heads="gender", trainer={"fsdp": True}))


def test_an_attribute_of_a_runs_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_people(tmp_path, ratings(15))
    do(["run", "recipe.yaml", "--quiet"])
    data = load_data(tmp_path / "run", group_heads="age")
    groups = [rows.of_groups for rows in data.splits.values()]
    assert all(each is not None and each.names == ("age=old", "age=young") for each in groups)
    assert sum(each.total for each in groups if each) == pq.read_table(tmp_path / "run/tables/annotations.parquet").num_rows  # fmt: skip


def test_predictions_of_all_heads_are_distributions(trained: Path) -> None:
    model = RewardModel.load(str(trained))
    ids = [[3, 5, 14, 7, 2], [4, 5, 9]]
    p = softmax(model.all_logits(ids))
    assert p.shape == (2, 3, 5)
    assert np.allclose(p.sum(axis=2), 1)
    assert np.allclose(model.all_logits(ids)[:, 0], model.logits(ids), atol=1e-5)
