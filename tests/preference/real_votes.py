"""The real multi-rater sets that lie beside a checkout of the project, where they do; nothing of them is part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data.core.arrays import Floats
from dprm_data.ingest.vote_tables import read_votes
from dprm_data.labels.space import LabelSpace

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVELS = {"faceratings": 7, "convabuse": 5, "chaosnli": 3, "polis": 3}


def path(name: str) -> Path:
    found = DATA / f"{name}.parquet"
    if not found.is_file():
        pytest.skip(f"real votes are not here: {found} does not exist")
    return found


def counts(name: str) -> tuple[Floats, LabelSpace]:
    space = LabelSpace.ordinal(LEVELS[name])
    return read_votes(path(name), space).counts, space
