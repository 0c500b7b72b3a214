"""What the answers say so far: labels, agreement, annotators, newest answers; from the annotations of a few items.

The items are those that are being asked about and a random sample of those that are done. Their annotations are read from the ledger as the run itself
reads them (`engine/annotations`); those of an item that is done are read once.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from dprm_data.core import charts
from dprm_data.core.arrays import Floats
from dprm_data.core.conversation import Messages, text_of
from dprm_data.core.errors import VotesError
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.core.text import cut, visible
from dprm_data.elicit.comparing import Comparing
from dprm_data.elicit.work import Work
from dprm_data.engine.annotations import annotation_batches
from dprm_data.ingest.items import Item
from dprm_data.ingest.ratings import ratings_from_annotations
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.ledger import Ledger
from dprm_data.live.item_front import ItemFront, Place
from dprm_data.panel.personas import Panel
from dprm_data.preference.agreement import annotators, krippendorff_alpha

Rows = list[dict[str, Any]]
Content = dict[str, Any]

SHOWN = 6  # items, with their newest answers
_ANSWERS = 5  # of an item
_AT_A_TIME = 400  # annotations: of the items that are being asked about, and of those that are read together
_SECONDS = 1.0  # to read items that are done, in one step
_MOST_TEXT = 4_000  # characters of a text
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class JudgedSample:
    """The annotations of a run's sample, brought up to date by `read`."""

    def __init__(self, work: Work, front: ItemFront) -> None:
        self._work, self._front = work, front
        self._items: dict[str, Item] = {}
        self._closed: dict[str, Rows] = {}  # of items that are done
        self._open: dict[str, Rows] = {}
        self.asked_each = max(work.annotations_per_item, 1)

    def read(self, ledger: Ledger) -> None:
        """Read what is new. Raises `DprmError`."""
        self._front.step(ledger)
        window = self._front.asked(max(1, _AT_A_TIME // self.asked_each))
        self._open = {place.item_id: rows for place, rows in self._annotated(ledger, window) if rows}
        wanted = [*self._front.latest, *self._front.sample]
        missing = [place for place in dict.fromkeys(wanted) if place.item_id not in self._closed]
        until = time.monotonic() + _SECONDS
        size = max(1, _AT_A_TIME // self.asked_each)
        for start in range(0, len(missing), size):
            for place, rows in self._annotated(ledger, missing[start : start + size]):
                self._closed[place.item_id] = rows
            if time.monotonic() > until:
                break
        kept = {place.item_id for place in wanted}
        self._closed = {id_: rows for id_, rows in self._closed.items() if id_ in kept}
        self._items = {id_: item for id_, item in self._items.items() if id_ in kept or id_ in self._open}

    def _annotated(self, ledger: Ledger, places: Sequence[Place]) -> Iterator[tuple[Place, Rows]]:
        """The annotations of these items, as far as they are answered."""
        self._items |= self._front.items([place for place in places if place.item_id not in self._items])
        items = [self._items[place.item_id] for place in places]
        rows: dict[str, Rows] = {place.item_id: [] for place in places}
        for batch in annotation_batches(self._work, ledger, items):
            for row in batch.to_pylist():
                rows[row["item_id"]].append(row)
        yield from ((place, rows[place.item_id]) for place in places)

    def content(self) -> Content:
        """As the page shows it."""
        sampled = [self._closed[place.item_id] for place in self._front.sample if place.item_id in self._closed]
        rows = [row for each in (*sampled, *self._open.values()) for row in each]
        names = names_of(self._work.panel)
        said = (
            f"{len(sampled):,} of {self._front.done:,}" if len(sampled) < self._front.done else f"all {len(sampled):,}"
        )
        return {
            "said": f"{said} items that are done"
            + (f", and {len(self._open):,} that are being asked" if self._open else ""),
            "items": self._shown(names),
        } | figures(rows, self._work.space, names)

    def _shown(self, names: Mapping[str, str]) -> list[Content]:
        """The items that were answered last, in the order of the run, so that each keeps its place while further answers come."""
        done = ((place.item_id, self._closed.get(place.item_id, [])) for place in self._front.latest)
        rows = {id_: found for id_, found in (*done, *self._open.items()) if found and id_ in self._items}
        latest = set(newest_first(rows))
        return [
            shown_item(rows[id_], names, self._work.space)
            | self._texts(id_)
            | {"of": self.asked_each, "done": id_ not in self._open}
            for id_ in reversed(rows)
            if id_ in latest
        ]

    def _texts(self, item_id: str) -> Content:
        item, asked = self._items[item_id], self._work.elicitation
        shown = asked.responses(item) if isinstance(asked, Comparing) else [item]
        return texts(item.prompt, [each.completion for each in shown])


def names_of(panel: Panel) -> dict[str, str]:
    """The annotators' names, by id."""
    return {persona.id: persona.said for persona in panel.personas} | {"population": "Population (stated)"}


def newest_first(rows: Mapping[str, Rows]) -> list[str]:
    """The items with the newest answers."""
    last = {id_: max(map(_time, each)) for id_, each in rows.items()}
    return heapq.nlargest(SHOWN, last, key=lambda id_: last[id_])


def _time(row: Mapping[str, Any]) -> datetime:
    """When an answer came; the distant past where that is not known, as of people's ratings."""
    return row["created_at"] or _LONG_AGO


def shown_item(rows: Rows, names: Mapping[str, str], space: LabelSpace) -> Content:
    """An item's answers as the page shows them: how they are distributed, and the newest."""
    latest = sorted(rows, key=_time, reverse=True)[:_ANSWERS]
    return {
        "id": rows[0]["item_id"],
        "shares": shares_of(rows, space),
        "answers": len(rows),
        "newest": [_answer(row, names, space) for row in latest],
    }


def _answer(row: Mapping[str, Any], names: Mapping[str, str], space: LabelSpace) -> Content:
    at: datetime | None = row["created_at"]
    return {
        "key": f"{row['annotator_id']} {row['model_id']} {row['replicate']}",
        "at": at and at.timestamp(),
        "who": names.get(row["annotator_id"], row["annotator_id"]),
        "model": row["model"],
        "label": space.names.index(row["label"]) if row["label"] in space.names else None,
        "status": row["status"],
        "why": _cut(row["rationale"] or (row["reason"] if row["status"] != "ok" else "") or ""),
    }


def figures(rows: Rows, space: LabelSpace, names: Mapping[str, str]) -> Content:
    """Labels, agreement and annotators of these annotations."""
    return {
        "annotations": len(rows),
        "labelled": sum(row["status"] == "ok" for row in rows),
        "labels": _labels(space),
        "shares": shares_of(rows, space),
        "mean": _mean_reward(rows, space),
        "by_model": {name: shares_of(each, space) for name, each in _by(rows, "model").items()},
        "agreement": _agreement(rows, space),
        "annotators": _annotators(rows, space, names),
    }


def _labels(space: LabelSpace) -> list[Content]:
    colours = charts.label_colours(space.rewards)
    return [
        {"name": label.said, "reward": label.reward, "colour": colour, "ink": charts.ink_on(colour)}
        for label, colour in zip(space.labels, colours, strict=True)
    ]


def shares_of(rows: Rows, space: LabelSpace) -> list[float] | None:
    """Each label's share (K,) of the weighted answers; an answer that is a distribution is split. None without answers."""
    total = _votes(rows, space)
    return None if total.sum() <= 0 else [round(float(share), 4) for share in total / total.sum()]


def _votes(rows: Rows, space: LabelSpace) -> Floats:
    place = {name: k for k, name in enumerate(space.names)}
    total: Floats = np.zeros(space.K)
    for row in rows:
        if row["status"] != "ok":
            continue
        if row["probs"]:
            total += row["weight"] * np.asarray(row["probs"])
        elif row["label"] in place:
            total[place[row["label"]]] += row["weight"]
    return total


def _mean_reward(rows: Rows, space: LabelSpace) -> float | None:
    shares = shares_of(rows, space)
    return None if shares is None else _rounded(float(np.asarray(shares) @ space.rewards))


def _by(rows: Rows, name: str) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(row[name] or "", []).append(row)
    return found


def _agreement(rows: Rows, space: LabelSpace) -> Content | None:
    """Krippendorff's alpha, and how many different annotators the panel is worth; None where no two answers can be compared."""
    try:
        ratings = ratings_from_annotations(pa.Table.from_pylist(rows, schema=ANNOTATIONS), space)
        if len(ratings) < 2:
            return None
        votes = ratings.votes()
        alpha = krippendorff_alpha(votes, space, "interval")
        if alpha is None:
            return None
        who = annotators(ratings, space)
    except VotesError:  # of other labels than the space's
        return None
    severity = {name: _rounded(value) for name, value in zip(who.annotator_ids, who.severity, strict=True)}
    return {
        "alpha": _rounded(alpha),
        "nominal": _rounded(krippendorff_alpha(votes, space, "nominal")),
        "effective": _rounded(who.effective_number),
        "of": len(who.annotator_ids),
        "severity": {name: value for name, value in severity.items() if value is not None},
    }


def _rounded(value: float | None) -> float | None:
    """To four digits, so that noise of the arithmetic is no change; None where it is not a number."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4) + 0.0


def _annotators(rows: Rows, space: LabelSpace, names: Mapping[str, str]) -> list[Content]:
    order = {name: i for i, name in enumerate(names)}
    found = sorted(_by(rows, "annotator_id").items(), key=lambda pair: (order.get(pair[0], len(order)), pair[0]))
    return [
        {
            "id": id_,
            "name": names.get(id_, id_),
            "answers": len(each),
            "labelled": sum(row["status"] == "ok" for row in each),
            "shares": shares_of(each, space),
        }
        for id_, each in found[:60]
    ]


def texts(prompt: Messages, responses: Iterable[Messages]) -> Content:
    """The last turn of a prompt, and responses to it."""
    return {
        "prompt": _cut(text_of(prompt[-1:]) if prompt else ""),
        "responses": [_cut(text_of(each)) for each in responses],
    }


def _cut(text: str) -> str:
    return visible(cut(text, _MOST_TEXT))
