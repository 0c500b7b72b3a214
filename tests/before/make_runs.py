"""Makes the run folders of `data/run-folders`: python -m tests.before.make_runs [NAME ...]. Only ever with the version whose work is to be kept."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.before.saved import dprm_each, pack
from tests.helpers import environ, write_rows
from tests.servers.llm import LLMServer

QUESTIONS = ["How do I fold a paper boat?", "Why is the sky blue?", "How long do lentils cook?", "What is a haiku?"]
FAULTS = ["refusal", "unparsable", "length", "filter", "400"]
AXES = {"warmth": ("cold", "warm"), "length": ("long", "short")}
SPACE = {
    "name": "tone",
    "axes": [{"name": axis, "question": "Is it", "levels": [{"name": level} for level in AXES[axis]]} for axis in AXES],
    "labels": [
        {"name": f"{warmth}-{length}", "reward": reward, "levels": {"warmth": warmth, "length": length}}
        for warmth, length, reward in (("cold", "long", -2), ("cold", "short", -1), ("warm", "long", 1), ("warm", "short", 2))
    ],
}  # fmt: skip
WORDS = (" cold", " warm", " long", " short")


def questions(count: int, faults: list[str] | None = None) -> list[dict[str, Any]]:
    """Pairs of answers to `count` questions, and one for each fault."""
    pairs = [
        {
            "prompt": f"{QUESTIONS[i % len(QUESTIONS)]} ({i})",
            "chosen": f"Gladly, in {i + 2} steps: look, try, enjoy.",
            "rejected": f"No idea. Ask somebody else, number {i}.",
            "topic": ["craft", "science", "food", "words"][i % 4],
        }
        for i in range(count)
    ]
    faulty = [
        {"prompt": "What about this?", "chosen": "Thanks.", "rejected": f"[[fault:{fault}]]", "topic": "faults"}
        for fault in faults or []
    ]
    return [*pairs, *faulty]


def openai(**settings: Any) -> dict[str, Any]:
    return {"name": "openai", "model": "gpt-4o-mini", "base_url": "@DOUBLE@/v1"} | settings


def anthropic(**settings: Any) -> dict[str, Any]:
    return {"name": "anthropic", "model": "claude-haiku-4-5", "base_url": "@DOUBLE@/v1"} | settings


RUNS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "choice": (
        questions(4, FAULTS),
        {
            "panel": "small",
            "prior": {"strength": 2},
            "replicates": 2,
            "provider": openai(temperature=0.7, seed=3),
            "budget": {"max_cost": 1},
        },
    ),
    "rationale": (
        questions(4, ["refusal", "unparsable"]),
        {
            "labels": "ordinal5",
            "panel": {"use": "paper", "sample": 4, "stratify": [], "seed": 5},
            "rationale": True,
            "max_reasks": 1,
            "provider": anthropic(),
            "fit": {"family": "dirichlet", "interval": 0.8},
        },
    ),
    "logprobs": (
        questions(1),
        {
            "labels": SPACE,
            "panel": "small",
            "elicitation": "logprobs",
            "provider": openai(),
            "fit": {"family": "empirical"},
        },
    ),
    "distribution": (
        questions(4, ["unparsable"]),
        {
            "labels": 4,
            "panel": "small",
            "elicitation": "distribution",
            "provider": openai(),
            "fit": {"smoothing": {"kind": "cost", "epsilon": 0.1}},
        },
    ),
    "early": (
        questions(16),
        {
            "labels": 3,
            "panel": "small",
            "early_stop": {"within": 0.3, "first": 2, "step": 1, "pilot": 20},
            "provider": openai(),
            "limits": {"concurrency": 4},
            "fit": {"family": "dirichlet"},
        },
    ),
    "batch": (
        questions(3),
        {"panel": "small", "mode": "batch", "provider": openai(), "limits": {"poll_every": 0.05}},
    ),
    "local": (
        questions(1),
        {"labels": SPACE, "panel": {"use": "small", "sample": 2}, "provider": {"name": "local"}, "fit": {"family": "dirichlet"}},
    ),
}  # fmt: skip


def write_job(folder: Path, url: str, name: str, pairs: list[dict[str, Any]], recipe: dict[str, Any]) -> None:
    """The recipe and its source, as a user has them."""
    content = {"name": name, "source": {"path": "pairs.jsonl"}, "output": "run"} | recipe
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True).replace("@DOUBLE@", url)
    (folder / "recipe.yaml").write_text(text)
    write_rows(folder / "pairs.jsonl", pairs)


def make_run(folder: Path, url: str) -> None:
    """Run it and keep what `dprm show` said of it."""
    said = dprm_each([["run", "recipe.yaml", "--json"], ["show", "run", "--json"]], cwd=folder)
    (folder / "show.json").write_text(json.dumps(json.loads(said[1]), indent=1) + "\n")


def make_batch(folder: Path, server: LLMServer) -> None:
    """Interrupt a run whose first batch is collected and whose second, of what is asked again, is at the provider."""
    server.says = lambda request: (
        "I cannot decide." if len(request["messages"]) == 2 and "Ask somebody" in str(request) else None
    )
    command = [sys.executable, "-m", "dprm_data.cli", "run", "recipe.yaml", "--quiet"]
    process = subprocess.Popen(command, cwd=folder, env=environ())
    wait_until(lambda: shelf(folder) == ["batch_1"])
    server.script({"batch_seconds": 10_000.0})
    wait_until(lambda: shelf(folder) == ["batch_2"])
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    batch = server._batches._batches["batch_2"]
    kept = {"metadata": batch.metadata, "rows": [[name, json.loads(body)] for name, body in batch.rows]}
    (folder / "batch_2.json").write_text(json.dumps(kept) + "\n")


def shelf(folder: Path) -> list[str]:
    address = f"file:{folder}/run/ledger.sqlite?mode=ro"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(address, uri=True)) as db:
        return [name for (name,) in db.execute("SELECT batch_id FROM batches")]
    return []


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def make_ledger_1(ledger: Path) -> None:
    """Take back the second step of the ledger's schema: the file is as the first version wrote it."""
    with closing(sqlite3.connect(ledger)) as db:
        db.executescript(
            "DROP TABLE totals; DROP TABLE batches; DROP TABLE batch_rows; PRAGMA user_version = 1; VACUUM;"
        )


def make(name: str) -> None:
    pairs, recipe = RUNS[name]
    folder = Path(tempfile.mkdtemp(prefix="before-"))
    with LLMServer(words=WORDS, batch_seconds=1.0) as server:
        write_job(folder, server.url, name, pairs, recipe)
        if name == "early":  # people agree, so that there is something to stop
            server.says = lambda request: '{"label": "1"}' if "Ask somebody" in str(request) else '{"label": "3"}'
        if name == "batch":
            make_batch(folder, server)
        else:
            make_run(folder, server.url)
        pack(folder, f"run-folders/{name}", server.url)
    if name == "distribution":
        make_ledger_1(folder / "run/ledger.sqlite")
        (folder / "old").mkdir()
        (folder / "run/ledger.sqlite").rename(folder / "old/ledger.sqlite")
        pack(folder / "old", "run-folders/ledger-1")
    shutil.rmtree(folder)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or RUNS:
        make(chosen)
