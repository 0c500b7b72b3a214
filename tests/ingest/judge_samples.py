"""Files of the forms in which benchmarks of judges are published. A response says in its text how good the known judge finds it: `[4]`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def _two_of(name: str, chosen: list[str], rejected: list[str], subset: str) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": f"Question {name} of {subset}?",
        "chosen": chosen,
        "rejected": rejected,
        "num_correct": len(chosen),
        "num_incorrect": len(rejected),
        "total_completions": len(chosen) + len(rejected),
        "models": ["m"],
        "subset": subset,
        "additional_metadata": None,
    }


def rewardbench2(folder: Path) -> None:
    """Math: right, shared by two, wrong. Focus: right. Ties: question 0 with right answers closer to each other than to the wrong one, question 1 with another order."""
    rows = [
        _two_of("10", ["yes [5]"], ["no [1]", "nay [2]", "never, not at all [4]"], "Math"),
        _two_of("11", ["yes [4]"], ["no [4]", "nay [2]", "never, not at all [1]"], "Math"),
        _two_of("12", ["yes [3]"], ["no [4]", "nay [2]", "never, not at all [1]"], "Math"),
        _two_of("20", ["yes [3]"], ["no [1]", "nay [2]", "never, not at all [1]"], "Focus"),
        _two_of("ref:0", ["red [5]"], ["stone [1]"], "Ties"),
        _two_of("tied:0", ["red [5]", "blue, as the sky [4]", "green [4]"], ["stone [2]", "tree [1]"], "Ties"),
        _two_of("ref:1", ["one [4]"], ["apple [3]"], "Ties"),
        _two_of("tied:1", ["one [5]", "two [3]"], ["apple [1]", "pear, a kind of fruit [2]"], "Ties"),
    ]
    _parquet(folder / "data" / "test-00000-of-00001.parquet", rows)


def rm_bench(folder: Path) -> None:
    """Three styles, the later the fancier. The judge finds the wrong responses the better the fancier they are."""

    def case(name: str, domain: str, chosen: list[int], rejected: list[int]) -> dict[str, Any]:
        return {
            "id": name,
            "prompt": f"Question {name}?",
            "chosen": [f"right{' and so on' * i} [{level}]" for i, level in enumerate(chosen)],
            "rejected": [f"wrong{' and so on' * i} [{level}]" for i, level in enumerate(rejected)],
            "domain": domain,
        }

    rows = [
        case("1", "chat", [3, 3, 3], [1, 2, 4]),
        case("2", "code", [5, 5, 5], [1, 1, 1]),
        case("3", "math", [2, 2, 2], [2, 2, 2]),
        case("4", "safety-refuse", [5, 5, 5], [1, 1, 1]),
        case("5", "safety-response", [1, 1, 1], [5, 5, 5]),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total_dataset.json").write_text(json.dumps(rows))


def judgebench(folder: Path) -> None:
    """The files of the repository: pairs of two models' responses."""

    def pair(name: str, source: str, a: int, b: int, label: str, model: str) -> dict[str, Any]:
        return {
            "pair_id": name,
            "original_id": 7,
            "source": source,
            "question": f"Question {name}?",
            "response_model": model,
            "response_A": f"Thus A. [{a}]",
            "response_B": f"Thus, and for many reasons, B. [{b}]",
            "label": label,
        }

    gpt, claude = "gpt-4o-2024-05-13", "claude-3-5-sonnet-20240620"
    rows = {
        gpt: [
            pair("a", "mmlu-pro-law", 4, 2, "A>B", gpt),
            pair("b", "mmlu-pro-physics", 3, 3, "B>A", gpt),
            pair("c", "livebench-math", 1, 5, "B>A", gpt),
            pair("d", "livecodebench", 1, 5, "A>B", gpt),
        ],
        claude: [pair("e", "livebench-reasoning", 5, 4, "A>B", claude)],
    }
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for model, found in rows.items():
        file = folder / "data" / f"dataset=judgebench,response_model={model}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in found))
    (folder / "outputs").mkdir()
    (folder / "outputs" / "judged.jsonl").write_text('{"pair_id": "not a pair"}\n')


def ppe(folder: Path) -> None:
    """People's preferences, and one of the five sets of correctness, with four responses a question in place of 32."""

    def battle(name: str, a: int, b: int, winner: str, **more: Any) -> dict[str, Any]:
        about = {"language": "English", "is_code": False, "hard_prompt": True, "easy_prompt": False}
        return {
            "question_id": name,
            "prompt": f"Question {name}?",
            "response_1": f"This. [{a}]",
            "response_2": f"That one instead. [{b}]",
            "winner": winner,
            "model_a": "m1",
            "model_b": "m2",
            **about,
            **more,
        }

    battles = [
        battle("1", 4, 2, "model_a"),
        battle("2", 4, 2, "model_b"),
        battle("3", 3, 2, "tie"),
        battle("4", 1, 2, "model_b", language="German"),
        battle("5", 1, 2, "tie (bothbad)"),
    ]
    _parquet(folder / "PPE-Human-Preference-V1" / "data" / "test-00000-of-00001.parquet", battles)

    def sampled(name: str, levels: list[int], scores: list[bool], pairs: list[list[int]]) -> dict[str, Any]:
        responses = {f"response_{i + 1}": f"Answer {i}{'.' * i} [{level}]" for i, level in enumerate(levels)}
        about = {"question_id": name, "prompt": f"Question {name}?", "ground_truth": "A", "model_name": "m"}
        return about | responses | {"scores": scores, "sampled_conflict_pairs": pairs}

    rows = [
        sampled("g1", [5, 4, 3, 2], [True, False, False, True], [[0, 1], [2, 3]]),
        sampled("g2", [5, 4, 5, 2], [True, False, False, False], [[1, 0]]),
        sampled("g3", [1, 4, 3, 2], [False, False, False, False], []),
    ]
    _parquet(folder / "PPE-GPQA-Best-of-K" / "data" / "train-00000-of-00001.parquet", rows)
