"""Pairs, against loops that say what they are."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core import tables
from dprm_data.preference.pairs import marked_pairs, outcomes, pairs_within, preferred_pairs, random_pairs
from dprm_data.runs import preferences
from dprm_data.runs.dataset import pair_accuracy
from dprm_data.runs.preferences import PairCounts, Preferences, write_preferences

ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from([0.0, 1.0, 2.0, np.nan]), st.sampled_from(["chosen", "rejected", ""])
    ),
    max_size=40,
)


def members(groups: list[str], rows: list[int]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(groups[row], []).append(row)
    return list(found.values())


@settings(deadline=None)
@given(ROWS)
def test_pairs_are_those_of_plain_loops(rows: list[tuple[str, float, str]]) -> None:
    groups, reward = [row[0] for row in rows], np.array([row[1] for row in rows])
    everyone = list(range(len(rows)))

    preferred = []
    for group in members(groups, [row for row in everyone if not np.isnan(reward[row])]):
        ranked = sorted(group, key=lambda row: -reward[row])
        leaders = ranked if len(ranked) <= 8 else ranked[:1]
        preferred += [[a, b] for i, a in enumerate(leaders) for b in ranked[i + 1 :] if reward[a] > reward[b]]
    assert preferred_pairs(groups, reward).tolist() == preferred

    within = [list(pair) for group in members(groups, everyone) for pair in combinations(group[:5], 2)]
    assert pairs_within(groups, 5).tolist() == within

    role = np.array([row[2] for row in rows])
    marked = [
        [a, b]
        for a in everyone
        for b in everyone
        if groups[a] == groups[b] and (role[a], role[b]) == ("chosen", "rejected")
    ]
    assert sorted(marked_pairs(groups, role == "chosen", role == "rejected").tolist()) == marked


def test_random_pairs_are_different_and_the_better_comes_first() -> None:
    reward = np.random.default_rng(0).integers(0, 5, 200).astype(float)
    reward[:50] = np.nan
    pairs = random_pairs(reward, 4, seed=1)
    assert 400 < len(pairs) <= 600
    assert (reward[pairs[:, 0]] > reward[pairs[:, 1]]).all()
    assert len(np.unique(np.sort(pairs, axis=1), axis=0)) == len(pairs)
    assert (pairs == random_pairs(reward, 4, seed=1)).all()


def test_outcomes() -> None:
    pairs = np.array([[0, 1], [1, 0], [2, 2]])
    assert outcomes(np.array([1.0, 0.0, 5.0]), pairs).tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_preferences_are_written_prompt_by_prompt_whatever_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(preferences, "_BATCH", batch)
    # Group a is complete after b, c has one response, and one of d's two has no votes.
    rows = [("a", 1.0, 1), ("b", 2.0, 1), ("c", 1.0, 1), ("d", 1.0, 0), ("b", 3.0, 2), ("a", 4.0, 1), ("d", 2.0, 1)]
    rows += [("a", 2.5, 1)]

    def said(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    columns: dict[str, list[object]] = {name: [None] * len(rows) for name in tables.DISTRIBUTIONS.names}
    columns["group_id"] = [group for group, _, _ in rows]
    columns["prompt"] = [said(group) for group, _, _ in rows]
    columns["completion"] = [said(f"{group} {reward:g}") for group, reward, _ in rows]
    columns["expected_reward"] = [reward for _, reward, _ in rows]
    columns["evidence"] = [evidence for _, _, evidence in rows]
    columns["label_distribution"] = [[reward, 1 - reward] for _, reward, _ in rows]
    pq.write_table(pa.table(columns, schema=tables.DISTRIBUTIONS), tmp_path / "in.parquet", row_group_size=3)
    how = Preferences(np.array([1.0, 0.0]))
    assert write_preferences(tmp_path / "in.parquet", tmp_path / "out.parquet", how) == PairCounts(4)
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema.equals(tables.PREFERENCES)
    texts = [
        (row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"], row["margin"])
        for row in written.to_pylist()
    ]
    assert texts == [("b", "b 3", "b 2", 1.0), ("a", "a 4", "a 2.5", 1.5), ("a", "a 4", "a 1", 3.0), ("a", "a 2.5", "a 1", 1.5)]  # fmt: skip
    assert written["chosen_distribution"].to_pylist() == [[3, -2], [4, -3], [4, -3], [2.5, -1.5]]
    assert written["rejected_distribution"].to_pylist() == [[2, -1], [2.5, -1.5], [1, 0], [1, 0]]


def test_accuracy_against_the_source(tmp_path: Path) -> None:
    table = pa.table({"group_id": list("aaabbc"), "role": ["chosen", "rejected", "rejected", "chosen", "rejected", None]})  # fmt: skip
    pq.write_table(table, tmp_path / "items.parquet")
    rewards = np.array([2.0, 1.0, 2.0, 0.0, np.nan, 1.0])
    assert pair_accuracy(tmp_path / "items.parquet", rewards) == (0.75, 2)
    assert pair_accuracy(tmp_path / "items.parquet", np.full(6, np.nan)) is None
