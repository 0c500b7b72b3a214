"""Applying a calibration: the votes that `dprm fit` counts where one gained something, and the fit without it, kept beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.errors import InputError
from dprm_data.folder import RunFolder
from dprm_data.labels import LabelSpace
from dprm_data.preference import Votes, votes_from_annotations
from dprm_data.review.reading import Reading, sayings


def applied_calibration(folder: RunFolder) -> dict[str, Any] | None:
    """The calibration that counts, from the run's manifest; None where there is none, or it gained nothing."""
    content = folder.read_manifest().get("calibration")
    return content if isinstance(content, dict) and content.get("applied") else None


def discard(folder: RunFolder) -> bool:
    """Forget the calibration. Returns whether there was one."""
    there = bool(folder.read_manifest().get("calibration"))
    folder.update_manifest(calibration=None)
    return there


def uncalibrated_file(folder: RunFolder) -> Path:
    """The distributions as they would be without the calibration (`tables.DISTRIBUTIONS`)."""
    return folder.path / "tables" / "uncalibrated.parquet"


def votes_as_read(annotations: pa.Table, space: LabelSpace, item_ids: list[str], calibration: dict[str, Any]) -> Votes:
    """All votes: the panel's as the calibration reads them, people's with the weight that it found.

    Raises InputError where it was learned on other labels.
    """
    if calibration["reading"]["labels"] != space.names:
        raise InputError(
            "the calibration was learned on other labels than the run has now", hint="dprm review calibrate RUN, again."
        )
    panel = sayings(annotations, space, item_ids)
    read = Reading.from_dict(calibration["reading"], panel.personas).read(panel)
    human = annotations.filter(pc.equal(annotations["annotator_kind"], "human"))
    people = votes_from_annotations(human, space, item_ids=item_ids, human_weight=calibration["human_weight"])
    return Votes(item_ids, read + people.counts)
