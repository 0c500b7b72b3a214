"""What coding agents read: llms.txt is current, and what AGENTS.md shows works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dprm_data import Recipe
from tests.helpers import ROOT

AGENTS = (ROOT / "AGENTS.md").read_text(encoding="utf-8")


def test_llms_txt_is_current() -> None:
    namespace: dict[str, object] = {"__file__": str(ROOT / "docs" / "render_llms.py"), "__name__": "render_llms"}
    exec(Path(str(namespace["__file__"])).read_text(encoding="utf-8"), namespace)
    index = namespace["index"]
    assert callable(index)
    assert (ROOT / "llms.txt").read_text(encoding="utf-8") == index(), "run python docs/render_llms.py"


@pytest.mark.parametrize("name", ["AGENTS.md", "llms.txt", "SECURITY.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if not (ROOT / link).is_file()]


def test_the_recipe_of_the_page_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", AGENTS, re.DOTALL)
    assert Recipe.model_validate(yaml.safe_load(text)).budget.max_cost == 5


def test_the_program_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", AGENTS, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    exec(text, namespace)
    files = re.findall(r"`((?:tables/)?[a-z_]+\.(?:yaml|json|parquet|md))`", AGENTS, re.IGNORECASE)
    files = [file for file in files if not file.startswith(("pairs", "AGENTS"))]
    assert len(files) >= 6
    assert not [file for file in files if not (tmp_path / "runs" / "trial" / file).is_file()]
