"""A package of somebody else's, as pip would leave it: a module, and metadata that names it in our entry-point group."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from dprm_data.core import registry


def write_package(name: str, code: str, site: Path) -> None:
    """Lay the package in the folder `site`, which a process finds it in by PYTHONPATH."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}_extension.py").write_text(code)
    info = site / f"{name}_extension-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {name}_extension\n")


def install(name: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same for this process, until the test ends. Returns the folder, for PYTHONPATH of others."""
    site = folder / "site-packages"
    write_package(name, code, site)
    monkeypatch.syspath_prepend(site)
    for each in [found for found in vars(registry).values() if isinstance(found, registry.Registry)]:
        for module in filter(importlib.util.find_spec, each._builtin.values()):
            importlib.import_module(module)  # before the copy: a module registers its names once in a process
        monkeypatch.setattr(each, "_found", dict(each._found))
    registry.load_extensions.cache_clear()
    monkeypatch.delitem(sys.modules, f"{name}_extension", raising=False)
    return site
