"""The files for GitHub: they parse, ask for few permissions, and call only what the Makefile has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_targets_of_the_makefile(path: Path) -> None:
    workflow: dict[str, Any] = yaml.safe_load(path.read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert job.get("permissions", {}) in ({}, {"contents": "read"}, {"id-token": "write"})
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+(\.\d+\.\d+)?", step["uses"])
            else:
                target = re.fullmatch(r"make ([a-z-]+)( TAG=\"\$GITHUB_REF_NAME\")?", step["run"])
                assert target and target[1] in TARGETS, step["run"]


def test_only_the_job_that_publishes_may_ask_for_a_token_of_identity() -> None:
    jobs = {
        f"{path.stem}/{name}": job
        for path in WORKFLOWS
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
    }
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["release/publish"]
    assert all("run" not in step for step in jobs["release/publish"]["steps"]), "it runs no code of the repository"


def test_issue_forms_and_citation() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert form["name"] and form["description"]
            assert len({field["id"] for field in form["body"] if field["type"] != "markdown"}) >= 2
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0" and "version" not in citation, "the version is stated once"
    assert citation["references"][0]["url"].endswith("2402.09764")
