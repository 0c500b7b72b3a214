"""The comparisons of a run: its table, and the fit of them with the ratings. Makes no call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.core.tables import ANNOTATIONS, COMPARISONS, conformed, part, write_parquet
from dprm_data.preference.comparison_scale import STEPS
from dprm_data.preference.comparisons import Comparisons, UtilityFit, fit_comparisons
from dprm_data.preference.fitting import Fit
from dprm_data.preference.pairs import group_numbers
from dprm_data.runs.folder import RunFolder


def people_file(folder: RunFolder) -> Path:
    """People's comparisons, as they were read from the recipe's table."""
    return folder.path / "tables" / "people_comparisons.parquet"


def write_comparisons(
    folder: RunFolder, asked: Iterable[pa.RecordBatch | pa.Table] | None, reviewed: pa.Table | None = None
) -> int:
    """Write the run's comparisons: those of models, where they were asked for any, then people's, from the recipe's table and from a review. Returns their number; writes no table where there are none."""
    path, people = folder.table("comparisons"), people_file(folder)
    found = [pq.read_table(people, schema=COMPARISONS) if people.is_file() else None, reviewed]
    given = [table for table in found if table is not None and table.num_rows]
    if asked is None and not given:
        path.unlink(missing_ok=True)
        return 0
    return write_parquet(path, COMPARISONS, chain(asked or (), given))


def comparisons_in(folder: RunFolder) -> int:
    """How many times somebody was asked to compare in the run, with or without an answer: a set counts once."""
    if not folder.table("comparisons").is_file():
        return 0
    return int(_one_of_each_answer(_comparisons(folder, ["place"])).num_rows)


def _comparisons(folder: RunFolder, columns: list[str] | None = None) -> pa.Table:
    return pq.read_table(folder.needs("comparisons"), columns=columns, schema=COMPARISONS)  # an older one lacks some


def _one_of_each_answer(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(pc.fill_null(table["place"], 0), 0))


def judgements(folder: RunFolder, columns: list[str]) -> pa.Table:
    """The run's annotations, and its comparisons as annotations of the response that was shown first: for counts and costs, whatever was asked. A comparison has no label; those that follow from one answer are one."""
    table = pq.read_table(folder.needs("annotations"), columns=columns, schema=ANNOTATIONS)  # an older one lacks some
    if not folder.table("comparisons").is_file():
        return table
    compared = _one_of_each_answer(_comparisons(folder))
    compared = compared.rename_columns(
        ["item_id" if name == "first_item_id" else name for name in compared.column_names]
    )
    return pa.concat_tables([table, conformed(compared, part(ANNOTATIONS, columns))])


def judged_items(folder: RunFolder) -> int:
    """How many items have a vote or were compared."""
    table = pq.read_table(folder.needs("distributions"), columns=["item_id", "evidence"])
    found = pc.greater(table["evidence"], 0)
    if folder.table("comparisons").is_file():
        given = pq.read_table(folder.needs("comparisons"))
        given = given.filter(pc.is_valid(given["preference"]))
        for name in ("first_item_id", "second_item_id"):
            found = pc.or_(found, pc.is_in(table["item_id"], value_set=given[name].combine_chunks()))
    return int(pc.sum(found).as_py() or 0)


def joint_probabilities(folder: RunFolder) -> Floats | None:
    """The probabilities of all published pairs; None in a run without comparisons."""
    if not folder.table("comparisons").is_file():
        return None
    return np.asarray(pq.read_table(folder.needs("preferences"), columns=["probability"])["probability"].to_numpy())


@dataclass(frozen=True)
class Compared:
    """The comparisons of N items, fitted. fit: utilities, with ratings; data: the comparisons; annotators: their ids; kinds: the names of the kinds of annotators (human, persona, or persona and model); by (N,): annotators who compared the
    item, each half; rated (N,): whether it has ratings."""

    fit: UtilityFit
    data: Comparisons
    annotators: list[str]
    kinds: list[str]
    by: Floats
    rated: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

    @property
    def slope(self) -> float:
        """Reward per unit of utility; 1 where nothing was rated."""
        return self.fit.learned.reward.slope if self.fit.learned.reward else 1.0

    def scores(self, reward: Floats) -> Floats:
        """What responses are put in order by, (N,): the utility in rewards where there is one, else the reward."""
        return np.where(np.isnan(self.fit.mean), reward, self.slope * self.fit.mean)

    def basis(self, pairs: Ints) -> list[str]:
        """What is known of each of the pairs (P, 2): ratings, comparisons or both."""
        rated, compared = self.rated[pairs].any(axis=1), (self.by[pairs] > 0).any(axis=1) & self.fit.has(pairs)
        names = np.where(~compared, "ratings", np.where(rated, "both", "comparisons"))
        return [str(name) for name in names]


def compared_of(folder: RunFolder, fitted: Fit, human_weight: float = 1.0, *, active: bool = False) -> Compared | None:
    """Fit the run's comparisons, with its ratings as they were fitted. None where there are no comparisons with an answer. human_weight: what a person's answer counts for. active: the pairs
    that models compared were chosen for earlier answers, but for those of neighbours (`pipeline/active_pairs.py`)."""
    path = folder.table("comparisons")
    if not path.is_file():
        return None
    table = _comparisons(folder)
    table = table.filter(pc.and_(pc.equal(table["status"], "ok"), pc.is_valid(table["preference"])))
    ids = pa.array(fitted.votes.item_ids, pa.string())
    sides = [pc.index_in(table[name], value_set=ids) for name in ("first_item_id", "second_item_id")]
    there = pc.and_(*(pc.is_valid(side) for side in sides))
    table = table.filter(there)
    if not table.num_rows:
        return None
    first, second = (side.filter(there).to_numpy().astype(np.int64) for side in sides)
    kinds, kind = _codes(_kinds(table))
    model = pc.coalesce(table["model_id"], "")
    who, annotator = _codes(pc.binary_join_element_wise(table["annotator_kind"], model, table["annotator_id"], "\0"))
    of = np.zeros(len(who), dtype=np.int64)
    of[annotator] = kind
    ordered = np.zeros(len(who), dtype=bool)
    ordered[annotator] = table["ordered"].to_numpy(zero_copy_only=False).astype(bool)
    group = group_numbers(pq.read_table(folder.needs("items"), columns=["group_id"])["group_id"])
    data = Comparisons(
        group=group,
        first=first,
        second=second,
        annotator=annotator,
        answer=table["preference"].to_numpy().astype(np.int64),
        steps=table["steps"].to_numpy().astype(np.int64),
        weight=_weights(table, kind) * np.where([kinds[i] == "human" for i in kind], human_weight, 1.0),
        kind=of,
        ordered=ordered,
        reply=_replies(table, annotator),
        probs=_step_probs(table, path),
        chosen=_chosen(group, first, second) & (np.array(kinds)[kind] != "human") if active else None,
    )
    _check(data, path)
    kept = np.flatnonzero(data.weight > 0)
    if not len(kept):
        return None
    data = data.take(kept)
    rated = np.asarray(fitted.evidence > 0)
    reward, error = (np.where(rated, each, np.nan) for each in (fitted.expected_reward, fitted.reward_error))
    fit = fit_comparisons(data, reward, error, fitted.level)
    names = [name.split("\0")[2] for name in who]
    return Compared(fit, data, names, kinds, _half_votes(data), rated)


def _kinds(table: pa.Table) -> pa.ChunkedArray:
    """Whose order effect is learned together: human, persona, or where there are several models, persona and the model."""
    persona = pc.equal(table["annotator_kind"], "persona")
    if len(pc.unique(table["model_id"].filter(persona))) < 2:
        return table["annotator_kind"]
    played = pc.binary_join_element_wise("persona", pc.coalesce(table["model_id"], ""), ": ")
    return pc.if_else(persona, played, table["annotator_kind"])


def _replies(table: pa.Table, annotator: Ints) -> Ints | None:
    """The answer that each comparison follows from, (C,); None where each has one of its own. annotator (C,)."""
    if table["set_id"].null_count == table.num_rows:
        return None
    who, replicate, row = (
        pa.array(numbers).cast(pa.string())
        for numbers in (annotator, pc.fill_null(table["replicate"], 0).combine_chunks(), np.arange(table.num_rows))
    )
    return _codes(pc.coalesce(pc.binary_join_element_wise(table["set_id"], who, replicate, "\0"), row))[1]


def _step_probs(table: pa.Table, path: Path) -> Floats | None:
    """The probabilities of the steps -3 … 3 in every answer, (C, 7); None where each is one step. Raises `InputError` for what is no distribution over the steps."""
    if table["step_probs"].null_count == table.num_rows:
        return None
    found = np.zeros((table.num_rows, 7))
    columns = (table[name].to_pylist() for name in ("steps", "preference", "step_probs"))
    for row, (steps, preference, probs) in enumerate(zip(*columns, strict=True)):
        most = min(steps // 2, 3)
        at = [3 + k for k in range(-most, most + 1) if k or steps % 2]
        if probs is None:
            found[row, np.clip(3 + preference, 0, 6)] = 1.0
        elif len(probs) == len(at) and None not in probs and min(probs) >= 0 and abs(sum(probs) - 1) < 1e-3:
            found[row, at] = np.array(probs) / sum(probs)
        else:
            raise InputError(
                f"{path}: step_probs of a comparison are no probabilities of its {steps} steps (row {row + 1} of those that count)",
                hint="Delete the file, and dprm run writes it again.",
            )
    return found


def _check(data: Comparisons, path: Path) -> None:
    """Check a table that another program may have written. Raises `InputError`."""
    wrong = {
        "a number of steps that is not known": ~np.isin(data.steps, STEPS),
        "a preference beyond its steps": (np.abs(data.answer) > data.steps // 2)
        | ((data.answer == 0) & (data.steps % 2 == 0)),
        "responses to different prompts": data.group[data.first] != data.group[data.second],
        "a response compared with itself": data.first == data.second,
        "a weight that is not a finite number from 0": ~(np.isfinite(data.weight) & (data.weight >= 0)),
    }
    for what, rows in wrong.items():
        if rows.any():
            raise InputError(
                f"{path}: a comparison has {what} (row {int(np.argmax(rows)) + 1} of those that count)",
                hint="Delete it, and dprm run writes it again.",
            )


def _chosen(group: Ints, first: Ints, second: Ints) -> NDArray[np.bool_]:
    """Which pairs are not of a response and the next one of its prompt, (C,)."""
    place = np.empty(len(group), dtype=np.int64)
    place[np.argsort(group, kind="stable")] = np.arange(len(group))
    return np.asarray(np.abs(place[first] - place[second]) != 1)


def _codes(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """The distinct values in ascending order, and each row's number: which rows come first changes nothing."""
    names = sorted(pc.unique(column).to_pylist())
    return names, pc.index_in(column, value_set=pa.array(names, pa.string())).to_numpy().astype(np.int64)


def _weights(table: pa.Table, kind: Ints) -> Floats:
    """Every comparison's weight; of each kind of annotators they sum to the effective number of votes."""
    weight = np.asarray(pc.fill_null(table["weight"], 1.0).to_numpy().astype(np.float64))
    total, squares = (np.bincount(kind, values) for values in (weight, weight**2))
    return np.asarray(weight * np.divide(total, squares, out=np.ones_like(total), where=squares > 0)[kind])


def _half_votes(data: Comparisons) -> Floats:
    """How many annotators compared each item, (N,): by weight, each counted half, so that a pair that is compared by ten people has ten votes."""
    item = np.concatenate([data.first, data.second])
    key = item * (int(data.annotator.max()) + 1) + np.tile(data.annotator, 2)
    once = np.unique(key, return_index=True)[1]
    halves = 0.5 * np.tile(data.weight, 2)[once]
    return np.bincount(item[once], halves, minlength=len(data.group)).astype(np.float64)
