"""`dprm status`: on finished runs, while another process works, and on folders that were cut short."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers import answer, dprm, environ, write_recipe, write_rows
from tests.servers.llm import LLMServer

PERSONAS = 4


def begun(place: Path) -> subprocess.Popen[str]:
    """A run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dprm_data.cli", "run", "recipe.yaml"],
        cwd=place,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def many(place: Path, count: int) -> None:
    write_rows(place / "pairs.jsonl", [{"prompt": f"Question {i}?", "response": f"Answer {i}."} for i in range(count)])


def until(double: LLMServer, requests: int) -> None:
    end = time.monotonic() + 60
    while double.tally.requests < requests:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_finished_run(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    found = answer(dprm("status", "recipe.yaml", "--json", cwd=tmp_path))  # before anything was done
    assert (found["items"], found["calls_made"], found["spent"]) == (None, 0, 0)
    assert found["steps"][0][0] == "dprm run recipe.yaml"
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert (found["items"], found["items_done"], found["calls_made"], found["calls_left"]) == (4, 4, 16, 0)
    assert found["spent"] > 0 and not found["running"] and not found["failures"] and not found["faults"]
    shown = dprm("status", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "complete" in shown.stdout and "4 of 4" in shown.stdout and "dprm show run" in shown.stdout


@pytest.mark.slow
def test_while_another_process_works_and_after_it_was_killed(double: LLMServer, tmp_path: Path) -> None:
    many(tmp_path, 200)
    write_recipe(tmp_path, double.url, limits={"concurrency": 4}, budget={"max_cost": 3})
    double.script({"latency": 0.05})
    process = begun(tmp_path)
    try:
        until(double, 60)
        found = answer(dprm("status", "run", "--json", cwd=tmp_path))
        assert found["running"]
        assert 0 < found["items_done"] < 200 and 0 < found["calls_left"] < 200 * PERSONAS
        assert found["spent"] > 0 and found["budget"] == 3
        double.script({"chances": {"hang": 1.0}})
        time.sleep(0.5)
    finally:
        process.kill()
        process.communicate()
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert not found["running"] and found["possibly_billed"] > 0
    assert any("ledger settle" in command for command, _ in found["steps"])
    assert any(command.startswith("dprm run") for command, _ in found["steps"])
    said = dprm("status", "run", cwd=tmp_path).stdout
    assert "may be billed besides" in said and "calls are left" in said
    assert "dprm status run" in dprm("show", "run", cwd=tmp_path).stderr  # there are no tables to show yet


def test_why_it_stopped(double: LLMServer, tmp_path: Path) -> None:
    double.script({"key": "right"})
    write_recipe(tmp_path, double.url)
    assert dprm("run", "recipe.yaml", cwd=tmp_path, OPENAI_API_KEY="wrong").returncode == 1
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert "Incorrect API key" in found["stopped"]
    assert found["steps"][0][1].startswith("continue: 16 calls are left")


def test_what_failed_and_that_asking_again_does_not_help(double: LLMServer, tmp_path: Path) -> None:
    """Two items that are too long by other numbers are one reason; their price is known."""
    longs = [{"prompt": f"[[fault:400]] {'x' * n}", "response": "Yes."} for n in (10, 20)]
    write_rows(tmp_path / "pairs.jsonl", [{"prompt": f"Question {i}?", "response": "Yes."} for i in range(9)] + longs)
    write_recipe(tmp_path, double.url)
    done = dprm("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cost not known" not in done.stdout
    assert "--retry-failed" not in done.stdout and "longer context" in done.stdout
    assert "retried" not in done.stdout and "failed attempts: 8 rejected" in done.stdout
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert list(found["failures"].values()) == [8]
    assert "longer context" in found["steps"][0][1]
    assert answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["cost"] > 0


def test_folders_that_were_cut_short(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    whole = tmp_path / "run"
    early = tmp_path / "early"
    (early / "tables").mkdir(parents=True)
    shutil.copy(whole / "tables/items.parquet", early / "tables/items.parquet")  # before the recipe was written
    said = dprm("status", "early", cwd=tmp_path)
    assert said.returncode == 0 and "not begun" in said.stdout and "dprm run RECIPE" in said.stdout
    for name in ("distributions", "preferences", "annotations"):
        (whole / "tables" / f"{name}.parquet").unlink()
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert found["steps"][0] == ["dprm ratings fit run", "write the dataset from the ledger, without a call"]
    (whole / "tables/annotations.parquet").write_bytes(b"PAR1 cut off")
    (whole / "manifest.json").write_text('{"cut')
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    assert len(found["faults"]) >= 2 and json.dumps(found)
    (whole / "manifest.json").unlink()
    (whole / "ledger.sqlite").write_bytes(b"no database")
    said = dprm("status", "run", cwd=tmp_path)
    assert said.returncode == 0 and "Traceback" not in said.stderr and "ledger.sqlite" in said.stdout
    for place in ("nowhere", str(tmp_path / "pairs.jsonl")):
        said = dprm("status", place, cwd=tmp_path)
        assert said.returncode == 2 and "Traceback" not in said.stderr


def test_a_run_stopped_by_a_signal(double: LLMServer, tmp_path: Path) -> None:
    """It keeps tables of what there is, and everything says of how many."""
    many(tmp_path, 300)
    write_recipe(tmp_path, double.url, limits={"concurrency": 4})
    double.script({"latency": 0.05})
    process = begun(tmp_path)
    until(double, 80)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping: finishing" in err and "dprm: stopped" in err and "dprm status run" in err
    found = answer(dprm("status", "run", "--json", cwd=tmp_path))
    done = found["items_done"]
    assert 0 < done < 300 and found["stopped"] == "stopped"
    shown = dprm("show", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    voted = answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["voted_items"]
    assert done <= voted < 300
    assert f"{voted:,} of 300 items" in shown.stdout
    assert dprm("report", "run", cwd=tmp_path).returncode == 0
    assert f"{voted:,} of 300 items" in (tmp_path / "run/report.html").read_text()
    assert f"{voted:,} of 300 items" in (tmp_path / "run/README.md").read_text()


@pytest.mark.parametrize("stage", ["reading items", "collecting annotations", "fitting distributions"])
@pytest.mark.slow
def test_ctrl_c_at_any_stage_has_words(double: LLMServer, tmp_path: Path, stage: str) -> None:
    """The stage is made long, in a process that is otherwise the command's own."""
    write_recipe(tmp_path, double.url)
    slow = (
        "import sys, time\nfrom dprm_data.terminal import progress\nwhole = progress.TerminalProgress.stage\n"
        f"def stage(self, name):\n    whole(self, name)\n    if name == {stage!r}: time.sleep(60)\n"
        "progress.TerminalProgress.stage = stage\nfrom dprm_data.cli import main\nmain()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "run", "recipe.yaml"],
        cwd=tmp_path,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    seen = ""
    while f"{stage} …" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"interrupted while {stage}" in err and "Nothing that was paid for is lost" in err
    assert "dprm status run" in err and "Traceback" not in err
    said = dprm("status", "recipe.yaml", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "dprm run recipe.yaml" in said.stdout or "dprm ratings fit run" in said.stdout
    assert dprm("run", "recipe.yaml", cwd=tmp_path).returncode == 0
    assert double.tally.requests == 16
