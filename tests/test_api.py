"""The public API: what is documented is what there is."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location("render_api", ROOT / "docs" / "render_api.py")
assert spec and spec.loader
render_api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(render_api)


def test_the_page_is_what_the_docstrings_say() -> None:
    assert render_api.PAGE.read_text(encoding="utf-8") == render_api.page(), "run: python docs/render_api.py"


@pytest.mark.parametrize("module", render_api.PARTS)
def test_every_public_name_exists_and_is_documented(module: str) -> None:
    found = importlib.import_module(module)
    assert found.__all__ == sorted(found.__all__, key=lambda name: (not name[0].isupper(), name))
    assert not [name for name in found.__all__ if not getattr(found, name).__doc__]
    assert set(found.__all__) <= set(dir(found))
