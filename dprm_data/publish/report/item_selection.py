"""Which items a report shows with their texts: all of a small run; of a large one the most divided, the worst fitting, and a random sample, each with
the other responses to its prompt.

The page stays small however many items there are: texts are cut, and items left out, until everything fits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.text import cut
from dprm_data.preference.pairs import group_numbers

if TYPE_CHECKING:
    from dprm_data.preference.fitting import Fit
    from dprm_data.runs.run import Run

MOST_ITEMS = 2_000
BUDGET = 4 << 20  # bytes of texts and figures
_PROMPT, _RESPONSE, _EARLIER = 1_000, 1_600, 300  # characters: of the last turn of each, and of an earlier one
_TURNS = 8  # of a prompt, and of a response: the last ones
_SIDE_BY_SIDE = 8  # responses to a prompt that come with the one that was chosen
_MOST_VALUES = 20  # of a column that items are grouped by
_MOST_COLUMNS = 6


def chosen(fit: Fit, worst: Ints) -> Ints:
    """The rows to show, the most important first."""
    N = len(fit)
    judged = np.where(fit.evidence > 0, fit.disagreement, -1.0)
    divided = np.argsort(-judged, kind="stable")
    if N <= MOST_ITEMS:
        return divided
    ends = np.argsort(fit.expected_reward, kind="stable")
    some = np.random.default_rng(0).choice(N, MOST_ITEMS, replace=False)
    parts = [divided[: MOST_ITEMS * 6 // 10], worst[: MOST_ITEMS // 20], ends[:100], ends[-100:], some]
    ranked = np.concatenate(parts)
    _, first = np.unique(ranked, return_index=True)
    kept = ranked[np.sort(first)[:MOST_ITEMS]]
    # Interleave quarters of each kind: what does not fit on the page is then missing from all kinds alike.
    rest = kept[len(parts[0]) :]
    mixed = [np.concatenate([a, b]) for a, b in zip(np.array_split(parts[0], 4), np.array_split(rest, 4), strict=True)]
    return np.asarray(np.concatenate(mixed))


def with_siblings(rows: Ints, groups: Sequence[str]) -> Ints:
    """These rows, each with the first other rows of its group (responses to one prompt) after it."""
    number = group_numbers(groups)
    order = np.argsort(number, kind="stable")
    start = np.searchsorted(number[order], np.arange(int(number.max(initial=-1)) + 2))
    seen: dict[int, None] = {}
    for row in rows.tolist():
        if len(seen) >= MOST_ITEMS:
            break
        group = number[row]
        siblings = order[start[group] : min(start[group + 1], start[group] + _SIDE_BY_SIDE)]
        if row not in seen:
            seen |= dict.fromkeys(sorted({row, *siblings.tolist()}))
    return np.fromiter(seen, dtype=np.int64)


@dataclass(frozen=True)
class ShownItems:
    """The items to show, with short keys to keep the page small.

    prompts: t turns as (role, text), h number of earlier turns that are left out, n number of its responses in the run.
    rows: i id, g number of its prompt, r turns of the response, d distribution and v votes per mille, e expected reward, l and h its interval, s disagreement,
    n votes, f p-value of the fit, c role, m values of the columns.
    """

    prompts: list[dict[str, Any]]
    rows: list[dict[str, Any]]


def shown_items(run: Run, fit: Fit, rows: Ints, p_values: dict[int, float], columns: list[str]) -> ShownItems:
    """What the page shows of these rows, the most important first, as far as there is room."""
    groups = pq.read_table(run.folder.needs("items"), columns=["group_id"])["group_id"]
    sizes = Counter(groups.to_pylist())
    rows = with_siblings(rows, groups.to_pylist())
    number: dict[str, int] = {}
    prompts: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    size, texts = 0, _texts(run, rows)
    for row in rows.tolist():
        item, votes = texts[row], fit.votes.counts[row]
        metadata = orjson.loads(item["metadata"] or "{}")
        if item["group_id"] not in number:
            number[item["group_id"]] = len(prompts)
            left_out = max(len(item["prompt"]) - _TURNS, 0)
            turns = _turns(item["prompt"][left_out:], _EARLIER, _PROMPT)
            prompts.append({"t": turns, "h": left_out, "n": sizes[item["group_id"]]})
            size += len(orjson.dumps(prompts[-1]))
        entry = {
            "i": item["item_id"],
            "g": number[item["group_id"]],
            "r": _turns(item["completion"][-_TURNS:], _EARLIER, _RESPONSE),
            "d": _mille(fit.distribution[row]),
            "v": _mille(votes),
            "e": round(float(fit.expected_reward[row]), 3),
            "l": round(float(fit.reward_low[row]), 2),
            "h": round(float(fit.reward_high[row]), 2),
            "s": round(float(fit.disagreement[row]), 3),
            "n": round(float(fit.evidence[row]), 1),
            "f": round(p_values[row], 3) if row in p_values else None,
            "c": item["role"],
            "m": [_value(metadata.get(column)) for column in columns],
        }
        size += len(orjson.dumps(entry))
        if size > BUDGET:
            break
        found.append(entry)
    return ShownItems(prompts, found)


def _turns(messages: list[dict[str, str]], earlier: int, last: int) -> list[tuple[str, str]]:
    """Role and text of every message, cut to so many characters."""
    ends = [earlier] * (len(messages) - 1) + [last]
    return [(message["role"], cut(message["content"], end)) for message, end in zip(messages, ends, strict=False)]


def _mille(shares: Floats) -> list[int]:
    total = shares.sum()
    return [round(1000 * share / total) for share in shares.tolist()] if total > 0 else []


def _texts(run: Run, rows: Ints) -> dict[int, dict[str, Any]]:
    """These rows of the items, read one row group at a time."""
    found: dict[int, dict[str, Any]] = {}
    columns = ["item_id", "group_id", "prompt", "completion", "role", "metadata"]
    with pq.ParquetFile(run.folder.needs("items")) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = rows[(rows >= start) & (rows < end)]
            if len(here):
                table = file.read_row_group(group, columns=columns).take(pa.array(here - start))
                found |= dict(zip(here.tolist(), table.to_pylist(), strict=True))
            start = end
    return found


def groupings(run: Run) -> dict[str, list[str | None]]:
    """The columns by which items can be grouped, with every item's value: chosen or rejected, and the source's own columns that have 2 to 20
    different short values."""
    items = pq.read_table(run.folder.needs("items"), columns=["role", "metadata"])
    found: dict[str, list[str | None]] = {}
    if pc.count_distinct(items["role"], mode="only_valid").as_py() > 1:
        found["role"] = items["role"].to_pylist()
    texts = items["metadata"].to_pylist()
    known: dict[str, list[str | None]] = {}
    for i, text in enumerate(texts):
        for column, value in orjson.loads(text or "{}").items():
            if column not in known and i < 1_000:
                known[column] = [None] * len(texts)
            if column in known:
                known[column][i] = _value(value)
                if i == 1_000 and len(set(known[column])) > _MOST_VALUES:
                    del known[column]
    for column, values in known.items():
        if 2 <= len({value for value in values if value is not None}) <= _MOST_VALUES and len(found) < _MOST_COLUMNS:
            found[column] = values
    return found


def _value(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict | list) or len(str(value)) > 60 else str(value)
