"""The validations that a run has: `scores.json` files in its folder, and whether they are of what this very run asks.

A run is validated by a file only if its own panel, prompt and models are those of one of the file's panels, by their hashes (`asked_identity.py`). Anything else validated another way
of asking.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.errors import InputError
from dprm_data.runs.asked_identity import AskedIdentity, asked_identity
from dprm_data.runs.run import Run

FILE = "scores.json"
VALIDATIONS = "validation"  # the folder inside a run's, with a folder for each set
FORMAT = 1


@dataclass(frozen=True)
class RunValidation:
    """One validation that a run has, or that was made of another way of asking: differs names what is different (panel, prompt, models), () if it is the run's own."""

    path: Path
    content: dict[str, Any]
    arm: dict[str, Any]
    differs: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        return not self.differs

    @property
    def sentence(self) -> str:
        """ "200 items of people.csv, 1,600 answers, on 2026-01-31"."""
        content = self.content
        return f"{content['items']:,} items of {content['title']}, {content['votes']:,} answers, on {content['written'][:10]}"


def read_scores(path: Path) -> dict[str, Any]:
    """Raises `InputError` for a file that is not one."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", hint="dprm validate RECIPE writes one.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "arms" not in content:
        raise InputError(f"{path} is no validation of format {FORMAT}", hint="dprm validate RECIPE writes one.")
    return content


def validations_of(run: Run) -> list[RunValidation]:
    """The validations in the run's folder (validation/*/scores.json), its own first; a file that cannot be read is left out, and said."""
    if not run.asks_models or run.compares:
        return []
    files = sorted((run.folder.path / VALIDATIONS).glob(f"*/{FILE}"))
    if not files:
        return []
    own = asked_identity(run)
    found = []
    for file in files:
        try:
            content = read_scores(file)
        except InputError as error:
            warnings.warn(f"a validation of this run is left out: {error}", stacklevel=2)
            continue
        if best := _closest(own, content, file):
            found.append(best)
    return sorted(found, key=lambda each: len(each.differs))


def _closest(own: AskedIdentity, content: dict[str, Any], file: Path) -> RunValidation | None:
    """The file's arm that is most like what the run asks."""
    arms = [arm for arm in content["arms"] if arm["role"] == "panel" and arm.get("identity")]
    each = [RunValidation(file, content, arm, tuple(own.differs_in(arm["identity"]))) for arm in arms]
    return min(each, key=lambda one: len(one.differs), default=None)


def validated_on(run: Run) -> str:
    """The sets that what this very run asks was validated on, in words; "" where there are none."""
    return "; ".join(each.sentence for each in validations_of(run) if each.is_own)
