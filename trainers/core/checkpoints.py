"""Whether a checkpoint is whole: a training that was killed, a full disk or a power cut may leave part of one.

A checkpoint that is not whole is set aside under another name, and the training resumes from the one before.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import safe_open


def last_whole(places: Sequence[Path], say: Callable[[str], None], *, needed: Sequence[str] = ()) -> Path | None:
    """The last whole one of the checkpoints; those after it are set aside. needed: patterns of files that each must have."""
    for place in reversed(places):
        reason = damage(place, needed)
        if reason is None:
            return place
        aside = place.with_name(f".broken-{place.name}")
        shutil.rmtree(aside, ignore_errors=True)
        place.replace(aside)
        say(f"{place} is not whole ({reason}): set aside as {aside.name}")
    return None


def damage(folder: Path, needed: Sequence[str] = ()) -> str | None:
    """Why a checkpoint cannot be whole; None if nothing is wrong with its files."""
    for pattern in needed:
        if next(folder.rglob(pattern), None) is None:
            return f"it has no {pattern}"
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        try:
            _check(file)
        except Exception as error:  # JSON, zip and safetensors raise errors of their own
            return f"{file.name} cannot be read: {type(error).__name__}"
    return None


def flush(folder: Path) -> None:
    """Have the files of a folder written to the disk, so that a power cut after a rename finds them whole."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _check(file: Path) -> None:
    """Read a file as far as its form can be checked. `torch.save` writes zip files, whose parts have checksums."""
    if file.suffix == ".json":
        json.loads(file.read_text(encoding="utf-8"))
    elif file.suffix == ".safetensors":
        with safe_open(file, framework="np"):  # compares the header with the size
            pass
    elif file.suffix in (".pt", ".pth", ".bin"):
        with zipfile.ZipFile(file) as parts:
            broken = parts.testzip()
        if broken is not None:
            raise ValueError(broken)
