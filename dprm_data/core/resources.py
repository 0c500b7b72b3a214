"""Locate the bundled texts: panels, prompt templates, label spaces and cards.

In a checkout (including an editable install) they are folders at the top of the project; a wheel contains them in
`dprm_data/bundled`. Only `bundled_folder` knows both places.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from dprm_data.core.text import near_match

Kind = Literal["label_spaces", "personas", "prompts", "hub_cards"]

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_folder(kind: Kind) -> Path:
    """Return the folder of the bundled texts of this kind."""
    in_wheel = _PACKAGE / "bundled" / kind
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / kind


def bundled_names(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """Return the sorted names of the bundled texts of this kind, without their suffix."""
    return sorted(path.name.removesuffix(suffix) for path in bundled_folder(kind).glob(f"*{suffix}"))


def bundled_file(kind: Kind, name: str, suffix: str = ".yaml") -> Path | None:
    """Return the file of the bundled text `name`, or None if there is none.

    A name with a path separator is never looked up.
    """
    if "/" in name or "\\" in name:
        return None
    path = bundled_folder(kind) / f"{name}{suffix}"
    return path if is_file(path) else None


def neighbour(path: Path, may_be: Callable[[Path], object] = Path.exists) -> str:
    """'; did you mean ...?' where nothing is at the path and something of a similar name is beside it, or empty. may_be: what can be meant."""
    try:
        there = [each for each in sorted(path.parent.iterdir()) if not each.name.startswith(".") and may_be(each)]
        beside = {each.stem: each.name for each in there}
        guess = None if path.exists() else near_match(path.stem, beside)
        return f"; did you mean {beside[guess]!r}?" if guess else ""
    except (OSError, ValueError):
        return ""


def is_file(path: Path) -> bool:
    """Whether there is a file at the path; False also for what no file can be called (a NUL, 300 characters)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
