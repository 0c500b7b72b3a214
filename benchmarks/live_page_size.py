"""What the live page costs on a large ledger: python benchmarks/live_page_size.py [--items 50000]

A run of so many items by a panel of twenty, with a made-up answer to every call in its ledger, is watched as `dprm view` does. CPU seconds of every reading until the page
has come to the end of the ledger, of one after that, and the memory of the process.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dprm_data.core.tables import write_text
from dprm_data.ingest.items import Item, ids_of, load_items, store_items
from dprm_data.ledger.ledger import Ledger
from dprm_data.live.run_snapshot import RunSnapshot
from dprm_data.runs.run import Run

PANEL = 20
INSERT = (
    "INSERT INTO calls (id, key, attempt, run, status, text, finish, model, input_tokens, output_tokens, cached_tokens, cache_write_tokens, cost, latency, "
    "created_at, reason, price_table) VALUES (?, randomblob(32), 0, 'large', 'answered', '{\"label\": \"helpful and harmless\"}', 'stop', 'gpt-4o-mini', 400, 10, 0, 0, "
    "0.0001, 0.8, ?, '', '')"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=50_000)
    items = parser.parse_args().items
    with tempfile.TemporaryDirectory() as folder:
        run = made(Path(folder) / "run", items)
        snapshot = RunSnapshot(run.folder.path)
        spent, state = [], {}
        while not state or state["unread"] or not state["said"].startswith(f"200 of {items:,}"):
            before = time.process_time()
            state = snapshot.read(whole=not state)
            spent.append(time.process_time() - before)
        before = time.process_time()
        snapshot.read()
        again = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{state['calls']:,} calls, {state['items_done']:,} items: {len(spent)} readings, CPU {sum(spent):.1f} s")
    print(
        f"the longest took {max(spent):.2f} s, one at the end {again:.2f} s; {memory:,.0f} MiB at most, {made_with:,.0f} before"
    )


made_with = 0.0  # MiB: what making the run took


def made(folder: Path, items: int) -> Run:
    global made_with
    folder.mkdir()
    personas = [{"id": f"p{i}", "description": f"You are person {i}."} for i in range(PANEL)]
    recipe: dict[str, Any] = {
        "name": "large",
        "provider": {"name": "openai", "model": "gpt-4o-mini"},
        "panel": {"use": {"name": "twenty", "personas": personas}},
        "output": str(folder),
    }
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe))
    store_items(rows(items), folder / "tables" / "items.parquet")
    run = Run.open(folder)
    with Ledger(run.ledger_address, run="large"):
        pass
    db = sqlite3.connect(folder / "ledger.sqlite")
    with db:
        db.executemany(INSERT, ((i, 1.8e9 + i / 20) for i in range(1, items * PANEL + 1)))
        plan = run.work.plan_key()
        db.executemany(
            "INSERT INTO done VALUES (?, ?)", ((plan, item.item_id.encode()) for item in load_items(run.asked_items))
        )
        db.execute("INSERT INTO totals VALUES ('large', ?)", (items * PANEL * 0.0001,))
    db.close()
    made_with = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return run


def rows(count: int) -> Iterator[Item]:
    for i in range(count):
        prompt, answer = (
            ({"role": "user", "content": f"Question {i}?"},),
            ({"role": "assistant", "content": f"Answer {i}. " * 30},),
        )
        item_id, group_id = ids_of(prompt, answer)  # type: ignore[arg-type]
        yield Item(item_id, prompt, answer, group_id, None, f"made:{i}", {})  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
