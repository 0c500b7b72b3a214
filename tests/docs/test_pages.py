"""Tutorials and how-to pages: every recipe is one, every Python block compiles, every bash block names commands that exist, and they are short."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest
import yaml

from dprm_data import Recipe
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from tests.docs.blocks import blocks
from tests.helpers import ROOT

PAGES = sorted(page for part in ("tutorials", "how-to") for page in (ROOT / "docs" / part).glob("*.md"))
LANGUAGES = {"bash", "python", "yaml", "json", "text"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_what_a_page_tells_to_write_is_right(page: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    found = blocks(page)
    assert {block.language for block in found} <= LANGUAGES
    for block in found:
        if block.title:
            (tmp_path / block.title).write_text(block.text)
    for block in found:
        if block.language == "python":
            ast.parse(block.text)
        if block.language == "yaml":
            assert block.title, "a recipe has a title: the reader's file"
            content = yaml.safe_load(block.text)
            if "personas" in content:
                assert load_panel(str(tmp_path / block.title)).personas
            elif "axes" in content:
                assert LabelSpace.load(str(tmp_path / block.title)).K > 1
            else:
                Recipe.load(tmp_path / block.title)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_is_short(page: Path) -> None:
    """In words to read, without files and output."""
    prose = re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    assert len(prose.split()) <= (600 if page.parent.name == "tutorials" else 250)
