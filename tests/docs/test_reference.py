"""docs/reference/ is what the code says."""

from __future__ import annotations

import pytest

from docs.render_reference import PAGES, REFERENCE
from dprm_data.core import tables


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "run: python docs/render_reference.py"


def test_every_table_and_what_it_is_made_of_is_there() -> None:
    page = PAGES["tables.md"]()
    for name, schema in tables.SCHEMAS.items():
        assert f"## {name}\n" in page
        assert all(f"| `{column}` |" in page for column in schema.names)
