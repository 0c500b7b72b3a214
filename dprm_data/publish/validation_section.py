"""The section "Validation" of cards and reports: what a validation of this very panel, prompt and model found, or in words that there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprm_data.core.tables import write_text
from dprm_data.runs.validations import FILE, VALIDATIONS, RunValidation, validations_of
from dprm_data.validation.validation_sentences import between, findings

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_SHOWN = 6  # findings of each set
_ROWS = 5  # of the table of scores
_WORDS = {"panel": "another panel", "prompt": "another question or other labels", "models": "another model"}


def validation_section(run: Run) -> dict[str, Any] | None:
    """own: a dict for each set that this panel, prompt and model were validated against; others: what was validated instead, in words. None for a run that asks no model for labels."""
    if not run.asks_models or run.compares:
        return None
    found = validations_of(run)
    return {
        "own": [_of_set(each) for each in found if each.is_own],
        "others": [_other(each) for each in found if not each.is_own],
    }


def write_own_scores(run: Run, folder: Path) -> None:
    """Copy the score files of the run's own validations into a publication, under their sets' names."""
    for each in validations_of(run):
        if each.is_own:
            target = folder / VALIDATIONS / each.path.parent.name / FILE
            write_text(target, each.path.read_text(encoding="utf-8"))


def _of_set(found: RunValidation) -> dict[str, Any]:
    content = found.content
    return {
        "set": content["title"],
        "licence": content["licence"],
        "citation": content["citation"],
        "items": content["items"],
        "votes": content["votes"],
        "people": content["people"],
        "level": content["level"],
        "written": content["written"][:10],
        "file": f"{VALIDATIONS}/{found.path.parent.name}/{FILE}",
        "findings": [asdict(line) for line, _ in zip(findings(content, found.arm), range(_SHOWN), strict=False)],
        "rows": list(_rows(found)),
        "leakage": content["leakage"],
        "identity": found.arm["identity"],
        "digest": content["digest"],
    }


def _rows(found: RunValidation) -> Iterator[dict[str, str]]:
    """The arm's own scores, between the average and the floor."""
    own = [row for row in found.content["distances"] if row["name"].startswith(f"{found.arm['name']}: ")]
    bounds = [row for row in found.content["distances"] if ": " not in row["name"]]
    for row in [*bounds[1:2], *own[:_ROWS], *bounds[2:]]:
        name = row["name"].removeprefix(f"{found.arm['name']}: ")
        yield {
            "name": f"this panel, {name}" if row in own else row["name"],
            "rps": between(row["rps"], 3),
            "skill": between(row["skill"]),
        }


def _other(found: RunValidation) -> str:
    """ "people.csv: another model"."""
    return f"{found.content['title']}: {' and '.join(_WORDS[name] for name in found.differs)}"
