"""Pairs of responses to one prompt, as people see them: which are chosen, which response comes first, and what is asked.

Which response comes first is a coin of the seed and the pair. A pair's key holds the order and the number of possible answers, so an answer says by itself what it is about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.elicit.side_by_side import answer_space
from dprm_data.ingest.comparison_rows import preference_of
from dprm_data.ingest.messages import BadRow
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.pairs import ALL_PAIRS_UP_TO, pairs_within
from dprm_data.review.selection import check_count

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

What = Literal["items", "pairs"]  # that people see
PURPOSES = ("divided", "uncertain", "random", "ids")


@dataclass(frozen=True)
class ShownPair:
    """Two responses, by their items' ids, in the order in which they are shown. steps: number of possible answers."""

    first: str
    second: str
    steps: int

    @property
    def key(self) -> str:
        return f"{self.first}:{self.second}:{self.steps}"

    @classmethod
    def of(cls, key: str) -> ShownPair | None:
        """The pair with this key; None if it is none, as an item's id is not."""
        match key.split(":"):
            case [first, second, "2" | "3" | "7" as steps]:
                return cls(first, second, int(steps))
        return None

    @property
    def sides(self) -> frozenset[str]:
        return frozenset((self.first, self.second))

    @property
    def space(self) -> LabelSpace:
        """The possible answers; the reward of each is its preference for the first."""
        return answer_space(self.steps)

    def label(self, said: str) -> str | None:
        """The name of the answer that was given by its name, in words (A, B, tie) or as a preference; None if it is none of the possible ones."""
        if (index := self.space.find(said)) is not None:
            return self.space.names[index]
        try:
            preference = preference_of(said, "")
        except BadRow:
            return None
        rewards = self.space.rewards.tolist()
        return self.space.names[rewards.index(preference)] if preference in rewards else None


@dataclass(frozen=True)
class PairRecord:
    """A pair with its texts: messages with role and content."""

    pair: ShownPair
    prompt: list[dict[str, str]]
    first: list[dict[str, str]]
    second: list[dict[str, str]]


def default_of(run: Run) -> What:
    """What people see of a run unless somebody says otherwise: pairs, where it has nothing but comparisons."""
    recipe = run.recipe
    only_compared = bool(recipe.comparisons) and not run.asks_models and recipe.ratings is None
    return "pairs" if run.compares or only_compared else "items"


def choose_pairs(
    run: Run, purpose: str, count: int, *, seed: int = 0, ids: Sequence[str] = (), already: Collection[ShownPair] = ()
) -> list[ShownPair]:
    """Choose pairs so that, with those `already` under review, there are `count`.

    purpose: divided (people's shares are closest to each other), uncertain (it is least certain which is better), both of the published pairs; random (of all pairs of up to 8 responses to a prompt); ids: the
    pairs of the prompts or responses whose ids begin so. A greater count with the same seed only adds pairs. Raises `InputError`.
    """
    if purpose not in PURPOSES:
        raise InputError(f"--select {purpose} is for items", hint=f"For pairs: {', '.join(PURPOSES)}.")
    if ids and purpose != "ids":
        raise InputError(f"--id and --select {purpose} cannot be combined", hint="Use --select ids with --id.")
    check_count(count)
    found = _published(run, purpose, seed) if purpose in ("divided", "uncertain") else _all(run, seed)
    if purpose == "ids":
        found, count = _of_ids(run, found, ids), len(found) + len(already)
    if not found:
        raise InputError(f"{run.folder} has no two responses to one prompt", hint="There is nothing to compare.")
    seen = {pair.sides for pair in already}
    fresh = [sides for sides in found if frozenset(sides) not in seen]
    return [_shown(sides, seed, run.recipe.compare.steps) for sides in fresh[: max(0, count - len(already))]]


def _shown(sides: tuple[str, str], seed: int, steps: int) -> ShownPair:
    first, second = sorted(sides)
    return ShownPair(second, first, steps) if _draw("order", seed, sides)[-1] & 1 else ShownPair(first, second, steps)


def _draw(what: str, seed: int, sides: tuple[str, str]) -> bytes:
    return hashlib.sha256("\0".join([what, str(seed), *sorted(sides)]).encode()).digest()


def _all(run: Run, seed: int) -> list[tuple[str, str]]:
    """All pairs, in an order that is drawn."""
    table = pq.read_table(run.folder.needs("items"), columns=["item_id", "group_id"])
    ids = table["item_id"].to_pylist()
    pairs = [(ids[a], ids[b]) for a, b in pairs_within(table["group_id"], ALL_PAIRS_UP_TO)]
    return sorted(pairs, key=lambda sides: _draw("which", seed, sides))


def _published(run: Run, purpose: str, seed: int) -> list[tuple[str, str]]:
    """The published pairs, the most divided or the least certain first."""
    path = run.folder.needs("preferences")
    names = ["chosen_item_id", "rejected_item_id", "probability", "share", "tie"]
    if not set(names) <= set(pq.read_schema(path).names):
        raise InputError(
            f"an older version wrote the pairs of {run.folder}", hint=f"Fit them again: dprm ratings fit {run.folder}"
        )
    table = pq.read_table(path, columns=names)
    probability, share, tie = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in names[2:])
    worth: Floats = np.abs(2.0 * share + tie - 1.0) if purpose == "divided" else probability
    pairs = list(zip(table["chosen_item_id"].to_pylist(), table["rejected_item_id"].to_pylist(), strict=True))
    return [
        pairs[row] for row in sorted(range(len(pairs)), key=lambda row: (worth[row], _draw("which", seed, pairs[row])))
    ]


def _of_ids(run: Run, pairs: list[tuple[str, str]], wanted: Sequence[str]) -> list[tuple[str, str]]:
    if not wanted:
        raise InputError("--select ids needs --id, once per prompt or response")
    table = pq.read_table(run.folder.needs("items"), columns=["item_id", "group_id"])
    group = dict(zip(table["item_id"].to_pylist(), table["group_id"].to_pylist(), strict=True))
    found = []
    for beginning in dict.fromkeys(wanted):
        mine = [sides for sides in pairs if any(id_.startswith(beginning) for id_ in (*sides, group[sides[0]]))]
        if not mine:
            raise InputError(f"no pair has a prompt or response whose id begins with {beginning!r}")
        found += mine
    return list(dict.fromkeys(found))


def pair_records(run: Run, pairs: Sequence[ShownPair]) -> Iterator[PairRecord]:
    """These pairs with their texts."""
    wanted = pa.array(sorted({id_ for pair in pairs for id_ in pair.sides}), pa.string())
    texts: dict[str, dict[str, Any]] = {}
    with pq.ParquetFile(run.folder.needs("items")) as file:
        for batch in file.iter_batches(columns=["item_id", "prompt", "completion"]):
            for item in batch.filter(pc.is_in(batch.column("item_id"), wanted)).to_pylist():
                texts[item["item_id"]] = item
    for pair in pairs:
        first, second = texts[pair.first], texts[pair.second]
        yield PairRecord(pair, first["prompt"], first["completion"], second["completion"])


def response_text(messages: Sequence[dict[str, str]]) -> str:
    """A response as one text, with roles where it has several turns."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
