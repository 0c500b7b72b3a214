"""Fixtures of the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.team import Team
from tests.servers.llm import LLMProcess
from tests.servers.postgres import Database


@pytest.fixture(scope="session")
def llm_process() -> Iterator[LLMProcess]:
    """The provider as a process of its own, which outlives killed clients."""
    with LLMProcess() as process:
        yield process


@pytest.fixture
def team(tmp_path: Path, llm_process: LLMProcess, postgres: Database) -> Callable[..., Team]:
    """Makes a team for a number of items, a provider's latency and a recipe's keys."""

    def make(items: int = 24, *, latency: float = 0.02, **recipe: Any) -> Team:
        llm_process.reset()
        llm_process.script(latency=latency, rpm=None, chances={}, queue=[])
        return Team(tmp_path, llm_process, postgres, items, **recipe)

    return make
