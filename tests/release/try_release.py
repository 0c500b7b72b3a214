"""Build the wheel and the source distribution, and try both in bare environments: `make release-check`.

    python tests/release/try_release.py [--dist dist] [--keep] [--tag v1.2.3]

Needs the packages build and twine. Every Python that pyproject.toml names and this machine has gets a new environment in a temporary folder, with the
wheel and its dependencies from an index, wheels only. Then the installed package must work without the checkout (`first_use.py`). The
source distribution is installed over it, and tried likewise. With --keep the files that are in `--dist` already are tried, and nothing is built.
With --tag the version must be that tag's.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST_USE = Path(__file__).with_name("first_use.py")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dist", type=Path, default=ROOT / "dist")
    options.add_argument("--keep", action="store_true")
    options.add_argument("--tag")
    given = options.parse_args()
    dist = given.dist.resolve()
    if not given.keep:
        shutil.rmtree(dist, ignore_errors=True)
        run(sys.executable, "-m", "build", "-o", dist, ROOT)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    if given.tag and f"dprm_data-{given.tag.removeprefix('v')}.tar.gz" != source.name:
        sys.exit(f"the tag is {given.tag}, but {source.name} was built: the version is in dprm_data/core/version.py")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)

    found = {version: program for version in supported() if (program := python(version))}
    for version in supported():
        if version not in found:
            print(f"Python {version}: not on this machine, not tried")
    if not found:
        sys.exit("no supported Python was found")
    for version, program in found.items():
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try_on(program, Path(folder), wheel, source)
        print(f"Python {version}: wheel and source distribution work ({time.monotonic() - begun:.0f} s)")


def try_on(program: str, folder: Path, wheel: Path, source: Path) -> None:
    """Install both files one after the other in a new environment, and use them from another folder."""
    run(program, "-m", "venv", folder / "environment")
    here = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    pip = (here / "python", "-m", "pip", "--disable-pip-version-check", "-q", "install")
    run(*pip, "--only-binary", ":all:", wheel)
    run(here / "python", "-m", "pip", "check")
    for number, again in enumerate(((), ("--force-reinstall", "--no-deps", source))):
        if again:
            run(*pip, *again)
        work = folder / f"work-{number}"
        work.mkdir()
        run(here / "dprm", "--version", cwd=work)
        run(here / "dprm", "labels", cwd=work)
        run(here / "python", "-I", FIRST_USE, cwd=work)


def supported() -> list[str]:
    """The versions in the classifiers, and the next, which may work already."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [match[1] for line in project["classifiers"] if (match := re.fullmatch(r".* :: (3\.\d+)", line))]
    return [*stated, f"3.{int(stated[-1].partition('.')[2]) + 1}"]


def python(version: str) -> str | None:
    """A Python of this version that starts. Shims of version managers may stand for one that is not installed."""
    for name in (f"python{version}", str(Path.home() / f".pyenv/versions/{version}*/bin/python")):
        for program in [shutil.which(name)] if "/" not in name else sorted(map(str, Path("/").glob(name.lstrip("/")))):
            asked = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if program and subprocess.run([program, *asked], capture_output=True, text=True).stdout.strip() == version:
                return program
    return None


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command quietly. Ends with its output if it fails."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
