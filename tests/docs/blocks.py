"""The fenced blocks of a page: what it shows, writes and runs.

A block with a title is a file that the reader writes. `<!-- not run: REASON -->` above a block says why a test leaves it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"""(?m)^(?:<!--\ not\ run:\ (?P<reason>[^>]+?)\ -->\n+)?^```(?P<language>[a-z]*)(?:\ title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    text: str
    reason: str | None  # why it is not run


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, from the first to the last."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(each["language"], each["title"], each["text"], each["reason"]) for each in found]
