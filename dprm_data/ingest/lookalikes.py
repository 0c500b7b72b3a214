"""Items whose texts equal another's but for white space: said, not merged, since an item's id counts every character."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.arrays import Ints
from dprm_data.core.conversation import Message
from dprm_data.core.message_parts import identity


class Lookalikes:
    """Finds them by a hash of their texts: 8 bytes for each item."""

    def __init__(self) -> None:
        self._marks = array("q")

    def add(self, prompt: Iterable[Message], completion: Iterable[Message]) -> None:
        """The next item that is stored."""
        parts = (tuple(map(_likeness, part)) for part in (prompt, completion))
        self._marks.append(hash(tuple(parts)))

    def found(self, items_file: Path, most: int) -> tuple[int, list[tuple[str, str]]]:
        """How many equal one that stands before them, and the sources of the first few with that one's."""
        marks = np.frombuffer(self._marks, np.int64)
        order = np.argsort(marks, kind="stable")
        same = marks[order[1:]] == marks[order[:-1]]
        pairs = np.stack([order[1:][same], order[:-1][same]], axis=1)
        shown = pairs[np.argsort(pairs[:, 0])][:most]
        return len(pairs), _sources(items_file, shown) if len(shown) else []


def _likeness(message: Message) -> tuple[str, str, str]:
    more = str(identity(message).get("parts", "")) if "original" in message else ""  # calls, results, media
    return message["role"], " ".join(message["content"].split()), more


def _sources(items_file: Path, pairs: Ints) -> list[tuple[str, str]]:
    column = pq.read_table(items_file, columns=["source"])["source"]
    later, earlier = (column.take(pa.array(places)).to_pylist() for places in pairs.T)
    return list(zip(later, earlier, strict=True))
