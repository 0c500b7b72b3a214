"""Splits: which items are for training and which are held out, without a leak between them.

There are two seeded splits, both by a hash, so that they are the same on every machine and new data never moves old data from test to training. Published
datasets use the first and trainings of reward models the second, and both must find their splits again: neither rule may change.

*A run's items* (`split_items`) are split by *conversation*: all items whose prompts open with the same system message and the same first user turn (upper and lower
case and white space aside), so that neither two responses to one prompt nor two stages of one conversation are in different splits. One hash of the seed and the
opening decides: below the share `test` it is for testing, in the next share for validation. If no hash is below the share, the smallest is taken, so that a small
dataset has a test split too; the largest is always for training. A split column in the source takes precedence.

*Rows that come without splits* (`hold_out_groups`: a Parquet file, someone else's dataset) are split by *group*, the responses to one prompt; their conversations
may not be known. Each split has a hash of its own, so that a dataset that brings a test split but no validation split can be given the other. Each held-out split has
at least one group if there are three or more.

Folds for cross-validation (`folds`) are random, by group.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import PublishError
from dprm_data.ingest.items import Item, items_of
from dprm_data.recipe.recipe import PublishConfig

TRAIN, VALIDATION, TEST = "train", "validation", "test"


# -- items, by conversation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Splits:
    """names: in the order in which they are published; elsewhere: the items outside the first one, by their split.

    counts: items per split; how: a sentence for the card; moved: items that moved to another split than their source's, because
    their conversation is there.
    """

    names: list[str]
    elsewhere: dict[str, str]
    counts: dict[str, int]
    how: str
    moved: int = 0

    def of(self, item_id: str) -> str:
        return self.elsewhere.get(item_id, self.names[0])


def split_items(items_file: Path, config: PublishConfig, column: str | None = None) -> Splits:
    """The splits of the stored items: by the source's column where there is one, else seeded.

    Raises `PublishError` where an item has no value in the column, or one that cannot name a split.
    """
    if column:
        return _by_column(items_file, column)
    return _seeded(items_file, config)


def _seeded(items_file: Path, config: PublishConfig) -> Splits:
    place: dict[str, float] = {}
    conversations: list[tuple[str, str]] = []
    for item in _items(items_file):
        opening = _opening(item)
        conversations.append((item.item_id, opening))
        if opening not in place:
            place[opening] = _fraction("split", config.seed, opening)
    smallest, largest = min(place.values()), max(place.values())

    def split(opening: str) -> str:
        at = place[opening]
        if at == largest:
            return TRAIN
        if config.test and (at < config.test or at == smallest):
            return TEST
        return VALIDATION if at < config.test + config.validation else TRAIN

    how = f"seeded ({config.seed}), {len(place):,} conversations, none of which is in two splits"
    return _splits([(item_id, split(opening)) for item_id, opening in conversations], how)


def _by_column(items_file: Path, column: str) -> Splits:
    """By the source's own column. A conversation in several of the source's splits moves whole into the smallest of them."""
    rows: list[tuple[str, str, str]] = []
    for item in _items(items_file):
        rows.append((item.item_id, _opening(item), _name(item, column)))
    sizes = Counter(name for _, _, name in rows)
    place: dict[str, str] = {}
    for _, opening, name in rows:
        if opening not in place or (sizes[name], name) < (sizes[place[opening]], place[opening]):
            place[opening] = name
    moved = sum(place[opening] != name for _, opening, name in rows)
    how = f"as the source's column `{column}` says"
    if moved:
        how += f"; {moved:,} items follow their conversation into a smaller split, so that none is in two"
    return _splits([(item_id, place[opening]) for item_id, opening, _ in rows], how, moved)


def _splits(rows: Iterable[tuple[str, str]], how: str, moved: int = 0) -> Splits:
    rows = list(rows)
    counts = Counter(name for _, name in rows)
    usual = [name for name in (TRAIN, VALIDATION, TEST) if name in counts]
    names = usual + sorted(name for name in counts if name not in usual)
    elsewhere = {item_id: name for item_id, name in rows if name != names[0]}
    return Splits(names, elsewhere, {name: counts[name] for name in names}, how, moved)


def _name(item: Item, column: str) -> str:
    value = item.metadata.get(column)
    name = str(value).strip().lower().replace("-", "_").replace(" ", "_") if value is not None else ""
    if not name.isidentifier():
        found = f"{value!r}, which cannot name a split" if column in item.metadata else "no such column"
        raise PublishError(
            f"{item.source}: split_column {column!r}: found {found}",
            hint="Give every row a word such as train or test there, or remove source.split_column from the recipe.",
        )
    return {"val": VALIDATION, "dev": VALIDATION, "valid": VALIDATION}.get(name, name)


def _opening(item: Item) -> str:
    """A conversation's identity: the hash of its system message and first user turn."""
    turns = item.prompt
    end = next((i for i, turn in enumerate(turns) if turn["role"] == "user"), len(turns) - 1)
    opening = [[turn["role"], " ".join(turn["content"].casefold().split())] for turn in turns[: end + 1]]
    return hashlib.sha256(orjson.dumps(opening)).hexdigest()


def _items(items_file: Path) -> Iterator[Item]:
    with pq.ParquetFile(items_file) as file:
        for group in range(file.num_row_groups):
            yield from items_of(file.read_row_group(group))


# -- rows without splits, by group --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldOut:
    """What a training held out of data without splits: the shares of the groups, and the seed. Reward models and policies record it, so that later stages train and test on the right prompts."""

    test: float = 0.1
    validation: float = 0.1
    seed: int = 0

    @classmethod
    def of(cls, recorded: Mapping[str, Any] | None) -> HeldOut:
        """From a training's record; defaults for what it lacks."""
        known = recorded or {}
        return cls(**{part.name: known[part.name] for part in fields(cls) if part.name in known})


def hold_out_groups(named: NDArray[np.str_], groups: NDArray[np.str_], held_out: HeldOut) -> NDArray[np.str_]:
    """The split (N,) of rows in these splits and groups (N,): test and validation get their share of the training groups, unless the data has them already."""
    splits = named
    for name, share in ((TEST, held_out.test), (VALIDATION, held_out.validation)):
        if name not in named.tolist():
            splits = _moved(splits, groups, name, share, held_out.seed)
    return splits


def _moved(splits: NDArray[np.str_], groups: NDArray[np.str_], name: str, share: float, seed: int) -> NDArray[np.str_]:
    """The splits with a share of the training groups moved to `name`."""
    training = np.unique(groups[splits == TRAIN]).tolist()
    if share <= 0 or len(training) < 3:
        return splits
    place = {group: _fraction(name, seed, group) for group in training}
    held = {group for group, at in place.items() if at < share} or {min(place, key=place.__getitem__)}
    return np.where(np.isin(groups, list(held)) & (splits == TRAIN), name, splits.astype("<U10"))


def folds(groups: Sequence[str], count: int, seed: int) -> Ints:
    """A random fold for every item; items of one group share it."""
    names, group = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return np.asarray((order % max(2, min(count, len(names))))[group], dtype=np.int64)


def _fraction(name: str, seed: int, key: str) -> float:
    """A hash as a number in [0, 1)."""
    return int(hashlib.sha256(f"{name}\0{seed}\0{key}".encode()).hexdigest()[:12], 16) / 16**12
