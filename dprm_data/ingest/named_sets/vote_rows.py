"""The rows of a named set as they are read, and the long table that they become."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dprm_data.core.errors import VotesError
from dprm_data.core.text import one_line
from dprm_data.ingest.column_values import cell
from dprm_data.labels.space import LabelSpace

_OURS = ("item_id", "prompt", "response", "rater_id", "label", "weight", "replicate")


class VoteRows:
    """Collects votes. labels: the scale, set before the first vote. scale: the scale that the user wants, of a set whose questions have several."""

    def __init__(self, name: str, labels: LabelSpace | None, scale: str | None = None) -> None:
        self.labels = labels
        self.scale = scale
        self.notes: list[str] = []
        self._name = name
        self._items: dict[str, tuple[int, str, str]] = {}  # by id: its number and its texts
        self._numbers: list[int] = []
        self._raters: list[str | None] = []
        self._labels: list[int] = []
        self._weights: list[float] = []
        self._replicates: list[str] = []
        self._attributes: list[Mapping[str, Any]] = []
        self._judged: dict[tuple[int, str], tuple[int, str]] = {}  # how often a rater judged an item, and where last
        self._left_out: dict[str, tuple[int, str]] = {}  # by reason: how many, and where first

    def add(
        self,
        item_id: Any,
        prompt: str,
        response: str,
        label: Any,
        place: str,
        *,
        rater: Any = None,
        weight: float = 1.0,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """One vote, or `weight` votes that nobody's name is on. A vote that cannot be used is counted, with the place of the first."""
        assert self.labels is not None
        index = None if cell(label) is None else self.labels.find(str(label))
        item = str(item_id)
        number, *texts = self._items.get(item, (len(self._items), prompt, response))
        if cell(label) is None:
            self.leave_out("without a label", place)
        elif index is None:
            self.leave_out(f"the label {one_line(str(label), 40)!r} is not on the scale", place)
        elif not prompt.strip() or not response.strip():
            self.leave_out("without a text", place)
        elif texts != [prompt, response]:
            self.leave_out("an item with another text than before", place)
        elif weight > 0:  # nobody gave the other labels
            self._items[item] = (number, prompt, response)
            self._append(number, None if rater is None else str(rater), index, weight, attributes or {}, place)

    def _append(
        self, number: int, rater: str | None, label: int, weight: float, attributes: Mapping[str, Any], place: str
    ) -> None:
        times = 0
        if rater is not None:
            times, before = self._judged.get((number, rater), (0, ""))
            times += place != before  # several labels in one place are one judgement
            self._judged[number, rater] = (times, place)
        self._numbers.append(number)
        self._raters.append(rater)
        self._labels.append(label)
        self._weights.append(weight)
        self._replicates.append(str(times) if times > 1 else "")
        self._attributes.append(attributes)

    def leave_out(self, reason: str, place: str) -> None:
        """Count a row that is not used."""
        times, first = self._left_out.get(reason, (0, place))
        self._left_out[reason] = (times + 1, first)

    def table(self) -> tuple[pa.Table, tuple[str, ...], list[str]]:
        """The long table, the columns about raters, and the notes. Raises `VotesError` if there is no vote."""
        notes = [
            *self.notes,
            *(
                f"{n:,} row{'s'[: n != 1]} left out: {reason} (first: {first})"
                for reason, (n, first) in self._left_out.items()
            ),
        ]
        if not self._numbers or self.labels is None:
            raise VotesError(f"{self._name}: no votes were found", hint=" ".join(notes) or None)
        items = list(self._items)
        numbers = np.array(self._numbers, dtype=np.int64)
        texts = [pa.array([self._items[item][at] for item in items], pa.large_string()) for at in (1, 2)]
        columns: dict[str, pa.Array] = {
            "item_id": pa.array(items, pa.string()).take(numbers),
            "prompt": texts[0].take(numbers),
            "response": texts[1].take(numbers),
            "rater_id": pa.array(self._raters, pa.string()),
            "label": pa.array(self.labels.names, pa.string()).take(np.array(self._labels, dtype=np.int64)),
            "weight": pa.array(self._weights, pa.float64()),
        }
        if any(self._replicates):
            columns["replicate"] = pa.array(self._replicates, pa.string())
        named = list(dict.fromkeys(name for row in {id(row): row for row in self._attributes}.values() for name in row))
        about = {
            f"rater_{name}" if name in _OURS else name: _texts([row.get(name) for row in self._attributes])
            for name in named
        }
        about = {name: column for name, column in about.items() if column.null_count < len(column)}
        return pa.table(columns | about), tuple(about), notes


def _texts(values: list[Any]) -> pa.Array:
    return pa.array([None if cell(value) is None else str(cell(value)) for value in values], pa.string())


def text_id(*texts: str) -> str:
    """An id for an item of a set that has none: a hash of its texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def listed(texts: Mapping[str, str]) -> str:
    """Several responses as one text, each under its name: what people chose among."""
    return "\n\n".join(f"{name}:\n{text}" for name, text in texts.items())
