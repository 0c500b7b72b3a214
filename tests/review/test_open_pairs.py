"""`--select preferences`: people are asked about the responses whose order is open, by the command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dprm
from tests.review.helpers import make_run

SETTLED = 40  # items, two of each prompt; the last ten prompts are open


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("open")
    rng = np.random.default_rng(0)
    labels = np.tile([[0], [2]], (30, 12)) + rng.permuted(np.tile([0] * 6 + [2] * 6, (60, 1)), axis=1)
    labels[SETTLED:] = rng.permuted(np.tile([2] * 9 + [3] * 3, (20, 1)), axis=1)  # narrower than those that are settled
    make_run(place / "run", labels, space=5)
    return place


def _sent(folder: Path, *options: str) -> list[int]:
    done = dprm("review", "export", "run", "-o", "out.csv", "--select", "preferences", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "out.csv").open(encoding="utf-8-sig") as file:
        return [int(row["response"].split()[1].strip(":")) for row in csv.DictReader(file)]


def test_items_of_open_pairs_are_sent(folder: Path) -> None:
    sent = _sent(folder, "--records", "12")
    assert len(set(sent)) == 12 and min(sent) >= SETTLED


def test_more_records_only_add_and_settled_pairs_come_last(folder: Path) -> None:
    all_ = _sent(folder, "--records", "60")
    assert sorted(all_) == list(range(60))


def test_without_pairs_it_says_so(tmp_path: Path) -> None:
    make_run(tmp_path / "run", np.array([[0, 1, 2, 1]]), space=5)
    done = dprm("review", "export", "run", "-o", "out.csv", "--select", "preferences", cwd=tmp_path)
    assert done.returncode != 0 and "no prompt has two responses" in done.stderr
