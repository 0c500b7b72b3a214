"""Where the bundled texts are: panels, prompt templates, label spaces and cards.

In a checkout (and so in an editable install) they are folders at the top of the project; a wheel carries them inside the package
under `dprm_data/bundled`. This is the one function that knows both places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Kind = Literal["label_spaces", "personas", "prompts", "hub_cards"]

_PACKAGE = Path(__file__).resolve().parents[1]


def bundled_folder(kind: Kind) -> Path:
    """The folder that holds the bundled texts of this kind."""
    in_wheel = _PACKAGE / "bundled" / kind
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / kind


def bundled_names(kind: Kind, suffix: str = ".yaml") -> list[str]:
    """The names of the bundled texts of this kind, sorted, without their suffix."""
    return sorted(path.name.removesuffix(suffix) for path in bundled_folder(kind).glob(f"*{suffix}"))


def bundled_file(kind: Kind, name: str, suffix: str = ".yaml") -> Path | None:
    """The file of the bundled text `name`, or None where there is none by that name.

    A name is a bare word: anything with a path separator is never looked up here.
    """
    if "/" in name or "\\" in name:
        return None
    path = bundled_folder(kind) / f"{name}{suffix}"
    return path if path.is_file() else None
