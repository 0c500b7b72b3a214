"""Where a run is among its items: how many are done, which are being asked about, and a random sample of those that are done.

A run takes its items in their order, so the first that are not done are the ones that are being asked about. Memory holds the ids of a few row groups
of the table, and the texts of the few items that are shown.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.elicit.work import Work
from dprm_data.ingest.items import Item, items_of
from dprm_data.ledger.ledger import Ledger
from dprm_data.runs.run_status import done_of

SAMPLE = 200  # items; fewer, where each has very many annotations
_MOST_ANNOTATIONS = 6_000  # of the sample
_LOOK_UP = 500  # items at a time
_SECONDS = 0.3  # to catch up, in one step
_LATEST = 12


class Place(NamedTuple):
    """An item of the table: its row group and its row there."""

    item_id: str
    group: int
    row: int


class ItemFront:
    """Follows the items of one table. done: those that need no further call, as far as it has looked; total: all."""

    def __init__(self, items: Path, work: Work) -> None:
        self._work = work
        self._most = max(20, min(SAMPLE, _MOST_ANNOTATIONS // max(work.annotations_per_item, 1)))
        self._file = pq.ParquetFile(items)
        self.total = self._file.metadata.num_rows
        self.done = 0
        self.latest: deque[Place] = deque(maxlen=_LATEST)  # the newest that are done
        self._next_group = 0
        self._waiting: list[Place] = []
        self._sample: list[tuple[int, Place]] = []  # a heap: the largest mark first
        self._loaded: tuple[int, pa.Table] | None = None

    def close(self) -> None:
        self._file.close()

    @property
    def sample(self) -> list[Place]:
        """Of the items that are done: all, or so many of them that every one had the same chance."""
        return [place for _, place in self._sample]

    def step(self, ledger: Ledger) -> None:
        """Look which items have been done since. Raises `LedgerError`."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            if len(self._waiting) < _LOOK_UP and self._next_group < self._file.num_row_groups:
                self._open_group()
            head = self._waiting[:_LOOK_UP]
            done = done_of(self._work, ledger, [place.item_id for place in head])
            self._finish([place for place in head if place.item_id in done])
            if len(done) < _LOOK_UP // 2:
                break

    def _finish(self, places: list[Place]) -> None:
        """Count these as done."""
        for place in places:
            self.done += 1
            self.latest.append(place)
            mark = -int(place.item_id[:15], 16)  # ids are hashes: the smallest are a random sample
            if len(self._sample) < self._most:
                heapq.heappush(self._sample, (mark, place))
            else:
                heapq.heappushpop(self._sample, (mark, place))
        if places:
            gone = set(places)
            self._waiting = [place for place in self._waiting if place not in gone]

    def asked(self, most: int) -> list[Place]:
        """The first items that are not done."""
        return self._waiting[:most]

    def items(self, places: Iterable[Place]) -> dict[str, Item]:
        """The items at these places, by id. Holds one row group."""
        found: dict[str, Item] = {}
        for place in sorted(places, key=lambda each: each.group):
            if self._loaded is None or self._loaded[0] != place.group:
                self._loaded = (place.group, self._file.read_row_group(place.group))
            found |= {item.item_id: item for item in items_of(self._loaded[1].slice(place.row, 1))}
        return found

    def _open_group(self) -> None:
        ids = self._file.read_row_group(self._next_group, columns=["item_id"])["item_id"].to_pylist()
        self._waiting += [Place(id_, self._next_group, row) for row, id_ in enumerate(ids)]
        self._next_group += 1
