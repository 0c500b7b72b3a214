"""Prompts for alignment: from everything that holds them, without a leak, and as tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.ingest.splits import split_items
from dprm_data.runs.run import Run
from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.data.rows import load_data
from dprm_trainers.ppo.prompt_sets import Prompts, encode_prompts, load_prompts
from dprm_trainers.reward.holdout import HeldOut, by_reward_models
from tests.helpers import dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer
from tests.trainers import tiny


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def prompts(*texts: str) -> Prompts:
    return Prompts([user(text) for text in texts], [f"p{i}" for i in range(len(texts))], "here")


# -- where they come from -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_table_is_split_as_a_reward_model_splits_it(tmp_path: Path, split: Any) -> None:
    file = tiny.write(tmp_path / "data.parquet", tiny.rows(40))
    expected = {prompt[0]["content"] for prompt in load_data(file, labels="hh6").splits[split].prompts}
    found = load_prompts(str(file), split=split)
    assert {prompt[0]["content"] for prompt in found.messages} == expected
    assert len(found) == len(expected) == len(set(found.ids)) > 0


def test_what_any_of_the_trainings_held_out_is_trained_on_by_none(tmp_path: Path) -> None:
    """Two reward models with other shares and seeds: the intersections of their own splits."""
    file = tmp_path / "data.parquet"
    tiny.write(file, [row | {"group_id": f"group-{i}"} for i, row in enumerate(tiny.rows(24, responses=1))])
    shares: list[dict[str, Any]] = [{"test": 0.4, "validation": 0.3, "seed": 3}, {"test": 0.5, "seed": 4}]
    for name, split in zip("ab", shares, strict=True):
        model = tiny.reward_model(tmp_path / name)
        settings = json.loads((model / "config.json").read_text())
        settings["dprm"]["split"] = split
        (model / "config.json").write_text(json.dumps(settings))
    references = [str(tmp_path / name) for name in "ab"]
    how = [load_data(file, labels="hh6", **split).splits for split in shares]
    for models, splits in ((references[:1], how[:1]), (references[1:], how[1:]), (references, how)):
        for name in ("train", "test"):
            expected = set.intersection(*({prompt[0]["content"] for prompt in found[name].prompts} for found in splits))
            found = load_prompts(str(file), split=name, held_out=by_reward_models(models))
            assert {prompt[0]["content"] for prompt in found.messages} == expected
            assert expected
    assert by_reward_models([references[0]] * 2) == (HeldOut(0.4, 0.3, 3),)
    with pytest.raises(TrainingError, match="is not a reward model of dprm"):
        by_reward_models([str(tiny.base_model(tmp_path / "base"))])


def test_a_run_folder_gives_each_of_its_prompts_once_and_never_one_that_is_tested(tmp_path: Path) -> None:
    rows = [{"prompt": f"what is {word}", "response": f"{a} {word}"} for word in tiny.WORDS for a in ("good", "bad")]
    write_rows(tmp_path / "pairs.jsonl", rows)
    with LLMServer() as server:
        write_recipe(tmp_path, server.url)
        done = dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = str(tmp_path / "run")
    train, validation, test, every = (load_prompts(run, split=name) for name in ("train", "validation", "test", "all"))
    job = Run.open(run)
    assert len(test) * 2 == split_items(job.folder.needs("items"), job.recipe.publish).counts["test"]
    assert len(train) + len(validation) + len(test) == len(every) == len(tiny.WORDS)
    assert not set(train.ids) & (set(test.ids) | set(validation.ids))
    data = load_data(run)
    assert set(train.ids) == set(data.splits["train"].groups.tolist())
    assert every.revision is None


ROWS: dict[str, list[dict[str, Any]]] = {
    "texts": [{"prompt": f"ask {i}"} for i in range(9)],
    "messages": [{"prompt": user(f"ask {i}")} for i in range(9)],
    "questions": [{"question": f"ask {i}", "answer": ""} for i in range(9)],
    "conversations": [{"messages": [*user(f"ask {i}"), {"role": "assistant", "content": "no"}]} for i in range(9)],
    "not yet answered": [{"messages": user(f"ask {i}")} for i in range(9)],
    "pairs": [{"prompt": user(f"ask {i}"), "chosen": user("x"), "rejected": user("y"), "margin": 1} for i in range(9)],
    "transcripts": [{"prompt": f"\n\nHuman: ask {i}\n\nAssistant:"} for i in range(9)],
    "ranked conversations": [
        {name: f"\n\nHuman: ask {i}\n\nAssistant: {name}" for name in ("chosen", "rejected")} for i in range(9)
    ],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS.keys())
def test_every_shape_of_rows_gives_its_prompts(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    write_rows(tmp_path / "rows.jsonl", [*rows, *rows])
    found = load_prompts(str(tmp_path / "rows.jsonl"), split="all")
    assert found.messages == [user(f"ask {i}") for i in range(9)]
    assert load_prompts(str(tmp_path / "rows.jsonl"), split="all", limit=4).messages == found.messages[:4]


def test_a_system_message_in_a_column_of_its_own_comes_first(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"system": "be kind", "prompt": "ask"}])
    assert load_prompts(str(tmp_path / "rows.jsonl")).messages[0][0] == {"role": "system", "content": "be kind"}


def test_a_prompt_in_several_splits_of_a_hub_dataset_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(repo: str, config: str | None, revision: str | None) -> Any:
        asked.append((repo, config, revision))
        named = {"train": range(12), "test": range(10, 16), "extra": range(20, 23)}
        return {name: [{"prompt": f"ask {i}"} for i in which] for name, which in named.items()}

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("dprm_trainers.ppo.prompt_sets._commit", lambda repo, revision: "c0ffee")
    found = load_prompts("owner/name@v2:preferences", split="test")
    assert asked == [("owner/name", "preferences", "v2")]
    assert found.revision == "c0ffee"
    assert {prompt[0]["content"] for prompt in found.messages} == {f"ask {i}" for i in range(10, 16)}
    train, validation = (load_prompts("owner/name", split=name) for name in ("train", "validation"))
    both = {prompt[0]["content"] for prompt in train.messages + validation.messages}
    assert both == {f"ask {i}" for i in range(10)}
    assert len(validation) >= 1
    assert len(load_prompts("owner/name", split="extra")) == 3


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "ask"}, {"prompt": "  "}], "row 2: the prompt is empty"),
        ([{"prompt": "ask"}, {"prompt": [{"role": "owl", "content": "hu"}]}], "row 2: prompt"),
        ([{"text": "ask"}], r"row 1: no column holds a prompt \(found: text\)"),
        ([{"messages": [{"role": "assistant", "content": "hello"}]}], "row 1: the prompt is empty"),
    ],
)
def test_a_row_without_a_prompt_is_named(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(TrainingDataError, match=said):
        load_prompts(str(tmp_path / "rows.jsonl"))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"no file or folder"):
        load_prompts(str(tmp_path / "none.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\n{"prompt"\n')
    with pytest.raises(TrainingDataError, match=r"broken.jsonl, row 2: not valid JSON"):
        load_prompts(str(tmp_path / "broken.jsonl"))
    (tmp_path / "two.jsonl").write_text("".join(json.dumps({"prompt": f"{i}"}) + "\n" for i in range(2)))
    with pytest.raises(TrainingDataError, match=r"the test split has no prompts \(train 2\)"):
        load_prompts(str(tmp_path / "two.jsonl"), split="test")


# -- as tokens ------------------------------------------------------------------------------------------------------------


def test_tokens_end_where_the_response_begins() -> None:
    tokenizer = tiny.tokenizer()
    found = encode_prompts(tokenizer, prompts("what is red", "what is blue"), 20)
    assert tokenizer.decode(found.ids[0]) == "user : what is red <end> assistant :"
    assert found.rows == [0, 1]
    assert not found.notes


def test_a_prompt_that_is_too_long_is_an_error_that_names_it() -> None:
    with pytest.raises(
        TrainingDataError, match=r"1 of 2 prompts.*longer than 9 tokens.*number 2 of the train split, p1, 37"
    ):
        encode_prompts(tiny.tokenizer(), prompts("what is red", "red " * 32), 9)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(6, 14))
def test_cut_or_left_out_what_is_left_is_the_end_of_what_was_there(lengths: list[int], most: int) -> None:
    tokenizer = tiny.tokenizer()
    given_prompts = prompts(*(" ".join(["red"] * n) for n in lengths))
    whole = encode_prompts(tokenizer, given_prompts, 100).ids
    cut = encode_prompts(tokenizer, given_prompts, most, overlong="truncate")
    assert cut.ids == [ids[-most:] for ids in whole]
    assert cut.rows == list(range(len(lengths)))
    assert bool(cut.notes) == any(len(ids) > most for ids in whole)
    fitting = [i for i, ids in enumerate(whole) if len(ids) <= most]
    if not fitting:
        with pytest.raises(TrainingDataError, match="none is left"):
            encode_prompts(tokenizer, given_prompts, most, overlong="drop")
        return
    kept = encode_prompts(tokenizer, given_prompts, most, overlong="drop")
    assert kept.rows == fitting
    assert kept.ids == [whole[i] for i in fitting]


def test_a_token_that_begins_every_text_stays_when_the_left_is_cut() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.bos_token = "user"
    found = encode_prompts(tokenizer, prompts("one two three four five"), 5, overlong="truncate")
    assert tokenizer.decode(found.ids[0]) == "user five <end> assistant :"
