"""The script that kills runs at random moments and counts at the server, on a few prompts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers import ROOT, environ


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ratings", "compare"])
def test_nothing_is_paid_twice_beyond_what_was_in_flight(variant: str) -> None:
    command = [sys.executable, "benchmarks/kill_prompts.py", "--prompts", "3", "--kills", "4", "--only", variant]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names, _, values = ([each.strip() for each in line.strip("|").split("|")] for line in done.stdout.splitlines())
    row = dict(zip(names, values, strict=True))
    assert int(row["kills: generating"]) + int(row["judging"]) == 4 and int(row["pairs"]) > 0
    assert int(row["served"]) - int(row["twice"]) == int(row["ledger"]) and int(row["twice"]) <= int(row["in flight"])
