"""One call for one response."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprm_data import DprmError, FunctionProvider, LabelSpace, PreferenceDistribution, arate, load_panel, rate
from tests.servers.llm import LLMServer

PROMPT, RESPONSE = "How do I boil an egg?", "Eight minutes in boiling water."


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made, and the working directory: both are empty at first."""
    for name in ("temporary", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "temporary"


def section(double: LLMServer) -> dict[str, Any]:
    return {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{double.url}/v1"}


def test_a_distribution_and_nothing_left_behind(double: LLMServer, temporary: Path) -> None:
    found = rate(PROMPT, RESPONSE, provider=section(double), panel="small", labels=["poor", "fair", "good"])
    assert isinstance(found, PreferenceDistribution)
    assert list(found.probabilities) == ["poor", "fair", "good"]
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    mean = sum(found.probabilities[label] * found.rewards[label] for label in found.rewards)
    low, high = found.interval
    assert found.expected_reward == pytest.approx(mean, abs=1e-5) and low <= mean <= high and found.level == 0.9
    assert found.most_probable in found.rewards and sum(found.votes.values()) == pytest.approx(4)
    assert found.calls == found.annotations.num_rows == 4
    assert found.cost and found.cost == pytest.approx(sum(found.annotations["cost"].to_pylist()))
    assert not list(temporary.iterdir()) and not list(Path().iterdir())
    for shown in (repr(found), found._repr_html_()):
        assert "expected reward" in shown and "fair" in shown and "simulated" in shown and "$" in shown


def test_a_recipe_and_objects_that_override_it(double: LLMServer, tmp_path: Path) -> None:
    """A recipe's files are relative to its folder, wherever it is used; its source is not read."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "labels.yaml").write_text("name: mine\nlabels: [{name: bad, reward: 0}, {name: yes!, reward: 1}]\n")
    content = {
        "source": {"path": "missing.jsonl"},
        "labels": "labels.yaml",
        "panel": "paper",
        "early_stop": {"within": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content | {"provider": section(double)}))
    found = rate(PROMPT, RESPONSE, recipe=folder / "recipe.yaml", panel=load_panel("small"))
    assert found.rewards == {"bad": 0, "yes!": 1} and found.annotations.num_rows == 4
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DprmError, match="provider"):
        rate(PROMPT, RESPONSE, recipe=folder / "recipe.yaml")
    provider = section(double)
    other = rate(
        PROMPT, RESPONSE, provider=provider, recipe=folder / "recipe.yaml", panel="small", labels=LabelSpace.ordinal(5)
    )
    assert len(other.rewards) == 5


def test_a_folder_that_was_asked_for_pays_once(double: LLMServer, tmp_path: Path) -> None:
    def asked(response: str) -> PreferenceDistribution:
        return rate(PROMPT, response, provider=section(double), panel="small", output=tmp_path / "kept")

    first, again, other = asked(RESPONSE), asked(RESPONSE), asked("No idea.")
    assert (first.calls, again.calls, other.calls) == (4, 0, 4)
    assert again.probabilities == first.probabilities and again.cost == first.cost
    assert (tmp_path / "kept" / "ledger.sqlite").is_file()


def test_messages_and_an_own_provider_in_the_callers_loop() -> None:
    loops = set()

    async def ask(request: Any) -> str:
        loops.add(asyncio.get_running_loop())
        assert "Boil it longer" in str(request)
        return "good"

    async def main() -> None:
        messages = [
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": RESPONSE},
            {"role": "user", "content": "Harder, please."},
        ]
        own = FunctionProvider(ask, family="own")
        rated = [arate(messages, "Boil it longer.", provider=own, panel="small", labels=["poor", "good"]) for _ in "ab"]
        for found in await asyncio.gather(*rated):
            assert found.most_probable == "good" and found.cost is None and "cost not known" in repr(found)
        assert loops == {asyncio.get_running_loop()}

    asyncio.run(main())


def test_what_cannot_be_rated_is_said(double: LLMServer, temporary: Path) -> None:
    with pytest.raises(DprmError, match="provider"):
        rate(PROMPT, RESPONSE)
    with pytest.raises(DprmError) as stopped:
        rate(PROMPT, RESPONSE, provider=section(double), panel="small", max_cost=1e-7)
    assert "give output=FOLDER" in (stopped.value.hint or "")
    with pytest.raises(DprmError):
        rate(PROMPT, "", provider=section(double), panel="small")
    assert not list(temporary.iterdir())
