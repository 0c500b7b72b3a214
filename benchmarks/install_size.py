"""What an installation takes on disk: the core, and what each extra adds to it.

    python -m benchmarks.install_size [EXTRA ...]

Installs the checkout into environments of their own, with the versions of constraints.txt: some minutes, and the network. Counts what pip puts into
site-packages, with compiled modules and without pip itself. Where two extras share packages, each counts them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("dprm_data", "trainers", "label_spaces", "personas", "prompts", "hub_cards")
SHOWN = 4  # packages of each installation, the largest ones


def installed(extra: str | None, folder: Path) -> dict[str, int]:
    """The bytes of each package that the core, or the core with an extra, needs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    source = folder / "source"
    for part in PARTS:
        shutil.copytree(ROOT / part, source / part)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    what = f"{source}[{extra}]" if extra else str(source)
    pip = [sys.executable, "-m", "pip", "--python", folder / "env", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*pip, what], check=True, stderr=subprocess.DEVNULL)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    sizes: dict[str, int] = {}
    for file in site.rglob("*"):
        if file.is_file():
            name = file.relative_to(site).parts[0].split(".")[0].split("-")[0].lower()
            sizes[name] = sizes.get(name, 0) + file.stat().st_size
    return sizes


def row(name: str, sizes: dict[str, int]) -> str:
    largest = sorted(sizes.items(), key=lambda each: -each[1])[:SHOWN]
    packages = ", ".join(f"{package} {size / 1e6:.0f}" for package, size in largest if size >= 1e6)
    return f"| {name} | {sum(sizes.values()) / 1e6:.0f} | {packages} |"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = sys.argv[1:] or list(project["optional-dependencies"])
    print("| installed | MB | largest packages, MB |\n|---|---|---|")
    core: dict[str, int] = {}
    for extra in [None, *extras]:
        with TemporaryDirectory(prefix="dprm-size-") as folder:
            sizes = installed(extra, Path(folder))
        core = core or sizes
        added = {name: size - core.get(name, 0) for name, size in sizes.items() if size > core.get(name, 0)}
        print(row(f"+ `{extra}`", added) if extra else row("core", sizes), flush=True)


if __name__ == "__main__":
    main()
