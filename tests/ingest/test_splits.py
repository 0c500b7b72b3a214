"""Splits: seeded, stable, and without a leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dprm_data.core.errors import PublishError
from dprm_data.ingest.items import Item, ids_of, store_items
from dprm_data.ingest.splits import HeldOut, folds, hold_out_groups, split_items
from dprm_data.recipe.recipe import PublishConfig

DEFAULT = PublishConfig()


def item(question: str, answer: str, *more: str, **metadata: object) -> Item:
    """One item; `more` are further turns of the prompt."""
    turns = [question, *more]
    prompt = tuple({"role": "user" if i % 2 == 0 else "assistant", "content": turn} for i, turn in enumerate(turns))
    completion = ({"role": "assistant", "content": answer},)
    item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
    return Item(item_id, prompt, completion, group_id, None, f"test:{question}", metadata)  # type: ignore[arg-type]


def stored(folder: Path, items: list[Item]) -> Path:
    path = folder / "items.parquet"
    store_items(items, path)
    return path


def many(count: int) -> list[Item]:
    return [item(f"Question {i}?", f"Answer {j}") for i in range(count) for j in range(2)]


def test_the_share_is_about_as_asked(tmp_path: Path) -> None:
    counts = split_items(stored(tmp_path, many(2000)), PublishConfig(test=0.2, validation=0.1)).counts
    assert list(counts) == ["train", "validation", "test"]
    assert sum(counts.values()) == 4000
    assert abs(counts["test"] / 4000 - 0.2) < 0.03
    assert abs(counts["validation"] / 4000 - 0.1) < 0.03


def test_all_of_a_conversation_is_in_one_split(tmp_path: Path) -> None:
    items = [item(f"Hello {i}", "A") for i in range(200)]
    items += [item(f"hello   {i}", "B", "And?", "Go on") for i in range(200)]  # a later turn of the same conversation
    splits = split_items(stored(tmp_path, items), PublishConfig(test=0.3))
    for i in range(200):
        assert splits.of(items[i].item_id) == splits.of(items[200 + i].item_id)
    assert splits.counts["test"] > 60


def test_another_seed_is_another_split_and_the_same_seed_the_same(tmp_path: Path) -> None:
    path = stored(tmp_path, many(100))
    first, again, other = (split_items(path, PublishConfig(seed=seed)).elsewhere for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_new_items_move_no_old_ones(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    few = split_items(stored(tmp_path, many(300)), DEFAULT)
    more = split_items(stored(tmp_path / "more", many(600)), DEFAULT)
    for old in many(300):
        assert few.of(old.item_id) == more.of(old.item_id)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_small_set_has_something_to_train_and_to_test_on(tmp_path: Path, count: int) -> None:
    assert set(split_items(stored(tmp_path, many(count)), DEFAULT).counts) == {"train", "test"}


def test_one_conversation_is_for_training(tmp_path: Path) -> None:
    assert split_items(stored(tmp_path, many(1)), DEFAULT).counts == {"train": 2}


def test_no_test_split_where_none_is_wanted(tmp_path: Path) -> None:
    assert split_items(stored(tmp_path, many(50)), PublishConfig(test=0)).counts == {"train": 100}


def test_the_sources_own_split_counts(tmp_path: Path) -> None:
    items = [item(f"Q{i}", "A", part="Test" if i < 3 else "val" if i < 5 else "train") for i in range(20)]
    splits = split_items(stored(tmp_path, items), DEFAULT, "part")
    assert splits.counts == {"train": 15, "validation": 2, "test": 3}
    assert splits.moved == 0
    assert "`part`" in splits.how


def test_a_conversation_in_two_splits_of_the_source_goes_to_the_smaller(tmp_path: Path) -> None:
    items = [item(f"Q{i}", "A", part="train") for i in range(20)]
    items += [item("Q3", "B", part="test"), item("Q100", "B", part="test")]
    splits = split_items(stored(tmp_path, items), DEFAULT, "part")
    assert splits.of(items[3].item_id) == "test"
    assert splits.moved == 1
    assert "1 items follow" in splits.how


@pytest.mark.parametrize("value", [None, "", "a/b", 3, {"x": 1}])
def test_a_value_that_names_no_split(tmp_path: Path, value: object) -> None:
    with pytest.raises(PublishError, match=r"test:Q.*split_column 'part'"):
        split_items(stored(tmp_path, [item("Q", "A", part=value)]), DEFAULT, "part")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no such column"):
        split_items(stored(tmp_path, [item("Q", "A")]), DEFAULT, "part")


# -- rows without splits ------------------------------------------------------------------------------------------------

GROUPS = np.array([f"g{i}" for i in range(20)])
ALL_TRAIN = np.full(20, "train")


def test_what_trained_models_have_held_out_is_found_again() -> None:
    """The groups that earlier versions held out: a reward model must never be tested on what it was trained on."""
    splits = hold_out_groups(ALL_TRAIN, GROUPS, HeldOut(test=0.2, validation=0.2, seed=7))
    assert GROUPS[splits == "test"].tolist() == ["g0", "g7"]
    assert GROUPS[splits == "validation"].tolist() == ["g2", "g4", "g5", "g19"]


def test_groups_are_held_out_whole_and_at_least_one() -> None:
    splits = hold_out_groups(np.repeat(ALL_TRAIN, 3), np.repeat(GROUPS, 3), HeldOut(test=1e-9, validation=0))
    assert (splits == "test").sum() == 3
    assert len(set(np.repeat(GROUPS, 3)[splits == "test"])) == 1
    assert (hold_out_groups(ALL_TRAIN[:2], GROUPS[:2], HeldOut()) == "train").all()


def test_splits_that_the_data_brings_are_kept() -> None:
    named = np.where(np.arange(20) < 4, "test", "train")
    splits = hold_out_groups(named, GROUPS, HeldOut(test=0.5, validation=0.3))
    assert ((splits == "test") == (named == "test")).all()
    assert (splits == "validation").any()


def test_folds_keep_groups_together() -> None:
    groups = [str(i // 3) for i in range(90)]
    fold = folds(groups, 5, 0)
    assert all(len(set(fold[i : i + 3])) == 1 for i in range(0, 90, 3))
    assert np.bincount(fold).tolist() == [18] * 5
