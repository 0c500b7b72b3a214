"""Apply a calibration: the votes that `dprm ratings fit` counts if a calibration is in force. The uncalibrated fit is kept, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.errors import InputError
from dprm_data.ingest.votes import Votes, votes_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit
from dprm_data.review.annotator_model import AnnotatorModel, panel_answers
from dprm_data.review.read_panel import Reading, fit_read
from dprm_data.runs.fit import fit_annotations, item_ids_of
from dprm_data.runs.folder import RunFolder

if TYPE_CHECKING:
    from dprm_data.runs.run import Run


def applied_calibration(folder: RunFolder) -> dict[str, Any] | None:
    """The calibration in force, from the run's manifest; None if there is none, or if it did not help."""
    content = folder.read_manifest().get("calibration")
    return content if isinstance(content, dict) and content.get("applied") else None


def discard(folder: RunFolder) -> bool:
    """Remove the calibration. Returns whether there was one."""
    there = bool(folder.read_manifest().get("calibration"))
    folder.update_manifest(calibration=None)
    return there


def uncalibrated_file(folder: RunFolder) -> Path:
    """The file of the distributions without the calibration (`tables.DISTRIBUTIONS`)."""
    return folder.path / "tables" / "uncalibrated.parquet"


def fit_calibrated(run: Run, annotations: pa.Table) -> Fit:
    """Fit the run's annotations, with the calibration in force if there is one."""
    calibration = applied_calibration(run.folder)
    if calibration is None:
        return fit_annotations(run, annotations)
    _check_labels(calibration, run.space)
    if calibration.get("instrument"):
        return fit_read(run, annotations, Reading.from_dict(calibration["instrument"]))
    return fit_annotations(run, annotations, votes_as_read(annotations, run.space, item_ids_of(run), calibration))


def _check_labels(calibration: dict[str, Any], space: LabelSpace) -> None:
    if calibration["reading"]["labels"] != space.names:
        raise InputError(
            "the calibration was learned on other labels than the run has now",
            hint="Calibrate again: dprm review calibrate RUN.",
        )


def votes_as_read(annotations: pa.Table, space: LabelSpace, item_ids: list[str], calibration: dict[str, Any]) -> Votes:
    """All votes: the panel's, corrected by the annotator model, and people's, with the calibration's weight."""
    panel = panel_answers(annotations, space, item_ids)
    read = AnnotatorModel.from_dict(calibration["reading"], panel.personas).read(panel)
    human = annotations.filter(pc.equal(annotations["annotator_kind"], "human"))
    people = votes_from_annotations(human, space, item_ids=item_ids, human_weight=calibration["human_weight"])
    return Votes(item_ids, read + people.counts)
