"""Every module imports, with whatever versions of the dependencies are installed."""

from __future__ import annotations

import importlib
import pkgutil

import dprm_data


def test_every_module_imports() -> None:
    names = [module.name for module in pkgutil.walk_packages(dprm_data.__path__, "dprm_data.")]
    assert len(names) > 300
    for name in names:
        if not name.endswith("__main__"):
            importlib.import_module(name)
