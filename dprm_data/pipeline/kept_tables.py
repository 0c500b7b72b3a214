"""Whether the tables of a run are still what its ledger, its items and people's answers come to: then a rerun need not write them again.

They are a function of what `_inputs` hashes, and of nothing else: also of this program's own code, so that a changed parser reads all answers
again. What was hashed, and the state of the tables written, are in a file of the run folder that is not published.
"""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from dprm_data.core.registry import FAMILIES, SMOOTHINGS
from dprm_data.core.resources import bundled_folder
from dprm_data.core.tables import write_text
from dprm_data.runs.comparison_table import people_file
from dprm_data.runs.raters import ratings_file

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_LIBRARIES = ("numpy", "scipy", "pyarrow", "orjson")
_TABLES = ("annotations", "personas", "comparisons")
_FITTED = ("distributions", "preferences", "utilities", "uncalibrated")
_MANIFEST = ("source", "ratings", "comparisons", "review", "calibration")  # parts that the card or the fit reads


class KeptTables:
    """A run's tables, as they were when this object was made. fitted: with distributions, preferences and card."""

    def __init__(self, run: Run, *, fitted: bool) -> None:
        self._folder = run.folder
        self._file = run.folder.path / ".kept.json"
        self._fitted = fitted
        self._inputs = _inputs(run)  # before a table is read, so that what comes later is not taken for known

    @property
    def current(self) -> bool:
        """Whether they need not be written again."""
        try:
            kept = orjson.loads(self._file.read_bytes())
            same = kept["inputs"] == self._inputs and kept["outputs"] == self._outputs(kept["fitted"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return self._inputs is not None and same and kept["fitted"] >= self._fitted

    def written(self) -> None:
        """They have just been written."""
        kept = {"inputs": self._inputs, "fitted": self._fitted, "outputs": self._outputs(self._fitted)}
        write_text(self._file, orjson.dumps(kept).decode())

    def _outputs(self, fitted: bool) -> list[Any]:
        names = (*_TABLES, *_FITTED) if fitted else _TABLES
        files = [self._folder.path / "tables" / f"{name}.parquet" for name in names]
        return _states([*files, self._folder.card_file] if fitted else files)


def _inputs(run: Run) -> str | None:
    """A hash of all that the tables are made of; None if that is more than this program can know."""
    recipe, folder = run.recipe, run.folder
    asked = [type(each) for juror in run.work.asked for each in (juror.elicitation, juror.prior)]
    made_by = [*asked, FAMILIES.get(recipe.fit.family), SMOOTHINGS.get(recipe.fit.smoothing.kind)]
    if any(getattr(each, "__module__", "").partition(".")[0] not in ("dprm_data", "builtins") for each in made_by):
        return None  # a package of somebody else's, which may read files of its own
    calls: Any = "none"
    if run.asks_models:
        with run.ledger(readonly=True) as ledger:
            calls = ledger.store.state()
    if calls is None:
        return None
    manifest = folder.read_manifest()
    people = [*sorted((folder.path / "review").rglob("*")), folder.path / "tables" / "human_annotations.parquet"]
    people += [ratings_file(folder), people_file(folder)]
    content = [
        *(_code(), platform.python_version(), [version(name) for name in _LIBRARIES]),
        *(calls, run.ledger_address.shown, run.work.plan_key().hex(), run.space.model_dump(mode="json")),
        *(recipe.model_dump(mode="json"), run.panel.model_dump(mode="json")),
        *({part: manifest.get(part) for part in _MANIFEST}, _states([folder.table("items"), *people])),
    ]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def _code() -> str:
    """A hash of this program and of the cards that it fills in."""
    package = Path(__file__).resolve().parents[1]
    code = hashlib.sha256()
    for file in [*sorted(package.rglob("*.py")), *sorted(bundled_folder("hub_cards").iterdir())]:
        code.update(str(file.relative_to(package.parent)).encode() + b"\0" + file.read_bytes())
    return code.hexdigest()


def _states(files: list[Path]) -> list[Any]:
    """Name, size and time of change of each file; None for one that is not there."""
    states: list[Any] = []
    for file in files:
        try:
            found = file.stat()
            states.append([file.name, found.st_size, found.st_mtime_ns, found.st_ino])
        except OSError:
            states.append([file.name, None])
    return states
