"""The tutorials are done from their text alone, as a reader would: every file is written, every command run, and what is shown is compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks
from tests.helpers import ROOT, environ

TUTORIALS = ROOT / "docs" / "tutorials"
TRAINS = re.compile(r"dprm (train|eval) ")


def ran(block: Block, folder: Path) -> str:
    """What the block prints."""
    command = [sys.executable, "-c", block.text] if block.language == "python" else ["bash", "-ec", block.text]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, env=environ(PATH=path, COLUMNS="100"), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def form(line: str) -> str:
    """A line without what differs between machines: numbers and the plural after them, bars, ids, and how wide the columns are."""
    singular = re.sub(r"(?<=\w)s\b", "", line.partition("…")[0])
    return re.sub(r"[0-9a-f]*\d[0-9a-f,.%+−-]*|[█▓▒░╱╌━]+|\s+", " ", singular).strip()


def did(page: Path, folder: Path, *, training: bool) -> int:
    """Do a tutorial in this folder. Returns the number of blocks that were run."""
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("runs"))
    printed, count = "", 0
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text)
        elif block.language == "text" and printed:
            known = [form(line) for line in printed.splitlines()]
            for line in block.text.splitlines():
                assert any(each.startswith(form(line)) for each in known), f"{line!r} is not in\n{printed}"
        elif block.language in ("bash", "python"):
            is_run = not block.reason and (training or not TRAINS.search(block.text))
            printed = ran(block, folder) if is_run else ""
            count += is_run
    return count


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ["first-labels", "preferences-from-prompts", "ratings-to-reward-model"])
def test_a_tutorial_does_what_it_says(page: str, tmp_path: Path) -> None:
    assert did(TUTORIALS / f"{page}.md", tmp_path, training=True) >= 5


def test_a_tutorial_without_a_model_does_what_it_says(tmp_path: Path) -> None:
    assert did(TUTORIALS / "ratings-to-reward-model.md", tmp_path, training=False) >= 3
