"""The tables of promises name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import ROOT

TABLES = sorted((ROOT / "tests").rglob("PROMISES.md"))
FILES = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("table", TABLES, ids=lambda path: path.parent.name)
def test_every_promise_names_a_test_that_exists(table: Path) -> None:
    rows = re.findall(r"^\| (.+) \| (.*test_.*) \|$", table.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 5
    missing, file = [], ""
    for promise, tests in rows:
        named = re.findall(r"`(?:\w+/)?(test_\w+\.py|…)(?:::(\w+)…?)?`", tests)
        for name, function in named:
            file = file if name == "…" else name
            if f"def {function}" not in FILES.get(file, "") if function else file not in FILES:
                missing.append(f"{promise}: {file}::{function}")
    assert not missing
