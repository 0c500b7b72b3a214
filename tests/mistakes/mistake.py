"""A mistake that people make, and the message it gets: made in a folder of its own, with a small run and a table of votes at hand."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.helpers import write_recipe
from tests.processes import dprm
from tests.servers.llm import LLMServer

VOTES = "item_id,annotator_id,label\n" + "".join(
    f"face {item},rater {rater},{1 + (item + rater) % 5}\n" for item in range(6) for rater in range(5)
)
RATINGS = "prompt,response,rater,label\n" + "".join(
    f"Question {item // 2}?,Answer {item}.,rater {rater},{1 + (item + rater) % 5}\n"
    for item in range(6)
    for rater in range(3)
)
PEOPLE = {"annotators": "people", "labels": 5, "ratings": {"path": "ratings.csv"}}


@dataclass(frozen=True)
class Mistake:
    """what: the mistake, in a sentence. does: a command line without `dprm`, or lines of Python. says: words that the message must have: where it is, and
    what to do. recipe: changes of a good recipe (None removes a key). files: more files, by name. before: what else is done to the folder."""

    what: str
    does: str
    says: tuple[str, ...]
    recipe: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str | bytes] = field(default_factory=dict)
    before: Callable[[Path], object] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    code: int = 2
    python: bool = False

    @property
    def shown(self) -> str:
        """What was typed."""
        return self.does if self.python else f"dprm {self.does}"


@dataclass(frozen=True)
class Outcome:
    """How it ended: the exit code (in Python: that of the error) and the message, without what differs from machine to machine."""

    code: int
    message: str


class Desk:
    """A good recipe with its finished run, its data and a fitted table of votes, copied for each mistake. A double answers its calls."""

    def __init__(self, folder: Path, server: LLMServer) -> None:
        self.folder, self.server = folder, server
        self._good = folder / "good"
        self._good.mkdir()
        for name, text in (("votes.csv", VOTES), ("ratings.csv", RATINGS)):
            (self._good / name).write_text(text)
        self.recipe = yaml.safe_load(write_recipe(self._good, server.url, budget={"max_cost": 5}).read_text())
        for command in ("run recipe.yaml -q", "ratings fit votes.csv --labels 5 --output fitted.parquet"):
            done = dprm(*shlex.split(command), cwd=self._good)
            assert done.returncode == 0, done.stderr

    def make(self, mistake: Mistake, number: int) -> Outcome:
        """Make the mistake."""
        place = self.folder / f"case-{number}"
        shutil.copytree(self._good, place, ignore=shutil.ignore_patterns("*.lock", ".lock"))
        changed = {name: value for name, value in (self.recipe | mistake.recipe).items() if value is not None}
        (place / "recipe.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
        for name, content in mistake.files.items():
            file = place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        if mistake.before:
            mistake.before(place)
        code, said = _python(mistake.does, place) if mistake.python else _command(mistake, place)
        return Outcome(code, _without_this_machine(said, place))


def _command(mistake: Mistake, place: Path) -> tuple[int, str]:
    config = str(place / "config")
    done = dprm(*shlex.split(mistake.does), cwd=place, XDG_CONFIG_HOME=config, **mistake.environment)
    said = re.search(r"^dprm: .*", done.stderr, re.MULTILINE | re.DOTALL)  # what comes before tells of progress
    return done.returncode, said.group() if said else done.stderr


def _python(lines: str, place: Path) -> tuple[int, str]:
    from dprm_data import DprmError

    with contextlib.chdir(place):
        try:
            exec(compile(lines, "python", "exec"), {})
        except DprmError as error:
            return error.exit_code, f"{type(error).__name__}: {error}"
    return 0, ""


def _without_this_machine(text: str, place: Path) -> str:
    for found, put in (
        (re.escape(f"{place}/"), ""),
        (re.escape(str(place)), "."),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:8000"),
        (
            r"line \d{3,} column \d+ \(char \d+\)",
            "line 700 column 20 (char 20000)",
        ),  # of the manifest, which has times in it
        (r"[ \t]+$", ""),
    ):
        text = re.sub(found, put, text, flags=re.MULTILINE)
    return text.strip()
