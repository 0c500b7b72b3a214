"""Preference pairs to train on: a prompt, two responses, and the share of people who prefer the first.

They come from JSON lines or Parquet with the columns `prompt`, `chosen`, `rejected` (texts, `Human:/Assistant:` transcripts
or message lists; without `prompt`, what both conversations begin with), from a run's `preferences`, or from the Hub. The share
is that of `share` plus half of `tie` where the table has them, else `probability`, else 1: somebody preferred `chosen`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.extras import extra
from dprm_data.ingest.messages import BadRow, prompt_messages, read_reply
from dprm_data.ingest.splits import HeldOut, hold_out_groups
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Message, Split, digest

_HINT = "Give JSON lines or Parquet with prompt, chosen and rejected, a run with two responses to a prompt, or owner/name on the Hub."


@dataclass(frozen=True)
class PairRows:
    """P pairs. prompts, chosen, rejected: message lists. share: (P,), of people who prefer chosen, a tie half. groups: (P,)
    equal for one prompt."""

    prompts: list[list[Message]]
    chosen: list[list[Message]]
    rejected: list[list[Message]]
    share: Floats
    groups: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.share)

    def take(self, index: Ints) -> PairRows:
        sides = [[side[i] for i in index.tolist()] for side in (self.prompts, self.chosen, self.rejected)]
        return PairRows(sides[0], sides[1], sides[2], self.share[index], self.groups[index])

    def without(self, prompts: Iterable[list[Message]]) -> PairRows:
        """The pairs on other prompts."""
        held = {digest(prompt) for prompt in prompts}
        return self.take(np.flatnonzero([digest(prompt) not in held for prompt in self.prompts]))


def load_pairs(reference: str, *, test: float = 0.1, validation: float = 0.1, seed: int = 0) -> dict[Split, PairRows]:
    """The pairs in splits: the source's own (a run's, a dataset's), otherwise as `load_data` splits rows, by prompt.

    Raises `TrainingDataError`, which names the first bad row.
    """
    path = Path(reference)
    if is_run_folder(path):
        table, named = _of_run(path)
    elif path.exists() or path.suffix in (".parquet", ".jsonl", ".json"):
        table, named = _of_file(path), None
    else:
        table, named = _of_hub(reference)
    pairs = _checked(table, reference)
    where = np.array(named if named else ["train"] * len(pairs))
    where = hold_out_groups(where, pairs.groups, HeldOut(test, validation, seed))
    return {name: pairs.take(np.flatnonzero(where == name)) for name in get_args(Split)}


def are_pairs(reference: str) -> bool:
    """Whether this is a file of pairs, rather than of rows: JSON lines, or Parquet with `chosen` and without distributions."""
    path = Path(reference)
    if path.suffix in (".jsonl", ".json"):
        return path.is_file()
    if path.suffix != ".parquet" or not path.is_file():
        return False
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid):
        return False
    return "chosen" in names and "label_distribution" not in names


# -- where pairs come from ---------------------------------------------------------------------------------------------


def _of_run(path: Path) -> tuple[Iterator[dict[str, Any]], list[str]]:
    from dprm_data.runs.run import Run

    run = Run.open(path)
    table = pq.read_table(run.folder.needs("preferences"))
    splits = run.splits()
    return _rows(table), [splits.of(item) for item in table["chosen_item_id"].to_pylist()]


def _of_file(path: Path) -> Iterator[dict[str, Any]]:
    try:
        if path.suffix == ".parquet" or path.is_dir():
            files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
            return _rows(pa.concat_tables([pq.read_table(file) for file in files], promote_options="default"))
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read: {error}", hint=_HINT) from error
    return _lines(lines, path)


def _lines(lines: list[str], path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise TrainingDataError(f"{path}, line {number}: {error}", hint=_HINT) from error
            yield row if isinstance(row, dict) else {}


def _of_hub(repo: str) -> tuple[Iterator[dict[str, Any]], list[str]]:
    with extra("hub", what="a dataset on the Hub"):
        from datasets import get_dataset_config_names, load_dataset

    try:
        config = "preferences" if "preferences" in get_dataset_config_names(repo) else None
        found = load_dataset(repo, config)
        parts = [(str(name), split.with_format("arrow")[:]) for name, split in found.items()]
    except (OSError, ValueError) as error:
        raise TrainingDataError(
            f"{repo}: neither a file here nor a dataset on the Hub ({error})", hint=_HINT
        ) from error
    named = [name for name, table in parts for _ in range(table.num_rows)]
    return _rows(pa.concat_tables([table for _, table in parts], promote_options="default")), named


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


# -- checks ------------------------------------------------------------------------------------------------------------


def _checked(rows: Iterable[Mapping[str, Any]], source: str) -> PairRows:
    prompts, chosen, rejected, share, groups = [], [], [], [], []
    for number, row in enumerate(rows, 1):
        try:
            prompt, sides = _conversations(row)
            share.append(_share(row))
        except (BadRow, TypeError, ValueError) as error:
            raise TrainingDataError(f"{source}, pair {number}: {error}", hint=_HINT) from error
        prompts.append(prompt)
        chosen.append(sides[0])
        rejected.append(sides[1])
        groups.append(str(row.get("group_id") or digest(prompt)))
    if not prompts:
        raise TrainingDataError(f"{source} has no pairs", hint=_HINT)
    return PairRows(prompts, chosen, rejected, np.array(share), np.array(groups))


def _conversations(row: Mapping[str, Any]) -> tuple[list[Message], list[list[Message]]]:
    """The prompt and the two responses."""
    for name in ("chosen", "rejected"):
        if not row.get(name):
            raise BadRow(f"no {name!r}")
    read = [read_reply(row[name], name) for name in ("chosen", "rejected")]
    sides = [[{"role": turn["role"], "content": turn["content"]} for turn in messages] for messages, _ in read]
    if row.get("prompt"):
        prompt = [
            {"role": turn["role"], "content": turn["content"]} for turn in prompt_messages(row["prompt"], "prompt")
        ]
    elif all(whole for _, whole in read):
        prompt = _shared_beginning(*sides)
    else:
        raise BadRow("no 'prompt', and chosen and rejected are no whole conversations")
    replies = [
        side[len(prompt) :] if whole and len(side) > len(prompt) else side
        for side, (_, whole) in zip(sides, read, strict=True)
    ]
    for name, turns in (("prompt", prompt), ("chosen", replies[0]), ("rejected", replies[1])):
        if not turns or any(not isinstance(turn["content"], str) or not turn["content"].strip() for turn in turns):
            raise BadRow(f"{name} is empty, or has a turn without a text")
    return prompt, replies


def _shared_beginning(first: list[Message], second: list[Message]) -> list[Message]:
    shared = 0
    while shared < min(len(first), len(second)) - 1 and first[shared] == second[shared]:
        shared += 1
    return first[:shared]


def _share(row: Mapping[str, Any]) -> float:
    if row.get("share") is not None:
        share = float(row["share"]) + float(row.get("tie") or 0.0) / 2
    else:
        share = 1.0 if row.get("probability") is None else float(row["probability"])
    if not 0 <= share <= 1 + 1e-6:
        raise BadRow(f"a share of {share:g} is not between 0 and 1")
    return min(share, 1.0)
