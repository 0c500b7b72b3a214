"""The files of an evaluation of reward models."""

from __future__ import annotations

import json
from pathlib import Path

from dprm_data.core.tables import write_text
from dprm_trainers.evaluation.evaluation_page import evaluation_page
from dprm_trainers.evaluation.evaluation_tables import markdown
from dprm_trainers.evaluation.reliability_picture import picture
from dprm_trainers.evaluation.reward_evaluation import Evaluation


def write_files(found: Evaluation, folder: Path) -> None:
    """Write evaluation.html, evaluation.json, evaluation.md and reliability.svg."""
    write_text(folder / "evaluation.json", json.dumps(found.as_dict(), indent=2, allow_nan=False) + "\n")
    write_text(folder / "evaluation.md", markdown(found))
    write_text(folder / "evaluation.html", evaluation_page(found))
    write_text(folder / "reliability.svg", picture("Reliability: predicted and observed probability", found.curves))
