"""Makes `data/votes`: people's ratings, their fits by every family, and what updates of these fits give. python -m tests.before.make_votes"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.before.saved import dprm_each, pack

FAMILIES = ["empirical", "dirichlet", "beta", "beta-dirichlet", "mixture", "auto"]
ITEMS, RATERS, LEVELS = 30, 6, 5


def write_votes(file: Path, seed: int, moved: int = 0) -> None:
    """Ratings of items that differ in quality; the first `moved` items are thought of otherwise."""
    dice = random.Random(seed)
    lines = ["item_id,annotator_id,label"]
    for item in range(ITEMS):
        level = (item * 7) % LEVELS
        level = LEVELS - 1 - level if item < moved else level
        for rater in range(RATERS):
            rating = min(LEVELS - 1, max(0, round(dice.gauss(level, 0.9))))
            lines.append(f"item-{item},rater-{seed}-{rater},{rating}")
    file.write_text("\n".join(lines) + "\n")


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="before-"))
    write_votes(folder / "votes.csv", 1)
    write_votes(folder / "new.csv", 2, moved=4)
    for family in FAMILIES:
        dprm_each([fit_command(family)], cwd=folder)
        (folder / f"{family}.json").write_text(json.dumps(used(folder, family)) + "\n")
    for file in folder.glob("*-*.parquet"):
        if file.stem not in FAMILIES:
            file.unlink()
    pack(folder, "votes")
    shutil.rmtree(folder)


def fit_command(family: str) -> list[object]:
    return ["fit", "votes.csv", "--labels", LEVELS, "--family", family, "--out", f"{family}.parquet", "--json"]


def used(folder: Path, family: str) -> dict[str, Any]:
    """What becomes of a fit of an earlier version: updated, updated again, and compared with new votes."""
    old, new, newer = (f"{family}{end}.parquet" for end in ("", "-updated", "-twice"))
    commands = [
        ["update", old, "new.csv", "--forgetting", 0.8, "--out", new, "--json"],
        ["update", new, "votes.csv", "--out", newer, "--json"],
        ["drift", old, "new.csv", "--json"],
    ]
    names = ("update", "again", "drift")
    said = dict(zip(names, map(json.loads, dprm_each(commands, cwd=folder)), strict=True))
    columns = ["item_id", "label_distribution", "votes", "expected_reward", "reward_low", "reward_high"]
    return said | {"distributions": pq.read_table(folder / newer, columns=columns).to_pylist()}


if __name__ == "__main__":
    main()
