"""Training data: rows of prompt, response and target distribution, in splits, from a run folder, a Parquet file or the
Hub.

Needs no torch. The data is checked here, before a model is loaded; every error names the file and the first row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import DprmError
from dprm_data.core.extras import extra
from dprm_data.ingest.messages import BadRow, read_conversation
from dprm_data.ingest.splits import HeldOut, hold_out_groups
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.pairs import preferred_pairs, random_pairs
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.group_rows import Raters, VotesTable, named, of_group, votes_by_group
from dprm_trainers.data.group_votes import GroupVotes

Message = dict[str, str]
Split = Literal["train", "validation", "test"]
Labels = str | int | dict[str, Any] | LabelSpace

_NEEDED = ("prompt", "completion", "label_distribution")
_SUM_WITHIN = 1e-3  # of a distribution from 1: the tables hold float32


@dataclass(frozen=True)
class Rows:
    """N responses.

    prompts, completions: message lists. groups: (N,), equal for responses to one prompt. target: (N, K) distributions.
    evidence: (N,), the votes behind each. votes: (N, K), the weighted counts of labels; None if the table has none.
    items: (N,), their ids; None if the table has none.
    of_groups: how groups of people voted on the same responses, where it was asked for.
    """

    prompts: list[list[Message]]
    completions: list[list[Message]]
    groups: NDArray[np.str_]
    target: Floats
    evidence: Floats
    votes: Floats | None = None
    items: NDArray[np.str_] | None = None
    of_groups: GroupVotes | None = None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, index: Ints) -> Rows:
        chosen = index.tolist()
        return Rows(
            [self.prompts[i] for i in chosen],
            [self.completions[i] for i in chosen],
            self.groups[index],
            self.target[index],
            self.evidence[index],
            self.votes[index] if self.votes is not None else None,
            self.items[index] if self.items is not None else None,
            self.of_groups.take(index) if self.of_groups is not None else None,
        )


@dataclass(frozen=True)
class TrainingData:
    """Rows in splits on one label space. how: a description of the split."""

    space: LabelSpace
    splits: dict[Split, Rows]
    how: str
    source: str

    def split(self, name: Split) -> Rows:
        """The split's rows. Raises `TrainingDataError` if it is empty."""
        rows = self.splits.get(name)
        if rows is None or not len(rows):
            sizes = ", ".join(f"{split} {len(found)}" for split, found in self.splits.items())
            raise TrainingDataError(
                f"{self.source}: the {name} split is empty ({sizes}; {self.how})",
                hint="Give more data, or change the share or seed of the split.",
            )
        return rows


def load_data(
    reference: str | Path,
    *,
    labels: Labels | None = None,
    test: float = 0.1,
    validation: float = 0.1,
    seed: int = 0,
    group: str | None = None,
    group_heads: str | None = None,
    votes: VotesTable | None = None,
) -> TrainingData:
    """Rows from a run folder, a Parquet file (schema `DISTRIBUTIONS`; `labels` names its label space) or a dataset on
    the Hub.

    Existing splits are kept: a published dataset's own, the recipe's for a run folder. Otherwise `test` and
    `validation` are shares of the *prompts*, held out by a hash of seed and prompt: the same on every machine, and no
    prompt is in two splits.

    group: attribute=value of those who voted, for that group's distributions. group_heads: an attribute, for the
    votes of each of its groups beside everyone's distributions. votes: the table of people's votes behind a Parquet file or
    dataset, which says who is in which group; a run folder knows it (`dprm_trainers.data.group_rows`).

    Raises `TrainingDataError`.
    """
    path = Path(reference)
    if is_run_folder(path):
        space, table, splits = _from_run(path)
    elif path.suffix == ".parquet" or path.exists():
        space, table, splits = None, _read_parquet(path), None
    else:
        space, table, splits = _from_hub(str(reference))
    source = str(reference)
    if labels is not None:
        space = LabelSpace.load(labels)
    if space is None:
        raise TrainingDataError(
            f"{source} does not name the label space of its distributions",
            hint="Give labels: a bundled name (hh6), a number of levels, or a YAML file.",
        )
    if group is not None:
        attribute, value = named(group)
        table, kept = of_group(Raters.read(reference, space, attribute, votes), table, value)
        splits = [splits[i] for i in kept] if splits else None
    rows = checked_rows(table, space, source)
    if group_heads is not None:
        rows = replace(rows, of_groups=votes_by_group(Raters.read(reference, space, group_heads, votes), table))
    return _split(rows, splits, space, source + (f", {group}" if group else ""), test, validation, seed)


# -- where rows come from ----------------------------------------------------------------------------------------------


def _from_run(path: Path) -> tuple[LabelSpace, pa.Table, list[str] | None]:
    from dprm_data.runs.run import Run

    run = Run.open(path)
    table = pq.read_table(run.folder.needs("distributions"))
    splits = run.splits()
    return run.space, table, [splits.of(item) for item in table["item_id"].to_pylist()]


_NO_PARQUET = (
    "Of a table of ratings make a run first (annotators: people in its recipe), and give its folder. Pairs train with "
    "--objective ordinal, utility or bt, and are evaluated with --pairs."
)


def _read_parquet(path: Path) -> pa.Table:
    files = [path] if path.is_file() else sorted(path.glob("*.parquet")) if path.is_dir() else []
    if not files:
        problem = "no such file" if not path.exists() else "a folder with neither recipe.yaml nor Parquet files"
        raise TrainingDataError(
            f"{path}: {problem}", hint="Give a run folder, a Parquet file, or owner/name on the Hub."
        )
    try:
        return pa.concat_tables([pq.read_table(file) for file in files])
    except (pa.ArrowInvalid, OSError) as error:
        if path.suffix != ".parquet":
            raise TrainingDataError(f"{path} is not a Parquet file", hint=_NO_PARQUET) from error
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error


def _from_hub(repo: str) -> tuple[LabelSpace | None, pa.Table, list[str] | None]:
    with extra("hub", what="a dataset on the Hub"):
        from datasets import load_dataset

    try:
        found = load_dataset(repo, "default")
        parts = [(str(name), split.with_format("arrow")[:]) for name, split in found.items()]
    except (OSError, ValueError) as error:
        raise TrainingDataError(
            f"{repo}: neither a file here nor a dataset on the Hub with a config `default` ({error})",
            hint="Give a run folder, a Parquet file, or owner/name of a dataset that dprm published.",
        ) from error
    space = None
    try:
        texts = load_dataset(repo, "run", split="train")
        content = next((row["content"] for row in texts if row["name"] == "label_space.json"), None)
        described = json.loads(content) if content else None
        space = LabelSpace.load(described) if isinstance(described, dict) else None  # never a path of this machine
    except (OSError, ValueError, DprmError):
        pass  # not published by dprm: `labels` must name the label space
    named = [name for name, table in parts for _ in range(table.num_rows)]
    return space, pa.concat_tables([table for _, table in parts], promote_options="default"), named


# -- checks ------------------------------------------------------------------------------------------------------------


def checked_rows(table: pa.Table, space: LabelSpace, source: str) -> Rows:
    """The table's rows. Raises `TrainingDataError` for a missing column, an invalid distribution, or an empty text."""
    for name in _NEEDED:
        if name not in table.column_names:
            raise TrainingDataError(
                f"{source} has no column {name!r} (found: {', '.join(table.column_names)})",
                hint="Give a table as `dprm run` writes it: tables/distributions.parquet.",
            )
    if not table.num_rows:
        raise TrainingDataError(f"{source} has no rows")
    completions = [_messages(row, source, i, "completion") for i, row in enumerate(table["completion"].to_pylist())]
    prompts = [_messages(row, source, i, "prompt") for i, row in enumerate(table["prompt"].to_pylist())]
    target = _distributions(table["label_distribution"].to_pylist(), space, source)
    names = table.column_names
    groups = table["group_id"].to_pylist() if "group_id" in names else [None] * len(prompts)
    evidence = table["evidence"].to_pylist() if "evidence" in names else [1.0] * len(prompts)
    return Rows(
        prompts,
        completions,
        np.array([group or digest(prompt) for group, prompt in zip(groups, prompts, strict=True)]),
        target,
        np.array([1.0 if value is None else value for value in evidence], dtype=np.float64),
        _votes(table, space.K),
        np.array(table["item_id"].to_pylist(), dtype=np.str_) if "item_id" in names else None,
    )


def _votes(table: pa.Table, K: int) -> Floats | None:
    """The column `votes`, where every row has one for each label."""
    votes = table["votes"].to_pylist() if "votes" in table.column_names else [None]
    return None if any(row is None or len(row) != K for row in votes) else np.array(votes, dtype=np.float64)


def _messages(value: Any, source: str, row: int, column: str) -> list[Message]:
    if value and isinstance(value[0], str):  # published as JSON: messages with more than a text
        try:
            value = read_conversation([json.loads(turn) for turn in value], column)
        except (ValueError, RecursionError, BadRow) as error:
            raise TrainingDataError(f"{source}, row {row + 1}: {error}") from error
    turns = [{"role": turn["role"], "content": turn["content"]} for turn in value or [] if turn]
    if column == "completion" and not any((turn["content"] or "").strip() for turn in turns):
        raise TrainingDataError(f"{source}, row {row + 1}: the completion is empty")
    if any(not isinstance(turn["content"], str) or not turn["role"] for turn in turns):
        raise TrainingDataError(f"{source}, row {row + 1}: {column} has a turn without role or text")
    return turns


def _distributions(values: Sequence[Any], space: LabelSpace, source: str) -> Floats:
    lengths = [len(value) if value is not None else 0 for value in values]
    wrong = next((i for i, length in enumerate(lengths) if length != space.K), None)
    if wrong is not None:
        raise TrainingDataError(
            f"{source}, row {wrong + 1}: a distribution over {lengths[wrong]} labels, "
            f"but the label space {space.name} has {space.K}",
            hint="Data and model must be on the same label space; `labels` names that of a Parquet file.",
        )
    target = np.array(values, dtype=np.float64)
    for bad, what in (
        (~np.isfinite(target).all(axis=1), "has a probability that is not finite"),
        ((target < -1e-6).any(axis=1), "has a negative probability"),
        (np.abs(target.sum(axis=1) - 1) > _SUM_WITHIN, "does not sum to 1"),
    ):
        if bad.any():
            row = int(bad.argmax())
            shown = ", ".join(f"{value:.4g}" for value in target[row])
            raise TrainingDataError(
                f"{source}, row {row + 1}: the distribution {what}: [{shown}] ({int(bad.sum())} such rows)",
                hint="Fit the votes again: dprm ratings fit.",
            )
    target = np.clip(target, 0.0, None)
    return np.asarray(target / target.sum(axis=1, keepdims=True))


def digest(prompt: list[Message]) -> str:
    """A hash that identifies a prompt if the data has no group ids."""
    return hashlib.sha256(json.dumps(prompt).encode()).hexdigest()[:16]


# -- splits and pairs --------------------------------------------------------------------------------------------------


OWN_SPLITS = "as the data says"  # how data with splits of its own is split


def _split(
    rows: Rows, named: list[str] | None, space: LabelSpace, source: str, test: float, validation: float, seed: int
) -> TrainingData:
    where = np.array(named if named else ["train"] * len(rows))
    how = OWN_SPLITS if named else f"seeded ({seed}) by prompt"
    unknown = set(where.tolist()) - {"train", "validation", "test"}
    if unknown:
        how += f"; {', '.join(sorted(unknown))} left out"
    if named and "validation" not in named:
        how += ", a part of train held out as validation"
    where = hold_out_groups(where, rows.groups, HeldOut(test, validation, seed))
    splits = {name: rows.take(np.flatnonzero(where == name)) for name in get_args(Split)}
    return TrainingData(space, splits, how, source)


def preference_pairs(
    rows: Rows,
    rewards: Floats,
    *,
    within: Literal["group", "any"] = "group",
    each: int = 4,
    seed: int = 0,
    ties: bool = False,
) -> Ints:
    """Pairs of rows (P, 2), the one with the higher expected reward under `rewards` (K,) first; rows without votes
    are left out, and so are exact ties, unless they are asked for.

    within: `group` pairs responses to one prompt, as in a run's `preferences`. `any` pairs every row with `each` others at
    random: for data with one response per prompt, where "better" compares across prompts.
    """
    expected = np.where(rows.evidence > 0, rows.target @ rewards, np.nan)
    if within == "group":
        return preferred_pairs(rows.groups, expected, ties=ties)
    return random_pairs(expected, each, seed, ties=ties)
