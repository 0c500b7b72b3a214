"""The house rules that a machine can check."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import ROOT

LINES = 400


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_style_and_types(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_is_long() -> None:
    sizes = {
        file: len(file.read_text().splitlines())
        for package in ("dprm_data", "trainers")
        for file in (ROOT / package).rglob("*.py")
    }
    assert not {str(file.relative_to(ROOT)): size for file, size in sizes.items() if size >= LINES}
