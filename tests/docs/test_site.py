"""The site: every page has its place, every relative link leads somewhere; built, it is searched from disk without a network."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import ROOT
from tests.publish.browser import browser, chromium

DOCS = ROOT / "docs"
CONFIG = ROOT / "mkdocs.yml"
PARTS = ["Home", "Tutorials", "How-to", "Explanation", "Reference"]


def places(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from places(inner)


def test_every_page_has_one_place_in_one_of_four_parts() -> None:
    nav = yaml.safe_load(CONFIG.read_text())["nav"]
    assert [next(iter(part)) for part in nav] == PARTS
    assert sorted(places(nav)) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    for part, folder in (("Tutorials", "tutorials/"), ("How-to", "how-to/")):
        assert all(place.startswith(folder) for place in places(nav[PARTS.index(part)]))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"(?s)```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text) if "://" not in link]
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.slow
def test_the_site_is_searched_from_disk_and_asks_no_network(tmp_path: Path) -> None:
    if not (ROOT / ".venv-docs" / "bin" / "mkdocs").exists():
        pytest.skip("make docs sets up what builds the site")
    if chromium() is None:
        pytest.skip("needs Chromium (tests/setup_browser.sh)")
    command = [".venv-docs/bin/mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, timeout=240).returncode == 0
    with browser() as context:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "index.html").as_uri())
        page.fill("input.md-search__input", "krippendorff")
        page.wait_for_selector(".md-search-result__item", timeout=60_000)
        assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
