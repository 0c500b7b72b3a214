"""The benchmark of the order of label and reason, against a double: a spread that collapses shows, and one that does not, does not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from benchmarks.rationale_order import main, spread
from tests.helpers import ROOT
from tests.servers.llm import LLMServer

WORDS = ["bad", "poor", "fair", "good", "excellent"]


def collapsing(body: dict[str, Any]) -> str:
    """Chooses by who asks; but where it must reason first, it always says the same."""
    fields = list(body["response_format"]["json_schema"]["schema"]["properties"])
    who = body["messages"][-1]["content"].rpartition("these eyes: ")[2].partition("\n")[0]
    label = WORDS[hashlib.sha256(who.encode()).digest()[0] % 5] if fields[0] == "label" else "fair"
    return json.dumps({"label": label, "why": "so"} if "why" in fields else {"label": label})


@pytest.mark.slow
def test_a_collapse_shows(double: LLMServer, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    double.says = collapsing
    source = ROOT / "examples/quickstart/pairs.jsonl"
    settings = ["--url", f"{double.url}/v1", "--model", "m", "--source", str(source), "--items", "6", "--personas", "4"]
    found = main([*settings, "--folder", str(tmp_path)])
    assert found["before"]["labels"][0] == 1
    assert found["before"]["personas"][0] == pytest.approx(0)
    for way in ("none", "after"):
        assert found[way]["labels"][0] > 2
        assert found[way]["noise"][0] == 0
        assert found[way]["personas"][1] > 0
        assert found[way]["unread"] == 0
    assert "before" in capsys.readouterr().out


def test_the_variances_are_taken_apart() -> None:
    """Two items, two personas, two replicates: computed by hand."""
    found = spread([[[0.0, 2.0], [4.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert found["noise"] == pytest.approx(1.0)  # (2 + 2 + 0 + 0) / 4
    assert found["personas"] == pytest.approx((8.0 + 0.0) / 2 - 1.0 / 2)
    assert found["items"] == pytest.approx(2.0)  # means 3 and 1
