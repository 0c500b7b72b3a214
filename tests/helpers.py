"""What tests of the whole command share: recipes on disk, and `dprm` as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent

PAIRS = [
    {"prompt": "How do I boil an egg?", "response": "Eight minutes in boiling water, then cold water."},
    {"prompt": "How do I boil an egg?", "response": "Eggs come from chickens."},
    {"prompt": "What is the capital of France?", "response": "Paris."},
    {"prompt": "What is the capital of France?", "response": "I do not know."},
]


def dprm(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "dprm_data.cli", *map(str, arguments)],
        cwd=cwd,
        env=environ(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


def environ(**more: str) -> dict[str, str]:
    """The environment without anybody's keys."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC", "HF_"))}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "120"} | more


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
