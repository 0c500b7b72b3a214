"""The order of the house: packages in the order of the data, each importing only from those above it.

The list below is the documentation: docs/architecture.md shows the same order with a sentence for each place.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers import ROOT

# A package imports from itself and from what stands above it; trainers come after everything in dprm_data but the command line.
ORDER = [
    "dprm_data.core",  # errors, texts, tables, YAML, registries
    "dprm_data.labels",  # label spaces, their geometry, statistics on them
    "dprm_data.recipe",  # what to do
    "dprm_data.ingest",  # people's tables and datasets → items, votes, ratings, splits
    "dprm_data.panel",  # personas and their weights
    "dprm_data.providers",  # one request → one answer
    "dprm_data.ledger",  # every call ever paid for
    "dprm_data.elicit",  # what is asked, and how the answer is read
    "dprm_data.preference",  # votes → distributions
    "dprm_data.engine",  # makes the calls that are missing
    "dprm_data.engine.shared",  # … with other processes on one PostgreSQL ledger
    "dprm_data.runs",  # one recipe in one folder
    "dprm_data.review",  # people look at simulated labels
    "dprm_data.validation",  # how far a panel is from a crowd
    "dprm_data.publish",  # a run as a dataset repository
    "dprm_data.publish.report",  # a run as one HTML page
    "dprm_data.live",  # a run as it runs, in a browser
    "dprm_data.pipeline.ray",  # a run spread over a Ray cluster
    "dprm_data.pipeline",  # a run's stages
    "dprm_data.terminal",  # what the terminal shows
    "dprm_data.api",  # what Python calls, and how results show themselves
    "dprm_data",  # the public names
    "dprm_trainers.verl_reward",  # stands alone: verl loads it from its file
    "dprm_trainers.core",  # errors, settings, caches
    "dprm_trainers.data",  # rows in splits, conversations as tokens
    "dprm_trainers.reward",  # reward models: losses, training, scoring
    "dprm_trainers.progress",  # how a training is seen while it goes on
    "dprm_trainers.ppo",  # a policy aligned with a reward
    "dprm_trainers.evaluation",  # how good reward models are, how policies compare
    "dprm_trainers.serving",  # the reward over HTTP
    "dprm_trainers",  # the public names
    "dprm_data.cli",  # the command line
    "dprm_data.__main__",  # … as `python -m dprm_data` finds it
    "dprm_trainers.train_reward",  # … as `accelerate launch -m` finds it
    "dprm_trainers.train_ppo",
]
FOLDERS = {"dprm_data": "dprm_data", "dprm_trainers": "trainers"}
# One name for one thing: these are the same thing in two packages.
SAME_IN_TWO_PACKAGES = {"__init__", "__main__", "budget", "extend", "factory", "errors"}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = modules()


def imports(module: str) -> Iterator[str]:
    """The project's modules that this one imports, at any level of nesting."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & MODULES.keys() or {node.module}


def place(module: str) -> int:
    """Where in the order a module stands: with the longest package that holds it."""
    return max(
        (i for i, package in enumerate(ORDER) if module == package or module.startswith(f"{package}.")),
        key=lambda i: len(ORDER[i]),
    )


def test_imports_go_one_way() -> None:
    upward = [
        f"{module} imports {target}"
        for module in MODULES
        for target in imports(module)
        if place(target) > place(module)
    ]
    assert not upward


def test_there_are_no_circles() -> None:
    graph = defaultdict(set, {module: set(imports(module)) for module in MODULES})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_a_module_has_a_name_of_its_own() -> None:
    """The command line's files bear their commands' names; everywhere else a name means one thing."""
    by_name = defaultdict(list)
    for module, path in MODULES.items():
        if not module.startswith("dprm_data.cli"):
            by_name[path.stem].append(module)
    assert not {name: found for name, found in by_name.items() if len(found) > 1 and name not in SAME_IN_TWO_PACKAGES}
