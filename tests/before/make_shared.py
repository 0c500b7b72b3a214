"""Makes `data/published` (a dataset's repository, as pushed) and `data/reviewed` (a run that people have looked at).

python -m tests.before.make_shared
"""

from __future__ import annotations

import csv
import json
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.before.make_runs import openai, write_job
from tests.before.saved import dprm_each, pack, unpack
from tests.publish.conftest import hub_environment
from tests.servers.hub import Hub
from tests.servers.llm import LLMServer

REPO = "acme/prefs"
ITEMS, REVIEWED, PEOPLE, LEVELS = 80, 40, 10, 5


def make_published() -> None:
    """The repository of the run `rationale`."""
    folder = unpack("run-folders/rationale", Path(tempfile.mkdtemp(prefix="before-")))
    options = ["--test", 0.25, "--license", "mit", "--language", "en", "--quiet"]
    with Hub() as hub:
        environment = hub_environment(hub, folder / "hf")
        publish = ["publish", "run", "--repo", REPO, *options]
        dprm_each([publish, ["pull", REPO, "pulled", "--quiet"]], cwd=folder, **environment)
        files = folder / "files"
        for path, data in hub.repos[REPO].files.items():
            if path == ".gitattributes":  # the Hub's own; in this repository it would ask for Git LFS
                continue
            (files / path).parent.mkdir(parents=True, exist_ok=True)
            (files / path).write_bytes(data)
    (said,) = dprm_each([["show", "pulled", "--json"]], cwd=folder)
    kept = folder / "kept"
    kept.mkdir()
    files.rename(kept / "files")
    (folder / "pulled").rename(kept / "pulled")
    (kept / "show.json").write_text(json.dumps(json.loads(said)["summary"]) + "\n")
    pack(kept, "published")
    shutil.rmtree(folder)


def make_reviewed() -> None:
    """A run whose personas are too kind, some of its items judged by people, and a calibration that was applied."""
    folder = Path(tempfile.mkdtemp(prefix="before-"))
    dice = random.Random(3)
    truths = [[dice.gammavariate(0.4, 1) for _ in range(LEVELS)] for _ in range(ITEMS)]
    pairs = [
        {"prompt": f"Question {i}?", "chosen": f"Answer {2 * i}.", "rejected": f"Answer {2 * i + 1}."}
        for i in range(ITEMS // 2)
    ]

    def too_kind(request: dict[str, Any]) -> str:
        text = str(request["messages"])
        number, persona = int(text.split("Answer ")[1].split(".")[0]), int(text.split("You are number ")[1][0])
        [level] = random.Random(text).choices(range(LEVELS), truths[number])
        return json.dumps({"label": str(min(LEVELS, level + 1 + (2, 2, 2, 2, 2, 2, 0, 0)[persona]))})

    personas = [{"id": f"p{i}", "name": f"Person {i}", "description": f"You are number {i}."} for i in range(8)]
    with LLMServer() as server:
        server.says = too_kind
        panel = {"use": {"name": "kind", "personas": personas}}
        recipe = {"labels": LEVELS, "panel": panel, "provider": openai(), "fit": {"family": "dirichlet"}}
        write_job(folder, server.url, "reviewed", pairs, recipe)
        export = ["review", "export", "run", "people.csv", "--select", "random", "--records", REVIEWED, "--blind"]
        dprm_each([["run", "recipe.yaml", "--quiet"], export], cwd=folder)
        judge(folder / "people.csv", truths)
        commands = {
            "imported": ["review", "import", "run", "people.csv", "--json"],
            "compared": ["review", "compare", "run", "--json"],
            "calibrated": ["review", "calibrate", "run", "--json"],
            "shown": ["show", "run", "--json"],
        }
        said = dict(zip(commands, map(json.loads, dprm_each(list(commands.values()), cwd=folder)), strict=True))
        assert said["calibrated"]["applied"]
        (folder / "said.json").write_text(json.dumps(said) + "\n")
        pack(folder, "reviewed", server.url)
    shutil.rmtree(folder)


def judge(file: Path, truths: list[list[float]]) -> None:
    """Fill the table in, as people would."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        given = list(csv.DictReader(opened))
    dice = random.Random(5)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fieldnames=["item_id", "annotator", "label", "comment", "at"])
        writer.writeheader()
        for row in given:
            truth = truths[int(row["response"].removeprefix("Answer ").rstrip("."))]
            for person in (f"Person {i}" for i in range(PEOPLE)):
                [level] = dice.choices(range(LEVELS), truth)
                answer = {"item_id": row["item_id"], "annotator": person, "label": str(level + 1)}
                writer.writerow(answer | {"comment": "", "at": "2026-01-02T03:04:05Z"})


if __name__ == "__main__":
    make_published()
    make_reviewed()
