"""The preferences of a run: pairs of responses to one prompt, the preferred one first, with how sure that is and how many people prefer it. Makes no call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core import tables
from dprm_data.core.arrays import Floats, Ints
from dprm_data.preference.coupling import TYPICAL
from dprm_data.preference.pair_shares import Coupling, Side, pair_shares
from dprm_data.preference.pairs import group_numbers, preferred_pairs, probabilities, surest
from dprm_data.recipe.preferences_config import PreferencesConfig
from dprm_data.runs.comparison_table import Compared

_BATCH = 10_000
_OF_PAIRS = tables.part(
    tables.DISTRIBUTIONS,
    ["item_id", *tables.FROM_ITEMS, "label_distribution", "expected_reward", "reward_error", "evidence"],
)
RATINGS = "ratings"


@dataclass(frozen=True)
class Preferences:
    """How the pairs are made. rewards (K,): of the labels; chosen: which pairs are kept; coupling: how one person's rewards of two responses go together; level: of the
    intervals; compared: what comparisons say of the responses; generator (N,): who made each response, None where nobody knows."""

    rewards: Floats
    chosen: PreferencesConfig = field(default_factory=PreferencesConfig)
    coupling: Coupling = TYPICAL
    level: float = 0.9
    compared: Compared | None = None
    generator: pa.ChunkedArray | None = None


@dataclass(frozen=True)
class PairCounts:
    """How many pairs were written, and how many were left out: with equal expected rewards, less probable than `min_probability`, closer than `min_margin`, beyond
    `pairs_per_prompt`."""

    written: int
    ties: int = 0
    improbable: int = 0
    close: int = 0
    surplus: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def published_coupling(manifest: dict[str, Any]) -> Coupling:
    """The coupling with which a run's preferences were written; the typical one for an older version's."""
    found = (manifest.get("preferences") or {}).get("coupling")
    return Coupling(**found) if found else TYPICAL


def left_out(manifest: dict[str, Any]) -> list[str]:
    """A sentence on the pairs that were not published; none if all were, or if an older version wrote them."""
    found = manifest.get("preferences") or {}
    reasons = {
        "ties": "with equal expected rewards",
        "improbable": "below preferences.min_probability",
        "close": "below preferences.min_margin",
        "surplus": "beyond preferences.pairs_per_prompt",
    }
    parts = [f"{found[name]:,} {words}" for name, words in reasons.items() if found.get(name)]
    return [f"Pairs that are not published: {', '.join(parts)}."] if parts else []


def write_preferences(distributions: Path, out: Path, how: Preferences) -> PairCounts:
    """Write the pairs of responses to one prompt (`preferred_pairs`), the one with the higher expected reward first.

    A response without votes has the prior's reward only, which is no preference: it is in no pair, unless it was compared. Where responses to a prompt were compared, they are in the order of their
    utilities. Texts are held in memory until all responses to their prompt
    have been read.
    """
    with pq.ParquetFile(distributions) as file:
        judged = file.read(columns=["group_id", "expected_reward", "evidence"])
        error = _error(file)
    reward = judged["expected_reward"].to_numpy().astype(np.float64)
    reward[judged["evidence"].to_numpy() <= 0] = np.nan
    pairs, counts = _selected(judged["group_id"], reward, error, how)
    tables.write_parquet(out, tables.PREFERENCES, _tables(distributions, judged["group_id"], pairs, how))
    return counts


def _error(file: pq.ParquetFile) -> Floats:
    """The posterior standard deviation of every item's expected reward; NaN in a table of an older version."""
    if "reward_error" not in file.schema_arrow.names:
        return np.full(file.metadata.num_rows, np.nan)
    column = file.read(columns=["reward_error"])["reward_error"]
    return np.asarray(column.to_numpy().astype(np.float64))


def _selected(groups: pa.ChunkedArray, reward: Floats, error: Floats, how: Preferences) -> tuple[Ints, PairCounts]:
    chosen = how.chosen
    score = how.compared.scores(reward) if how.compared else reward
    pairs = preferred_pairs(groups, score, ties=True)
    margin = score[pairs[:, 0]] - score[pairs[:, 1]]
    probability = np.nan_to_num(probabilities(reward, error**2, pairs), nan=1.0)
    if how.compared:
        joint = how.compared.fit.has(pairs)
        probability[joint] = how.compared.fit.probability(pairs[joint])
    tie = (margin == 0) & (not chosen.ties)
    improbable = ~tie & (probability < chosen.min_probability)
    close = ~tie & ~improbable & (margin < chosen.min_margin)
    kept = np.flatnonzero(~(tie | improbable | close))
    surplus = 0
    if chosen.pairs_per_prompt is not None:
        best = surest(groups, pairs[kept], probability[kept], margin[kept], chosen.pairs_per_prompt)
        surplus = len(kept) - len(best)
        kept = kept[best]
    return pairs[kept], PairCounts(len(kept), int(tie.sum()), int(improbable.sum()), int(close.sum()), surplus)


def _tables(distributions: Path, groups: pa.ChunkedArray, pairs: Ints, how: Preferences) -> Iterator[pa.Table]:
    pairs, complete = _in_order_of_completion(pairs, groups)
    needed_until = np.full(len(groups), -1)
    needed_until[pairs] = complete[:, None]
    held: list[tuple[Ints, pa.RecordBatch]] = []  # row numbers, ascending, and their texts
    end = written = 0
    with pq.ParquetFile(distributions) as file:
        columns = [name for name in _OF_PAIRS.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=columns, batch_size=_BATCH):
            held.append((np.arange(end, end + batch.num_rows), batch))
            end += batch.num_rows
            ready = int(np.searchsorted(complete, end))
            for start in range(written, ready, _BATCH):
                yield _pair_table(held, pairs[start : min(start + _BATCH, ready)], how)
            written = ready
            held = [still for rows, texts in held if (still := _still_needed(rows, texts, needed_until[rows] >= end))]


def _in_order_of_completion(pairs: Ints, groups: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """The pairs (P, 2) by the last row of their group, and that row (P,)."""
    group = group_numbers(groups)
    last = np.zeros(len(group), dtype=np.int64)
    np.maximum.at(last, group, np.arange(len(group)))
    complete = last[group[pairs[:, 0]]]
    order = np.argsort(complete, kind="stable")
    return pairs[order], complete[order]


def _still_needed(rows: Ints, texts: pa.RecordBatch, needed: NDArray[np.bool_]) -> tuple[Ints, pa.RecordBatch] | None:
    """What is still needed of held texts; copied only when that frees at least half of them."""
    if needed.mean() > 0.5:
        return rows, texts
    return (rows[needed], texts.filter(pa.array(needed))) if needed.any() else None


def _pair_table(held: list[tuple[Ints, pa.RecordBatch]], pairs: Ints, how: Preferences) -> pa.Table:
    wanted, place = np.unique(pairs, return_inverse=True)
    parts = []
    for rows, texts in held:
        start, stop = np.searchsorted(wanted, [rows[0], rows[-1] + 1])
        if start < stop:
            parts.append(texts.take(pa.array(np.searchsorted(rows, wanted[start:stop]))))
    found = tables.conformed(pa.Table.from_batches(parts), _OF_PAIRS).combine_chunks()
    chosen, rejected = (found.take(pa.array(side)) for side in place.reshape(-1, 2).T)
    columns = {
        "group_id": chosen["group_id"],
        "prompt": chosen["prompt"],
        "chosen": chosen["completion"],
        "rejected": rejected["completion"],
        **_joined(_figures(found, place.reshape(-1, 2), how), pairs, how.compared),
        "chosen_distribution": chosen["label_distribution"],
        "rejected_distribution": rejected["label_distribution"],
        "prompt_original": chosen["prompt_original"],
        "chosen_original": chosen["completion_original"],
        "rejected_original": rejected["completion_original"],
    }
    for side, rows in zip(("chosen", "rejected"), pairs.T, strict=True):
        made = how.generator
        columns[f"{side}_generator"] = pa.nulls(len(rows), pa.string()) if made is None else made.take(pa.array(rows))
    for name in ("item_id", *tables.ORIGIN):
        columns |= {f"chosen_{name}": chosen[name], f"rejected_{name}": rejected[name]}
    return pa.table(columns).select(tables.PREFERENCES.names).cast(tables.PREFERENCES)


def _figures(rows: pa.Table, pairs: Ints, how: Preferences) -> dict[str, Any]:
    """The columns that say how sure a preference is, of pairs (P, 2) of these rows. Null where the distributions do not say how exact they are (an older version's)."""
    reward = rows["expected_reward"].to_numpy().astype(np.float64)
    error = rows["reward_error"].to_numpy().astype(np.float64)
    shares = rows["label_distribution"].combine_chunks().flatten().to_numpy().astype(np.float64)
    shares = shares.reshape(len(rows), -1)
    votes = rows["evidence"].to_numpy().astype(np.float64)
    first, second = pairs.T
    found = pair_shares(
        Side(shares[first], error[first]), Side(shares[second], error[second]), how.rewards, how.coupling, how.level
    )
    columns = {
        "probability": probabilities(reward, error**2, pairs),
        "share": found.share,
        "share_low": found.low,
        "share_high": found.high,
        "tie": found.tie,
    }
    unknown = np.isnan(error[first] + error[second])
    return {
        "margin": reward[first] - reward[second],
        **{name: pa.array(values, pa.float32(), mask=unknown) for name, values in columns.items()},
        "votes": votes[first] + votes[second],
        "basis": pa.array([RATINGS] * len(pairs)),
    }


def _joined(figures: dict[str, Any], pairs: Ints, compared: Compared | None) -> dict[str, Any]:
    """The figures of pairs (P, 2), with those of the comparisons and ratings together where responses were compared."""
    joint = np.flatnonzero(compared.fit.has(pairs)) if compared else ()
    if compared is None or not len(joint):
        return figures
    here = pairs[joint]
    found = dict(zip(("share", "share_low", "share_high", "tie"), compared.fit.shares(here), strict=True))
    found["probability"] = compared.fit.probability(here)
    found["margin"] = compared.slope * compared.fit.differences(here)[0]
    columns = dict(figures)
    for name, values in found.items():
        column = np.array(pa.array(figures[name]).to_numpy(zero_copy_only=False), dtype=np.float64)
        column[joint] = values
        columns[name] = pa.array(column, pa.float32(), mask=np.isnan(column))
    columns["votes"] = figures["votes"] + compared.by[pairs].sum(axis=1)
    columns["basis"] = pa.array(compared.basis(pairs))
    return columns
