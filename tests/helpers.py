"""What tests of the whole command share: recipes on disk, and `dprm` as a process."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.processes import ROOT as ROOT
from tests.processes import dprm as dprm
from tests.processes import environ as environ

PAIRS = [
    {"prompt": "How do I boil an egg?", "response": "Eight minutes in boiling water, then cold water."},
    {"prompt": "How do I boil an egg?", "response": "Eggs come from chickens."},
    {"prompt": "What is the capital of France?", "response": "Paris."},
    {"prompt": "What is the capital of France?", "response": "I do not know."},
]


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a command with --json said."""
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_recipe(folder: Path, url: str = "http://127.0.0.1:9", **changes: Any) -> Path:
    """A recipe with four items and the small panel, for a server at `url`; `changes` replace its keys."""
    if not (folder / "pairs.jsonl").exists():
        write_rows(folder / "pairs.jsonl", PAIRS)
    content = {
        "name": "test",
        "source": {"path": "pairs.jsonl"},
        "panel": "small",
        "provider": {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1"},
        "output": "run",
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path


def calls_in(folder: Path) -> int:
    """How many answers the ledger of the run in `folder` holds; 0 before there is one."""
    path = folder / "run" / "ledger.sqlite"
    if not path.exists():
        return 0
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
    except sqlite3.OperationalError:  # killed before there was a table
        return 0
    finally:
        db.close()
