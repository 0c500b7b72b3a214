"""Registries: names, their targets, and what an unknown name is answered with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dprm_data.core import registry
from dprm_data.core.errors import DprmError
from dprm_data.core.registry import Registry


def test_a_builtin_is_imported_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lazy_colours.py").write_text(
        "import tests.core.test_registry as here\n@here.COLOURS.register('red')\ndef red(): return 'ff0000'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert COLOURS.check("red") == "red"
    assert "lazy_colours" not in sys.modules
    assert COLOURS.get("red")() == "ff0000"


COLOURS: Registry = Registry("colour", {"red": "lazy_colours"})


def test_an_unknown_name_is_answered_with_what_there_is() -> None:
    with pytest.raises(DprmError, match=r"no colour 'rde'; did you mean 'red'\? \(installed: red\)"):
        COLOURS.get("rde")
    with pytest.raises(ValueError, match="no colour 'x' "):
        COLOURS.check("x")


def test_two_things_cannot_have_one_name() -> None:
    shapes: Registry = Registry("shape")

    @shapes.register("round")
    def circle() -> None: ...

    shapes.register("round")(circle)  # its module was loaded again
    with pytest.raises(ValueError, match="the shape 'round' is registered already, by tests"):

        @shapes.register("round")
        def ball() -> None: ...


def _installed(folder: Path, code: str) -> None:
    """A package as pip leaves it: a module, and metadata with the entry point."""
    (folder / "our_extension.py").write_text(code)
    info = folder / "our_extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dprm_data]\nours = our_extension\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_extensions.cache_clear()
    yield tmp_path
    sys.modules.pop("our_extension", None)
    registry.PROVIDERS._found.pop("ours", None)
    registry.load_extensions.cache_clear()


def test_an_installed_package_extends_without_an_import(site: Path) -> None:
    _installed(site, "from dprm_data.core.registry import PROVIDERS\n@PROVIDERS.register('ours')\nclass Ours: pass\n")
    assert registry.PROVIDERS.check("ours") == "ours"
    assert registry.PROVIDERS.get("ours").__name__ == "Ours"
    assert registry.PROVIDERS.names()[-1] == "ours"


def test_an_extension_that_cannot_be_imported_is_named(site: Path) -> None:
    _installed(site, "import no_such_module\n")
    with pytest.raises(DprmError, match="extension 'ours' of the package our-extension cannot be loaded") as caught:
        registry.PROVIDERS.get("nobody")
    assert "pip uninstall our-extension" in str(caught.value)
