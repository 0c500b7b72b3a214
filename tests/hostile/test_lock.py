"""The lock has a hash for every version that the constraints name."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_every_constraint_is_locked_with_hashes() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    text = (ROOT / "constraints.lock").read_text().replace("\\\n", " ")
    locked = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = re.fullmatch(r"([\w.-]+)==([\w.+!-]+)\s*(;[^#]*?)?((\s+--hash=sha256:[0-9a-f]{64})+)\s*", line)
        assert found, line[:80]
        locked[name(found[1])] = found[2]
    assert {name(pin): locked.get(name(pin)) for pin in pins} == {name(pin): version for pin, version in pins.items()}
