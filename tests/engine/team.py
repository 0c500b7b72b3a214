"""A team: several `dprm run --no-fit` on one PostgreSQL ledger. Real processes, a real database, and a server that counts what it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import write_rows
from tests.processes import zygote
from tests.servers.llm import LLMProcess
from tests.servers.postgres import PASSWORD, Database

PERSONAS = 15  # of the paper's panel
CONCURRENCY = 4
IN_FLIGHT = CONCURRENCY + CONCURRENCY // 4 + 1  # calls of one worker that are sent, or answered and not yet on disk


class Team:
    """Workers in one folder, on one ledger."""

    def __init__(self, folder: Path, server: LLMProcess, database: Database, items: int, **recipe: Any) -> None:
        self.folder, self.server, self.database = folder, server, database
        self.calls = items * PERSONAS
        self.concurrency = CONCURRENCY
        write_rows(folder / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(items)])
        self.recipe = self.write("recipe.yaml", **recipe)

    def write(self, file: str, **changes: Any) -> Path:
        """A recipe of this team; `changes` replace its keys."""
        limits = {"concurrency": CONCURRENCY, "lease": 1} | changes.pop("limits", {})
        content = {
            "name": "test",
            "source": {"path": "pairs.jsonl"},
            "panel": "paper",
            "labels": 3,
            "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{self.server.url}/v1"},
            "ledger": self.database.url,
            "output": "run",
            "limits": limits,
        }
        path = self.folder / file
        path.write_text(yaml.safe_dump(content | changes))
        return path

    def start(self, count: int = 1, *more: object, recipe: Path | None = None) -> list[int]:
        """Start so many workers; returns their pids."""
        command = ("run", "--no-fit", recipe or self.recipe, "--json", *more)
        return [zygote().start(*command, cwd=self.folder, PGPASSWORD=PASSWORD) for _ in range(count)]

    def end(self, *pids: int, code: int = 0) -> list[str]:
        """Wait for these workers, which all must end like this; returns what they said on stderr."""
        ended = [zygote().end(pid) for pid in pids]
        assert [each.returncode for each in ended] == [code] * len(pids), [each.stderr for each in ended]
        return [each.stderr for each in ended]

    def until(self, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the server's counts are such."""
        deadline = time.monotonic() + 30  # only against hanging
        while not reached(stats := self.server.stats()):
            assert time.monotonic() < deadline, stats
            time.sleep(0.01)
        return stats
