"""Rows of datasets that many people train on are read without configuration: UltraFeedback, raw and binarized, HelpSteer2 and HelpSteer3.

The rows have these datasets' columns, as their cards list them (huggingface.co: HuggingFaceH4/ultrafeedback_binarized, openbmb/UltraFeedback, nvidia/HelpSteer2, nvidia/HelpSteer3).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import SourceError
from dprm_data.ingest.items import Item, Refused
from dprm_data.ingest.sources import read_items
from dprm_data.recipe.recipe import SourceConfig

QUESTION = {"role": "user", "content": "Name a fruit."}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def binarized(prompt: str = "Name a fruit.") -> dict[str, Any]:
    asked = {"role": "user", "content": prompt}
    return {
        "prompt": prompt,
        "prompt_id": "a" * 64,
        "chosen": [asked, said("Apple.")],
        "rejected": [asked, said("Stone.")],
        "messages": [asked, said("Apple.")],
        "score_chosen": 8.5,
        "score_rejected": 3.0,
    }


def completion(model: str, response: str, score: float) -> dict[str, Any]:
    return {
        "annotations": {"helpfulness": {"Rating": "4", "Rationale": "It helps."}},
        "custom_system_prompt": "Be honest.",
        "critique": "Fine.",
        "fine-grained_score": score,
        "model": model,
        "overall_score": score,
        "principle": "honesty",
        "response": response,
    }


RAW = {
    "source": "evol_instruct",
    "instruction": "Name a fruit.",
    "models": ["alpaca-7b", "gpt-4"],
    "completions": [completion("alpaca-7b", "Stone.", 2.0), completion("gpt-4", "Apple.", 9.0)],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}


def compared(preference: Any, **more: Any) -> dict[str, Any]:
    return {
        "domain": "general",
        "language": "english",
        "context": [QUESTION],
        "response1": "Apple.",
        "response2": "Stone.",
        "overall_preference": preference,
        "individual_preference": [{"score": -2, "reasoning": "A stone is none.", "feedback1": "", "feedback2": ""}],
    } | more


def read(folder: Path, kind: str, *rows: dict[str, Any], **config: Any) -> tuple[list[Item], list[str]]:
    file = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_items(SourceConfig(path=file.name, **config), base=folder))
    return [one for one in found if isinstance(one, Item)], [one.reason for one in found if isinstance(one, Refused)]


def texts(items: list[Item]) -> list[tuple[str, str, str | None]]:
    return [(item.prompt[-1]["content"], item.completion[-1]["content"], item.role) for item in items]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_ultrafeedback_binarized(tmp_path: Path, kind: str) -> None:
    # A prompt that reads like a transcript is one turn in the conversations.
    like_a_transcript = "Human: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit."
    items, refused = read(tmp_path, kind, binarized(), binarized(like_a_transcript))
    assert not refused
    assert texts(items) == [
        (prompt, *answer)
        for prompt in ("Name a fruit.", like_a_transcript)
        for answer in (("Apple.", "chosen"), ("Stone.", "rejected"))
    ]
    assert items[0].source_id == "a" * 64
    assert items[0].metadata["score_chosen"] == 8.5


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_ultrafeedback(tmp_path: Path, kind: str) -> None:
    items, refused = read(tmp_path, kind, RAW)
    assert not refused
    assert texts(items) == [("Name a fruit.", "Stone.", None), ("Name a fruit.", "Apple.", None)]
    assert [item.metadata["model"] for item in items] == ["alpaca-7b", "gpt-4"]
    assert [item.metadata["overall_score"] for item in items] == [2.0, 9.0]
    assert items[0].metadata["source"] == "evol_instruct" and "response" not in items[0].metadata
    items, _ = read(tmp_path, kind, RAW, keep=["source"])
    assert items[0].metadata == {"source": "evol_instruct", "model": "alpaca-7b"}
    broken = RAW | {"completions": [completion("gpt-4", "Apple.", 9.0), {"model": "x", "text": "Stone."}]}
    items, refused = read(tmp_path, "jsonl", broken)
    assert not items and "completions[1] has no response" in refused[0]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_helpsteer3(tmp_path: Path, kind: str) -> None:
    items, refused = read(tmp_path, kind, *(compared(preference) for preference in (-2, 3, 0, None)))
    assert not refused
    roles = [(item.role, item.completion[0]["content"]) for item in items]
    assert roles == [
        ("chosen", "Apple."),
        ("rejected", "Stone."),
        ("rejected", "Apple."),
        ("chosen", "Stone."),
        *[(None, "Apple."), (None, "Stone.")] * 2,
    ]
    assert items[0].prompt == (QUESTION,)
    assert items[0].metadata["overall_preference"] == -2 and items[0].metadata["domain"] == "general"
    items, refused = read(tmp_path, "jsonl", compared("worse"))
    assert not items and refused == ["overall_preference must be a number, found 'worse'"]


def test_helpsteer2(tmp_path: Path) -> None:
    rating = {"prompt": "Name a fruit.", "response": "Apple.", "helpfulness": 4, "correctness": 4, "coherence": 4}
    items, refused = read(tmp_path, "jsonl", rating)
    assert texts(items) == [("Name a fruit.", "Apple.", None)] and not refused
    assert items[0].metadata["helpfulness"] == 4
    preferred = {"split": "train", "prompt": "Name a fruit.", "response_1": "Stone.", "response_2": "Apple."}
    items, _ = read(tmp_path, "jsonl", preferred | {"preference_strength": 2})
    assert texts(items) == [("Name a fruit.", "Stone.", "rejected"), ("Name a fruit.", "Apple.", "chosen")]


def test_other_shapes_come_first(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "response": "Hello.", "response1": "a", "response2": "b", "overall_preference": 1}
    items, _ = read(tmp_path, "jsonl", row)
    assert texts(items) == [("Hi", "Hello.", None)]
    with pytest.raises(SourceError, match="no column holds the prompt"):
        read(tmp_path, "jsonl", {"response1": "a", "response2": "b"})
