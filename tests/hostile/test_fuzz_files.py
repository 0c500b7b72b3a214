"""Recipes, the files of pulled repositories and ledgers of any content are read or refused with a `DprmError`."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.core.errors import DprmError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.factory import open_store
from dprm_data.ledger.verify import check_ledger
from dprm_data.publish.hub import Marker
from dprm_data.publish.pulled import checked_manifest, data_files, standalone_recipe
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import Recipe
from tests.hostile.fuzzing import fuzzed

FIELDS = sorted({*Recipe.model_fields, *ProviderConfig.model_fields})
MANIFEST = [
    "fit",
    "settings",
    "sampling",
    "review",
    "calibration",
    "family",
    "labels",
    "counters",
    "published",
    "ledger",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        ["hh6", "paper", "choice", "openai", "beta", "runs/x", "../x", "/etc/passwd", "${HOME}", "postgresql://h/d"]
    )
)


def values(names: list[str]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from(names) | st.text(max_size=6)
    return st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


VALID = {"name": "a", "source": {"path": "pairs.jsonl"}, "provider": {"name": "openai", "model": "m"}}


@fuzzed
@given(st.dictionaries(st.sampled_from(FIELDS), values(FIELDS), max_size=4), st.booleans())
def test_recipes(changes: dict[str, Any], frozen: bool) -> None:
    text = yaml.safe_dump(VALID | changes, allow_unicode=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        with suppress(DprmError):
            Recipe.load(file, frozen=frozen)
        with suppress(DprmError):
            standalone_recipe(text, {})


@fuzzed
@given(st.binary(max_size=200) | st.text(alphabet="{}[]&*!|>-:,#%@'\"\\ \nab1.~<", max_size=60).map(str.encode))
def test_any_bytes_of_a_recipe(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_bytes(content)
        with suppress(DprmError):
            Recipe.load(file)


@fuzzed
@given(st.dictionaries(st.sampled_from(MANIFEST), values(MANIFEST), max_size=4) | values(MANIFEST))
def test_manifests(content: Any) -> None:
    with suppress(DprmError):
        checked_manifest(json.dumps(content), LabelSpace.load("hh6"))


@fuzzed
@given(values(["version", "files", "data/a.parquet", "hash", "kind", "sha256", "../x"]) | st.text(max_size=40))
def test_markers(content: Any) -> None:
    with suppress(DprmError):
        marker = Marker.read(content if isinstance(content, str) else json.dumps(content))
        if marker is not None:
            data_files(marker)


@fuzzed
@given(
    st.text(max_size=40) | st.text(alphabet="postgresql:/@?#[]&=%${}.abAB1 ", max_size=40).map("postgresql://".__add__)
)
def test_addresses_of_ledgers(text: str) -> None:
    with suppress(DprmError):
        LedgerAddress.parse(text)


@cache
def ledger_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        with closing(open_store(LedgerAddress.parse(str(file)))):
            pass
        return file.read_bytes()


@fuzzed
@given(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=30)), max_size=5),
    st.integers(0, 1 << 16),
)
def test_ledgers(changes: list[tuple[int, bytes]], cut: int) -> None:
    content = bytearray(ledger_bytes())
    for place, piece in changes:
        start = place % len(content)
        content[start : start + len(piece)] = piece
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.sqlite"
        file.write_bytes(content[: len(content) - cut % len(content)] if cut % 3 == 0 else content)
        with suppress(DprmError), closing(open_store(LedgerAddress.parse(str(file)))) as store:
            check_ledger(store)
