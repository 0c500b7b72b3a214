"""What an installation takes on disk: the core, and what each extra adds to it.

    make test && .venv/bin/python -m benchmarks.install_size

Sums the files that pip has recorded for each package of this environment, and for what it needs here. An extra's packages that are in the core are not counted
again; those of two extras are counted in both. An extra that is not installed is named, and not measured.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 3  # packages of each installation, the largest ones
MEGABYTE = 1e6


def closure(requirements: Iterable[str]) -> set[str]:
    """The names of the packages that these need. Raises `PackageNotFoundError` for one that is not installed."""
    found: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for each in {"", *requirement.extras}:
            if (name, each) not in found:
                found.add((name, each))
                todo += [(Requirement(text), each) for text in distribution(name).requires or []]
    return {name for name, _ in found}


@cache
def size(name: str) -> int:
    """The bytes of the package's files."""
    files = (Path(str(file.locate())) for file in distribution(name).files or [])
    return sum(file.stat().st_size for file in files if file.is_file())


def rows() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = closure(project["dependencies"])
    yield _row("core", core)
    for extra, requirements in project["optional-dependencies"].items():
        try:
            yield _row(f"`{extra}`", closure(requirements) - core)
        except PackageNotFoundError as error:
            yield f"| `{extra}` | not measured: {error} |"


def _row(name: str, packages: set[str]) -> str:
    largest = sorted(packages, key=size, reverse=True)[:SHOWN]
    parts = ", ".join(f"{each} {size(each) / MEGABYTE:.0f}" for each in largest if size(each) >= MEGABYTE)
    return f"| {name} | {sum(map(size, packages)) / MEGABYTE:.0f} | {parts} |"


if __name__ == "__main__":
    print("| installed | MB | largest packages, MB |\n|---|---|---|", *rows(), sep="\n")
