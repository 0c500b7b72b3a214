"""A finished run to publish, and the Hub's double with the client pointed at it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import dprm, write_recipe, write_rows
from tests.servers.hub import TOKEN, Hub
from tests.servers.llm import LLMServer

TOPICS = ["cooking", "travel", "health"]
PROMPTS = 24


def rows() -> list[dict[str, object]]:
    """Two answers to each prompt; every third prompt is the second turn of a conversation that the prompt before it opens."""
    found: list[dict[str, object]] = []
    for i in range(PROMPTS):
        question = {"role": "user", "content": f"Question {i - i % 3}: what do you say?"}
        first = {"role": "assistant", "content": "Ask me more."}
        prompt = [question] if i % 3 == 0 else [question, first, {"role": "user", "content": f"Then {i}?"}]
        found.append(
            {
                "prompt": prompt,
                "chosen": [{"role": "assistant", "content": f"Good answer {i} <script>alert({i})</script> | *x*"}],
                "rejected": [{"role": "assistant", "content": f"Bad answer {i}"}],
                "topic": TOPICS[i % 3],
                "part": "test" if i % 6 == 0 else "train",
            }
        )
    return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; tests copy it."""
    folder = tmp_path_factory.mktemp("published")
    write_rows(folder / "pairs.jsonl", rows())
    with LLMServer() as server:
        write_recipe(folder, server.url, replicates=2, budget={"max_cost": 5}, panel="paper")
        done = dprm("run", "recipe.yaml", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, for one test."""
    return Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def hub_environment(hub: Hub, home: Path, token: str = TOKEN) -> dict[str, str]:
    """The environment of a process that speaks to the double."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


@pytest.fixture
def hub_here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The double, with the client of this very process pointed at it (it reads some of its settings when it is imported)."""
    from huggingface_hub import constants

    for name, value in hub_environment(hub, tmp_path / "hf").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    return hub
