"""What people install: a wheel that carries everything it needs, and a command that answers at once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import dprm_data
from tests.helpers import ROOT, environ


def test_a_wheel_carries_the_bundled_texts_and_works_without_the_checkout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("dprm_data", "trainers", "label_spaces", "personas", "prompts", "hub_cards"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    done = subprocess.run(build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("dprm_data-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        names = archive.namelist()
    for kind, suffix in (
        ("label_spaces", ".yaml"),
        ("personas", ".yaml"),
        ("prompts", ".jinja"),
        ("hub_cards", ".jinja"),
    ):
        here = {file.name for file in (ROOT / kind).iterdir() if file.suffix == suffix}
        assert here
        assert here <= {name.rsplit("/", 1)[1] for name in names if name.startswith(f"dprm_data/bundled/{kind}/")}
    assert "dprm_data/py.typed" in names
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "dprm_data").rglob("*.py")}
    modules |= {f"dprm_trainers/{file.relative_to(ROOT / 'trainers')}" for file in (ROOT / "trainers").rglob("*.py")}
    assert modules <= set(names)
    assert not [name for name in names if name.startswith("tests/")]
    environment = environ(PYTHONPATH=str(tmp_path / "installed"))
    program = [sys.executable, "-P", "-m", "dprm_data.cli", "panels", "--json"]
    listed = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert listed.returncode == 0, listed.stderr
    assert {panel["name"] for panel in json.loads(listed.stdout)["panels"]} >= {"paper", "small"}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """`dprm --help` answers in well under half a second because of this."""
    program = "import sys\nfrom dprm_data.cli import app\nsys.argv = ['dprm', '--help']\ntry:\n    app()\nexcept SystemExit:\n    pass\nprint(sorted(set(sys.modules) & {'numpy', 'pyarrow', 'scipy', 'openai', 'anthropic', 'datasets', 'pydantic', 'jinja2', 'torch'}), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_the_public_face(tmp_path: Path) -> None:
    """As people import it: a submodule that bears a function's name would take its place."""
    program = (
        "import dprm_data.cli.run, dprm_data.pipeline.stages\n"
        "from dprm_data import " + ", ".join(sorted(dprm_data.__all__)) + "\n"
        "import types\n"
        "print([name for name, value in list(globals().items()) if name in dprm_data.__all__ and isinstance(value, types.ModuleType)])\n"
        "assert callable(run) and callable(fit) and callable(update)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ(), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert sorted(dprm_data.__all__) == dir(dprm_data)


def test_the_version_is_stated_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dprm_data.cli", "--version"],
        cwd=tmp_path,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"dprm-data {dprm_data.__version__}\n", done.stderr
    assert version("dprm-data") == dprm_data.__version__, "the installed metadata is older: pip install -e ."
    lines = [
        f"{file.relative_to(ROOT)}: {line}"
        for file in (ROOT / "pyproject.toml", *(ROOT / "dprm_data").rglob("*.py"), *(ROOT / "trainers").rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.match(rf"(__)?version(__)? = \"{re.escape(dprm_data.__version__)}\"", line)
    ]
    assert lines == [f'dprm_data/core/version.py: __version__ = "{dprm_data.__version__}"']
    assert f"## {dprm_data.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
