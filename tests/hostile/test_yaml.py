"""YAML texts that grow, nest or count beyond all measure are refused in a sentence, and quickly; honest aliases work."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dprm_data.core import yamlfile
from dprm_data.core.errors import DprmError, InputError
from dprm_data.core.yamlfile import parse_yaml
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.raking import read_margins
from dprm_data.recipe.recipe import Recipe
from dprm_trainers.core.settings import given_settings
from dprm_trainers.reward.reward_config import RewardConfig
from tests.helpers import ROOT, dprm, write_recipe


def laughs(levels: int, width: int = 9) -> str:
    """Every level repeats the one before it `width` times."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def merges(levels: int) -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


HOSTILE = {
    "laughs": laughs(12),
    "laughs as keys": laughs(12) + "? *a11\n: 1\n",
    "merges": merges(30),
    "self-merge": "a: &a\n  <<: *a\n  b: 1\n",
    "self-merge in a list": "a: &a\n  <<: [*a]\n",
    "cycle": "a: &a [*a]\n",
    "longer cycle": "a: &a\n  b: &b\n    - c: *a\n",
    "cycle as a key": "&a ? *a\n: 1\n",
    "lists": "a: " + "[" * 900 + "]" * 900 + "\n",
    "deeper lists": "a: " + "[" * 200_000 + "]" * 200_000 + "\n",
    "mappings": "\n".join(" " * n + "a:" for n in range(900)) + "\n",
    "dashes": "a:\n" + "- " * 5000 + "x\n",
    "integer": "seed: " + "9" * 5000 + "\n",
    "hexadecimal": "seed: 0x" + "f" * 1_000_000 + "\n",
    "sexagesimal": "seed: 1" + ":59" * 100_000 + "\n",
    "integer of 65 bits": f"seed: {2**64}\n",
    "date": "name: 2024-99-99\n",
    "Python": "name: !!python/object/apply:os.system [echo]\n",
    "unhashable key": "? [a, b]\n: 1\n",
    "unknown alias": "a: *nobody\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "NUL": "a: \0\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_in_a_sentence(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^file\.yaml") as refused:
        parse_yaml(text, InputError, "file.yaml")
    assert time.monotonic() - began < 5
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("text", [HOSTILE[name] for name in ("laughs", "merges", "self-merge", "lists", "integer")])
def test_without_the_loader_in_c(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfile, "_Loader", yaml.SafeLoader)
    with pytest.raises(InputError, match=r"^file\.yaml"):
        parse_yaml(text, InputError, "file.yaml")


def _settings(path: Path) -> Any:
    return given_settings(RewardConfig, path, {"seed": 1})


DOORS: dict[str, Callable[[Path], Any]] = {
    "recipe": Recipe.load,
    "labels": LabelSpace.load,
    "panel": lambda path: load_panel(path.name, base=path.parent),
    "margins": read_margins,
    "settings": _settings,
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS.keys())
@pytest.mark.parametrize("text", [laughs(12), "a: &a\n  <<: *a\n"], ids=["laughs", "self-merge"])
def test_every_door_refuses_it(door: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(DprmError, match="alias"):
        door(path)


def test_no_other_door() -> None:
    """Nothing but core/yamlfile parses YAML."""
    parse = re.compile(r"yaml\.(safe_load|load|compose|parse|full_load)")
    files = [path for folder in ("dprm_data", "trainers") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in files if parse.search(path.read_text()) and path.name != "yamlfile.py"] == []


@pytest.mark.parametrize(
    "command", [["plan", "bomb.yaml"], ["labels", "show", "bomb.yaml"], ["panel", "show", "bomb.yaml"]]
)
def test_commands_end_in_a_sentence(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "bomb.yaml").write_text(laughs(12))
    done = dprm(*command, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "bomb.yaml: aliases" in done.stderr
    assert "Traceback" not in done.stderr


def test_honest_aliases_and_merges_work(tmp_path: Path) -> None:
    text = "base: &base {input: 1, output: 2}\none: *base\ntwo:\n  <<: *base\n  output: 3\nthree: *base\n"
    price = {"input": 1, "output": 2}
    assert parse_yaml(text, InputError, "x") == {
        "base": price,
        "one": price,
        "two": price | {"output": 3},
        "three": price,
    }
    path = write_recipe(tmp_path)
    path.write_text(path.read_text() + "limits: &l {rpm: 5}\nbudget: {max_cost: 1}\n")
    assert Recipe.load(path).limits.rpm == 5


def test_numbers_that_fit_are_read() -> None:
    text = "[0, -1, 1_000, 0x1f, 0b101, 0777, 18446744073709551615, 190:20:30, 1e3]"
    assert parse_yaml(text, InputError, "x") == yaml.safe_load(text)


@pytest.mark.slow
def test_a_large_file_without_aliases_is_read() -> None:
    entries = "\n".join(f"- {{id: p{n}, weight: {n}}}" for n in range(60_000))
    assert len(parse_yaml(entries, InputError, "x")) == 60_000
