"""`scores.json`: a validation's findings with the identity of what was validated, and which of them belong to a run.

A run is validated by a file only if its own panel, prompt and models are those of one of the file's arms, by their hashes (`runs/asked_identity.py`), and the arm is the panel
that was validated, no rival. Anything else validated another way of asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.errors import InputError
from dprm_data.core.tables import write_text
from dprm_data.core.version import __version__
from dprm_data.runs.asked_identity import AskedIdentity, asked_identity
from dprm_data.runs.run import Run
from dprm_data.validation.panel_validation import Validation

FILE = "scores.json"
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

    def distance(self, kind: str) -> dict[str, Any] | None:
        """The arm's scores: of its `votes`, `published` or `calibrated` distributions."""
        return self.row(f"{self.arm['name']}: {kind}")

    def row(self, name: str) -> dict[str, Any] | None:
        return next((row for row in self.content["distances"] if row["name"] == name), None)


def write_scores(found: Validation, folder: Path) -> Path:
    """Write the file, whole. Infinite numbers do not occur in it."""
    content = {
        "format": FORMAT,
        "dprm_data": __version__,
        "written": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        **found.as_dict(),
    }
    path = folder / FILE
    write_text(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    return path


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
    """The validations in the run's folder (validation/*/scores.json), its own first; a file that cannot be read is left out."""
    if not run.asks_models or run.compares:
        return []
    files = sorted((run.folder.path / "validation").glob(f"*/{FILE}"))
    if not files:
        return []
    own = asked_identity(run)
    found = []
    for file in files:
        try:
            content = read_scores(file)
        except InputError:
            continue
        if best := _closest(own, content, file):
            found.append(best)
    return sorted(found, key=lambda each: len(each.differs))


def _closest(own: AskedIdentity, content: dict[str, Any], file: Path) -> RunValidation | None:
    """The file's arm that is most like what the run asks."""
    arms = [arm for arm in content["arms"] if arm["role"] == "panel" and arm.get("identity")]
    each = [RunValidation(file, content, arm, tuple(own.differs_in(arm["identity"]))) for arm in arms]
    return min(each, key=lambda one: len(one.differs), default=None)
