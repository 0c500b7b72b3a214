"""The names of commands and options: one name for each thing, former names that go on working, and documents that name what exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from dprm_data.cli import app
from dprm_data.cli.overview import SECTIONS
from dprm_data.cli.renamed import COMMANDS, LISTS
from tests.helpers import ROOT

RENAMED = ROOT / "dprm_data" / "cli" / "renamed.py"
MISTAKES = ROOT / "docs" / "mistakes.md"  # made by tests/mistakes, which type its commands
ROOT_COMMAND: Any = typer.main.get_command(app)


def leaves(group: Any = ROOT_COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


LEAVES = dict(leaves())


def options(command: TyperCommand) -> dict[str, list[str]]:
    """The flags of each option, by its variable's name."""
    context = typer.Context(command)  # type: ignore[arg-type]
    return {str(each.name): [*each.opts, *each.secondary_opts] for each in command.get_params(context)}


def dprm(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [str(each) for each in arguments])


# -- one name for each thing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEAVES)
def test_the_same_option_has_the_same_name_everywhere(name: str) -> None:
    found = options(LEAVES[name])
    assert found["as_json"] == ["--json"]
    for variable, flags in {
        "quiet": ["--quiet", "-q"],
        "yes": ["--yes", "-y"],
        "output": ["--output", "-o"],
        "overwrite": ["--overwrite"],
    }.items():
        assert found.get(variable, flags)[: len(flags)] == flags
    every = {flag for flags in found.values() for flag in flags}
    assert not every & {"--out", "--output-dir", "--silent", "--verbose", "--as-json", "--assume-yes"}


def test_the_first_screen_names_each_command_once_and_fits_a_terminal() -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(ROOT_COMMAND.commands)
    for shown in (dprm(), dprm("--help"), dprm("-h")):
        lines = shown.output.rstrip().splitlines()
        assert len(lines) <= 32
        assert max(map(len, lines)) <= 80
        assert [line[10:].split()[0] for line in lines if line[10:25].strip() in listed] == listed
        assert "…" not in shown.output
        assert "..." not in shown.output.replace("[ARGS]...", "")


@pytest.mark.parametrize("old", [*COMMANDS, "panels"])
def test_help_lists_no_former_name(old: str) -> None:
    assert old not in ROOT_COMMAND.commands
    assert not re.search(rf"(?m)^.{{10}}{old}\b", dprm("--help").output)


# -- former names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", COMMANDS)
def test_a_former_command_is_the_present_one_and_says_so(old: str) -> None:
    done = dprm(old, "--help")
    present = " ".join(COMMANDS[old])
    assert done.exit_code == 0
    assert done.stderr == f"dprm {old} is now dprm {present}\n"
    assert f"Usage: dprm {present.removesuffix(' --no-fit')} " in " ".join(done.stdout.split()).replace("root", "dprm")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["panels"], ["panel", "list"]),
        (["panels", "--json"], ["panel", "list", "--json"]),
        (["panels", "small"], ["panel", "show", "small"]),
        (["labels", "hh6", "--json"], ["labels", "show", "hh6", "--json"]),
        (["labels", "7"], ["labels", "show", "7"]),
        (["models", "openai", "--search", "gpt-4o"], ["models", "list", "openai", "--search", "gpt-4o"]),
        (["models", "openai", "gpt-4o-mini"], ["models", "list", "openai", "--search", "gpt-4o-mini"]),
        (["models", "--check"], ["models", "check"]),
        (["models", "check.yaml", "--check"], ["models", "check", "check.yaml"]),
    ],
)
def test_a_former_way_to_list_gives_the_same_and_says_so(old: list[str], new: list[str]) -> None:
    before, now = dprm(*old), dprm(*new)
    assert (before.exit_code, before.stdout) == (now.exit_code, now.stdout)
    assert " is now dprm " + " ".join(new[:2]) in before.stderr.splitlines()[0]
    assert before.stderr.split("\n", 1)[1] == now.stderr
    assert before.stdout or before.exit_code


@pytest.mark.parametrize("name", [*sorted(LISTS.keys() - {"panels"}), "panel"])
def test_a_group_that_lists_is_a_list_by_itself(name: str) -> None:
    assert dprm(name).stdout == dprm(name, "list").stdout != ""
    assert dprm(name).stderr == ""
    assert "list" in dprm(name, "--help").stdout


def votes(path: Path) -> Path:
    rows = [{"item_id": f"i{i}", "annotator_id": f"a{a}", "label": 1 + (i * a) % 5} for i in range(8) for a in range(6)]
    path.write_text("\n".join(",".join(map(str, each)) for each in [rows[0], *(row.values() for row in rows)]))
    return path


def test_former_names_work_to_the_end(tmp_path: Path) -> None:
    """The words of an old script: the note is on stderr, each once, and stdout is JSON."""
    table, old, new = votes(tmp_path / "votes.csv"), tmp_path / "old.parquet", tmp_path / "new.parquet"
    before = dprm("fit", table, "--labels", "5", "--base", "1", "--out", old, "--json")
    assert before.exit_code == 0, before.output
    assert before.stderr.count("dprm fit is now dprm ratings fit\n") == 1
    assert before.stderr.count("--out is now --output\n") == 1
    now = dprm("ratings", "fit", table, "--labels", "5", "--base", "1", "-o", new, "--json")
    assert "is now" not in now.stderr
    assert json.loads(before.stdout) | {"out": ""} == json.loads(now.stdout) | {"out": ""}
    assert old.read_bytes() == new.read_bytes()
    done = dprm("update", old, table, f"--out={tmp_path / 'more.parquet'}", "--json")
    assert json.loads(done.stdout)["out"] == str(tmp_path / "more.parquet")


def test_a_former_option_is_none_where_it_is_a_present_one() -> None:
    assert "force" in options(LEAVES["publish"])
    assert "is now" not in dprm("publish", "nothing", "--repo", "a/b", "--force").stderr


def test_init_takes_the_former_force(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("mine")
    assert dprm("init", file).exit_code
    done = dprm("init", file, "--force")
    assert (done.exit_code, done.stderr) == (0, "--force is now --overwrite\n")
    assert file.read_text() != "mine"
    assert json.loads(dprm("init", file, "--overwrite", "--json").stdout)["recipe"] == str(file)


# -- misspelt ones ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("statsu", "dprm status"),
        ("rnu", "dprm run"),
        ("agrement", "dprm ratings agreement"),
        ("evalaute", "dprm eval reward"),
        ("anotate", "dprm run --no-fit"),
        ("calibrat", "dprm review calibrate"),
        ("rating", "dprm ratings"),
        ("panl", "dprm panel"),
    ],
)
def test_a_misspelt_command_gets_its_near_match(typed: str, meant: str) -> None:
    done = dprm(typed)
    assert done.exit_code == 2
    assert meant in " ".join(done.stderr.replace("│", " ").split())


def test_misspelt_actions_options_and_nonsense() -> None:
    assert "'fit'" in dprm("ratings", "fti").stderr
    assert "'list'" in dprm("models", "lst").stderr
    assert "--output" in dprm("ratings", "drift", "a", "b", "--ouput", "c").stderr
    assert "Did you mean" not in dprm("xyzzy").stderr


# -- what documents and messages name ----------------------------------------------------------------------------------

TEXTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "docs").glob("*.html"),
    *(file for folder in ("dprm_data", "trainers", "examples", "benchmarks", "hub_cards", "docs") for file in (ROOT / folder).rglob("*.py")),
    *(file for folder in ("examples", "hub_cards", "personas", "label_spaces") for file in (ROOT / folder).rglob("*") if file.suffix in (".md", ".yaml", ".jinja", ".sh")),
]  # fmt: skip
MENTION = re.compile(r"\bdprm ([a-z][a-z-]*)\b(?: ([a-z][a-z-]*)\b)?([^\n`]*)")
PROSE = {"and", "did", "gives", "has", "is", "published", "that"}  # as in "a repository that dprm did not publish"


def test_every_command_that_is_named_exists_under_its_present_name() -> None:
    wrong, seen = [], 0
    for file in set(TEXTS) - {RENAMED, MISTAKES}:
        for said in MENTION.finditer(file.read_text(encoding="utf-8")):
            command = ROOT_COMMAND.commands.get(said[1])
            if isinstance(command, TyperGroup) and said[2]:
                command = command.commands.get(said[2])
            if command is None:
                wrong += [] if said[1] in PROSE else [f"{file}: {said[0]}"]
                continue
            seen += 1
            flags = {"--help"} | {flag for each in options(command).values() for flag in each}
            typed = re.findall(r"(?<!\S)--[a-z][a-z-]*", re.split(r" #|[|;&),]|\. ", said[3])[0])
            wrong += [f"{file}: {said[0]}" for flag in typed if flag not in flags]
    assert not wrong
    assert seen > 200


def test_where_a_document_is_wrong_the_test_above_sees_it() -> None:
    """The pattern finds a command in a sentence, in code and in a hint."""
    for text in ("run `dprm fit x` again", "    dprm fit x --out y", 'hint=f"Fit it first: dprm fit {folder}"'):
        found = MENTION.search(text)
        assert found
        assert found[1] == "fit"
