"""A judge that judges responses of its own is flagged, and its self-preference measured, against a simulation whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from dprm_data.runs.self_preference import own_responses
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

PROMPTS, LABELS = 24, ["bad", "fair", "good", "great", "best"]  # rewards 0 … 4


def says(data: dict[str, Any]) -> str | None:
    """Responses that name their author; judges: narcissus gives its own 2 more than it gives others', and both judges find them worth 1 more."""
    text = "\n".join(message["content"] for message in data["messages"])
    if "response_format" not in data:
        return f"{data['model']} says {hash((data['model'], text)) % 10**12} {text[::-1]}"
    own = "narcissus says" in text
    level = 1 + own + (2 if own and data["model"] == "narcissus" else 0)
    return f'{{"label": "{LABELS[level]}"}}'


@pytest.fixture
def folder(double: LLMServer, tmp_path: Path) -> Path:
    double.says = says
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": f"Tell me of the year {1900 + i}."} for i in range(PROMPTS)])
    return tmp_path


def run(folder: Path, double: LLMServer, judges: list[str], writers: list[str], **more: Any) -> dict[str, Any]:
    def model(name: str) -> dict[str, Any]:
        price = {"input": 1.0, "output": 1.0}
        return {"name": "openai", "model": name, "base_url": f"{double.url}/v1", "price": price}

    generate = {"models": [model(name) for name in writers], "per_prompt": 2}
    changes = {"provider": None, "models": [model(name) for name in judges], "labels": LABELS} | more
    path = write_recipe(folder, source={"path": "prompts.jsonl"}, generate=generate, **changes)
    verdict: dict[str, Any] = answer(dprm("run", path, "--json", cwd=folder))["verdict"]
    return verdict


def test_it_is_told_apart_from_quality_by_another_judge(double: LLMServer, folder: Path) -> None:
    verdict = run(folder, double, ["narcissus", "fair-judge"], ["narcissus", "other"])
    found = own_responses(Run.open(folder / "run"))
    assert found is not None
    [judge] = found.judges
    assert judge.judge == "narcissus" and judge.prompts == PROMPTS
    assert judge.own.value == pytest.approx(3.0) and judge.beyond.value == pytest.approx(2.0)
    [line] = [line for line in verdict["lines"] if line["question"] == "Own responses judged?"]
    assert line["concern"] and "beyond what the other judges do, that is +2.00" in line["detail"]
    assert "Own responses judged?" in RunFolder(folder / "run").card_file.read_text()
    assert dprm("report", "run", "-o", "report.html", cwd=folder).returncode == 0
    assert "Own responses judged?" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_without_another_judge_it_is_flagged_and_said_to_be_unknown(double: LLMServer, folder: Path) -> None:
    run(folder, double, ["narcissus"], ["Narcissus", "other"])
    found = own_responses(Run.open(folder / "run"))
    assert found is not None and found.judges[0].beyond.value is None
    assert "cannot be told" in found.line().detail
    run(folder, double, ["fair-judge"], ["Narcissus", "other"])
    assert own_responses(Run.open(folder / "run")) is None


def compares(data: dict[str, Any]) -> str | None:
    """narcissus prefers its own in every comparison; fair-judge in every other one of the prompts."""
    text = "\n".join(message["content"] for message in data["messages"])
    if "response_format" not in data:
        return says(data)
    own_is_first = text.index("narcissus says") < text.index("other says")
    own_is_better = data["model"] == "narcissus" or int(text.split("the year ")[1][:4]) % 2
    return f'{{"label": "{"A" if own_is_first == bool(own_is_better) else "B"}_is_better"}}'


def test_in_comparisons_it_is_a_share(double: LLMServer, folder: Path) -> None:
    double.says = compares
    verdict = run(folder, double, ["narcissus", "fair-judge"], ["narcissus", "other"], elicitation="compare")
    found = own_responses(Run.open(folder / "run"))
    assert found is not None
    [judge] = found.judges
    assert judge.prompts == PROMPTS and judge.own.value == 1.0 and judge.beyond.value == pytest.approx(0.5)
    [line] = [line for line in verdict["lines"] if line["question"] == "Own responses judged?"]
    assert "narcissus prefers its own to others' in 100%" in line["detail"] and "+50%" in line["detail"]
