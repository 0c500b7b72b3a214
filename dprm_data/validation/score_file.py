"""`scores.json`: a validation's findings with the identity of what was validated (`runs/validations.py` reads it)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import orjson

from dprm_data.core.tables import write_text
from dprm_data.core.version import __version__
from dprm_data.runs.validations import FILE, FORMAT
from dprm_data.validation.panel_validation import Validation


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
