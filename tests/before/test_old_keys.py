"""The keys of calls have not changed, nor has what is sent: otherwise everybody's ledger would be worth nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.before.make_keys import Listener, annotate
from tests.before.saved import DATA, unpack

KNOWN = json.loads((DATA / "keys/keys.json").read_text())


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    listener = Listener()
    with listener.server:
        yield listener


@pytest.fixture(scope="module")
def folder(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack("keys", tmp_path_factory.mktemp("keys"), listener.server.url)


@pytest.mark.parametrize("name", KNOWN)
def test_same_calls(folder: Path, listener: Listener, name: str) -> None:
    found = annotate(folder, listener, name)
    assert found["keys"] == KNOWN[name]["keys"]
    assert found["sent"] == KNOWN[name]["sent"]


def test_there_is_something_to_compare() -> None:
    assert len(KNOWN) >= 21
    assert all(len(known["keys"]) >= 9 and known["sent"] for known in KNOWN.values())
    assert KNOWN["choice"] == KNOWN["choice-batch"], "how calls travel does not matter"
    assert KNOWN["choice"]["keys"] == KNOWN["choice-fleet"]["keys"]
