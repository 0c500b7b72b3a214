"""Prompts to train or evaluate a policy on, in the splits that a reward model's training makes of the same data.

A run folder is split as it would be published, a dataset on the Hub has its own splits, and anything else is split by a
hash of seed and prompt with the reward model's shares, as in `dprm_trainers.data.rows.load_data`: a prompt held out
there is held out here. A prompt in several splits belongs to the most held out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dprm_data.core.conversation import Messages
from dprm_data.core.errors import SourceError
from dprm_data.core.extras import extra
from dprm_data.ingest.columns import NAMES, detect
from dprm_data.ingest.items import load_items
from dprm_data.ingest.messages import BadRow, at_last_reply, prompt_messages, read_conversation
from dprm_data.ingest.sources import file_rows
from dprm_data.ingest.splits import HeldOut, hold_out_groups
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Message, digest
from dprm_trainers.data.tokens import template_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Overlong = Literal["error", "truncate", "drop"]

ALL = "all"  # the name for the prompts of all splits
_HELD_OUT_LEAST_FIRST = ("train", "validation", "test")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class Prompts:
    """P distinct prompts.

    ids: each one's group, as in the tables of a run. revision: the commit of a dataset on the Hub, else None. held_out:
    the shares they were split by.
    """

    messages: list[list[Message]]
    ids: list[str]
    source: str
    revision: str | None = None
    split: str = "train"
    held_out: tuple[HeldOut, ...] = ()

    def __len__(self) -> int:
        return len(self.messages)


@dataclass(frozen=True)
class EncodedPrompts:
    """Token ids of E prompts. rows: (E,), the index of each prompt. notes: what was cut or left out."""

    ids: list[list[int]]
    rows: list[int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    prompt: list[Message]
    group: str
    split: str | None  # None if the data has no splits


def load_prompts(
    data: str,
    *,
    split: str = "train",
    limit: int | None = None,
    held_out: Sequence[HeldOut] = (),
) -> Prompts:
    """The distinct prompts of a split of the data in its order, at most `limit`.

    data: a run folder; a file or folder of `.jsonl`, `.json`, `.csv` or `.parquet`, with or without responses; or
    `owner/name@revision:config` on the Hub, where revision and config are optional. split: train, validation, test,
    another split of the dataset on the Hub, or `all`. held_out: for data without splits, the holdouts of the trainings
    on it; a prompt is in a split if all of them put it there, so that none trains on what another holds out. Default:
    that of `load_data`.

    Raises `TrainingDataError` if there is no prompt, or for a row that cannot be read.
    """
    rows, revision = _read(data)
    prompts, groups, named = _distinct(rows)
    if not prompts:
        raise TrainingDataError(f"{data} holds no prompts")
    recorded = np.array([name or "train" for name in named])
    # As `load_data` splits the same rows, for each of the trainings.
    by_training = [hold_out_groups(recorded, np.array(groups), shares).tolist() for shares in held_out or [HeldOut()]]
    places = [set(at) for at in zip(*by_training, strict=True)]
    chosen = [i for i, at in enumerate(places) if split == ALL or at == {split}][:limit]
    if not chosen:
        raise TrainingDataError(
            f"{data}: the {split} split has no prompts ({_sizes(places)})",
            hint="Name another split; `all` takes every prompt.",
        )
    return Prompts([prompts[i] for i in chosen], [groups[i] for i in chosen], data, revision, split, tuple(held_out))


def _sizes(places: Iterable[set[str]]) -> str:
    """The number of prompts of each split, for messages."""
    counts = Counter(next(iter(at)) if len(at) == 1 else "in different splits" for at in places)
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _distinct(rows: Iterable[_Row]) -> tuple[list[list[Message]], list[str], list[str | None]]:
    """Every prompt once, with its group and split: of several splits the most held out."""
    at: dict[str, int] = {}
    prompts: list[list[Message]] = []
    groups: list[str] = []
    splits: list[str | None] = []
    for row in rows:
        key = digest(row.prompt)
        if key not in at:
            at[key] = len(prompts)
            prompts.append(row.prompt)
            groups.append(row.group)
            splits.append(row.split)
        elif row.split is not None and _held(row.split) > _held(splits[at[key]]):
            splits[at[key]] = row.split
    return prompts, groups, splits


def _held(split: str | None) -> int:
    """The rank of a split from train to test; an unknown name counts as train."""
    return _HELD_OUT_LEAST_FIRST.index(split) if split in _HELD_OUT_LEAST_FIRST else 0


# -- where prompts come from -------------------------------------------------------------------------------------------


def _read(data: str) -> tuple[Iterator[_Row], str | None]:
    path = Path(data)
    if is_run_folder(path):
        return _of_run(path), None
    hub = _HUB.fullmatch(data)
    if path.exists() or hub is None:
        return _of_files(path), None
    return _of_hub(hub["repo"], hub["revision"], hub["config"])


def _of_run(path: Path) -> Iterator[_Row]:
    from dprm_data.runs.run import Run

    run = Run.open(path)
    splits = run.splits()
    for item in load_items(run.folder.needs("items")):
        yield _Row(_plain(item.prompt), item.group_id, splits.of(item.item_id))


def _of_files(path: Path) -> Iterator[_Row]:
    try:
        for name, rows in file_rows(path):
            for position, row in rows:
                if isinstance(row, str):
                    raise TrainingDataError(f"{name}, row {position}: {row}")
                yield _row(row, f"{name}, row {position}")
    except SourceError as error:
        raise TrainingDataError(
            str(error).partition("\n")[0],
            hint="Give a run folder, a file of prompts (.jsonl, .csv, .parquet), or owner/name on the Hub.",
        ) from error


def _of_hub(repo: str, revision: str | None, config: str | None) -> tuple[Iterator[_Row], str | None]:
    with extra("hub", what="a dataset on the Hub"):
        from datasets import load_dataset

    try:
        found = load_dataset(repo, config, revision=revision)
    except Exception as error:  # the library raises nearly anything, from ValueError to requests' errors
        raise TrainingDataError(
            f"{repo} is neither a local file nor a readable dataset on the Hub ({type(error).__name__}: {error})",
            hint="Give a run folder, a file of prompts, or owner/name@revision:config of a dataset on the Hub.",
        ) from error
    return _of_splits(repo, found), _commit(repo, revision)


def _of_splits(repo: str, splits: Mapping[Any, Any]) -> Iterator[_Row]:
    for split, rows in splits.items():
        for position, row in enumerate(rows, start=1):
            found = _row(row, f"{repo}, {split}, row {position}")
            yield _Row(found.prompt, found.group, str(split))


def _commit(repo: str, revision: str | None) -> str | None:
    """The dataset's commit, for the card; None without network access."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(repo, revision=revision).sha
    except Exception:  # network errors have no common base class; the commit is optional
        return None


# -- a row's prompt ----------------------------------------------------------------------------------------------------


def _row(row: Mapping[str, Any], where: str) -> _Row:
    try:
        prompt = _plain(_with_system(row, _prompt_of(row)))
    except BadRow as error:
        raise TrainingDataError(
            f"{where}: {error}",
            hint="A row needs a column `prompt` (a text or messages) or `messages`.",
        ) from error
    if not prompt or not prompt[-1]["content"].strip():
        raise TrainingDataError(f"{where}: the prompt is empty")
    return _Row(prompt, row.get("group_id") or digest(prompt), None)


def _plain(messages: Messages) -> list[Message]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages]


def _prompt_of(row: Mapping[str, Any]) -> Messages:
    """The prompt: its column; else a conversation without its last reply; else the common start of two ranked ones."""
    for column in (name for tier in NAMES["prompt"] for name in tier):
        if row.get(column) is not None:
            return prompt_messages(row[column], column)
    for column in (name for tier in NAMES["messages"] for name in tier):
        if row.get(column) is not None:
            turns = read_conversation(row[column], column)
            return at_last_reply(turns)[0] if turns[-1]["role"] == "assistant" else turns
    try:
        return detect(list(row), {}, [], "").items(row, "")[0].prompt
    except SourceError as error:
        raise BadRow(f"no column holds a prompt (found: {', '.join(row)})") from error


def _with_system(row: Mapping[str, Any], prompt: Messages) -> Messages:
    for column in (name for tier in NAMES["system"] for name in tier):
        if isinstance(row.get(column), str) and row[column] and prompt and prompt[0]["role"] != "system":
            return ({"role": "system", "content": row[column]}, *prompt)
    return prompt


# -- as tokens ---------------------------------------------------------------------------------------------------------


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase, prompts: Prompts, max_length: int, *, overlong: Overlong = "error"
) -> EncodedPrompts:
    """Token ids of the prompts by the chat template, up to the start of the response, at most `max_length` each.

    overlong: for longer prompts, `error` raises `TrainingDataError`, `truncate` cuts the left but keeps a BOS token,
    and `drop` leaves them out; the notes count both.
    """
    found = EncodedPrompts([], [])
    longer = []
    for row, messages in enumerate(prompts.messages):
        ids = template_ids(tokenizer, messages, add_generation_prompt=True)
        if len(ids) > max_length:
            longer.append((row, len(ids)))
            if overlong == "drop":
                continue
            bos = ids[:1] if ids[0] == tokenizer.bos_token_id else []
            ids = bos + ids[len(ids) - (max_length - len(bos)) :]
        found.ids.append(ids)
        found.rows.append(row)
    if longer:
        _report(prompts, longer, max_length, overlong, found)
    return found


def _report(
    prompts: Prompts, longer: list[tuple[int, int]], max_length: int, overlong: Overlong, found: EncodedPrompts
) -> None:
    row, length = longer[0]
    problem = f"{len(longer)} of {len(prompts)} prompts are longer than {max_length} tokens"
    if overlong == "error":
        raise TrainingDataError(
            f"{prompts.source}: {problem} (the first: number {row + 1} of the {prompts.split} split, "
            f"{prompts.ids[row]}, {length} tokens)",
            hint="Raise max_prompt_length if the model reads more, or set overlong: truncate (keep the ends) or drop.",
        )
    if not found.ids:
        raise TrainingDataError(f"{prompts.source}: {problem}, and none is left", hint="Raise max_prompt_length.")
    action = "were left out" if overlong == "drop" else "were cut on the left"
    found.notes.append(f"{len(longer)} of {len(prompts)} prompts were longer than {max_length} tokens and {action}")
