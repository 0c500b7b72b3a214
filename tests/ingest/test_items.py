"""The noun: ids, the stored table, duplicates, roles and the report."""

from __future__ import annotations

import datetime
import hashlib
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.core import tables
from dprm_data.core.conversation import Messages
from dprm_data.core.errors import DprmError, SourceError
from dprm_data.ingest import items
from dprm_data.ingest.items import Item, Refused, ids_of, load_items, store_items
from dprm_data.ingest.sources import read_items

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}),
    min_size=1,
    max_size=4,
).map(tuple)


def item(prompt: str = "Why?", reply: str = "Because.", role: Any = None, source: str = "a:1", **metadata: Any) -> Item:
    asked: Messages = ({"role": "user", "content": prompt},)
    said: Messages = ({"role": "assistant", "content": reply},)
    item_id, group_id = ids_of(asked, said)
    return Item(item_id, asked, said, group_id, role, source, metadata)


# -- ids --------------------------------------------------------------------------------------------------------------


@given(MESSAGES, MESSAGES)
def test_the_order_of_keys_does_not_change_an_id(prompt: Any, completion: Any) -> None:
    turned = tuple(dict(reversed(message.items())) for message in prompt)
    assert ids_of(prompt, completion) == ids_of(turned, completion)


@given(MESSAGES, MESSAGES, st.data())
def test_any_other_character_is_another_id(prompt: Any, completion: Any, data: st.DataObject) -> None:
    which = data.draw(st.integers(0, len(completion) - 1))
    text = completion[which]["content"]
    at = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(TEXT.filter(lambda piece: piece != text[at]))
    changed = list(completion)
    changed[which] = {**completion[which], "content": text[:at] + new + text[at + 1 :]}
    item_id, group_id = ids_of(prompt, completion)
    other_id, same_group = ids_of(prompt, tuple(changed))
    assert item_id != other_id
    assert group_id == same_group
    assert ids_of(tuple(changed), completion) != ids_of(completion, completion)


@given(MESSAGES, MESSAGES)
def test_the_boundary_between_prompt_and_response_counts(prompt: Any, completion: Any) -> None:
    moved = ids_of((*prompt, completion[0]), completion[1:]) if len(completion) > 1 else ids_of(completion, prompt)
    assert moved[0] != ids_of(prompt, completion)[0] or prompt == completion


def test_ids_stay_what_they_were() -> None:
    """A changed id would make people pay again for what they have: this value may only change with the schema's version."""
    canonical = (
        '{"completion":[{"content":"Ja – ü","role":"assistant"}],"prompt":[{"content":"Why?","role":"user"}]}'.encode()
    )
    item_id, group_id = ids_of(({"role": "user", "content": "Why?"},), ({"role": "assistant", "content": "Ja – ü"},))
    assert item_id == hashlib.sha256(canonical).hexdigest()[:32] == "4653ee9cb29e3d4164807726cbd095c5"
    assert group_id == hashlib.sha256(b'[{"content":"Why?","role":"user"}]').hexdigest()[:32]


# -- the table --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(MESSAGES, MESSAGES, st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53)))))
def test_items_come_back_from_parquet_as_they_were(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    given_items = {
        ids_of(p, c)[0]: Item(ids_of(p, c)[0], p, c, ids_of(p, c)[1], None, "x:1", m) for p, c, m in reversed(content)
    }
    expected = list(given_items.values())
    if not expected:
        return
    path = tmp_path_factory.mktemp("items") / "items.parquet"
    report = store_items(iter(expected), path)
    assert list(load_items(path)) == expected
    assert report.items == len(expected)
    schema = pq.read_schema(path)
    assert schema.names == tables.ITEMS.names
    assert schema.metadata[b"dprm_schema_version"] == str(tables.SCHEMA_VERSION).encode()


def test_row_groups_are_read_one_by_one_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "BATCH_ROWS", 10)
    told: list[int] = []
    stream = [item(reply=str(i), source=f"a:{i}") for i in range(35)]
    store_items(stream, tmp_path / "items.parquet", progress=told.append)
    assert pq.ParquetFile(tmp_path / "items.parquet").num_row_groups == 4
    assert list(load_items(tmp_path / "items.parquet")) == stream
    assert told == [10, 20, 30, 35]


def test_long_texts_close_a_batch_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "BATCH_CHARS", 1000)
    store_items([item(reply=f"{i}" * 600) for i in range(4)], tmp_path / "items.parquet")
    assert pq.ParquetFile(tmp_path / "items.parquet").num_row_groups == 2  # two of 600 reach it


def test_duplicates_are_left_out_and_named(tmp_path: Path) -> None:
    stream = [item(source="a:1", n=1), item(reply="No.", source="a:2"), item(source="b:1", n=2)]
    report = store_items(stream, tmp_path / "items.parquet")
    assert (report.items, report.rows, report.duplicates) == (2, 3, 1)
    assert report.duplicate_examples == [("b:1", "a:1")]
    assert "b:1 repeats a:1" in "\n".join(report.lines())
    assert next(load_items(tmp_path / "items.parquet")).metadata == {"n": 1}


@pytest.mark.parametrize(
    ("roles", "stored", "contested"),
    [
        (["chosen", "rejected"], None, 1),
        (["rejected", "chosen", "chosen"], None, 1),
        (["chosen", "chosen"], "chosen", 0),
        ([None, "rejected"], "rejected", 0),
        (["rejected", None], "rejected", 0),
        ([None, "chosen", "rejected"], None, 1),
    ],
)
def test_roles_of_the_same_text_are_settled(
    tmp_path: Path, roles: list[Any], stored: str | None, contested: int
) -> None:
    stream = [item(role=role, source=f"a:{i}") for i, role in enumerate(roles)]
    report = store_items([*stream, item(reply="other", role="chosen")], tmp_path / "items.parquet")
    kept = list(load_items(tmp_path / "items.parquet"))
    assert [k.role for k in kept] == [stored, "chosen"]
    assert report.contested == contested
    assert {path.name for path in tmp_path.iterdir()} == {"items.parquet", "dropped.parquet"}


def test_an_identical_pair_becomes_one_item_without_a_role(tmp_path: Path) -> None:
    rows = [{"prompt": "Hi", "chosen": "Hello.", "rejected": "Hello."}]
    report = store_items(read_items(rows, base=tmp_path), tmp_path / "items.parquet")
    assert [found.role for found in load_items(tmp_path / "items.parquet")] == [None]
    assert (report.contested, report.contested_examples) == (1, ["row:1"])


def test_refused_rows_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    stream = [*(Refused(f"a:{i}", "why") for i in range(50)), item()]
    report = store_items(stream, tmp_path / "items.parquet")
    assert (report.items, report.refused, len(report.refusals)) == (1, 50, items.EXAMPLES)
    assert "50 rows refused (the first 20 are shown)" in report.lines()


def test_where_no_row_is_usable_there_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"1 refused\n  a:1: not this"):
        store_items([Refused("a:1", "not this")], tmp_path / "items.parquet")
    assert not list(tmp_path.iterdir())


def test_a_source_that_breaks_leaves_the_old_table(tmp_path: Path) -> None:
    store_items([item()], tmp_path / "items.parquet")

    def broken() -> Any:
        yield item(reply="new")
        raise SourceError("cut off")

    with pytest.raises(SourceError, match="cut off"):
        store_items(broken(), tmp_path / "items.parquet")
    assert [found.completion[0]["content"] for found in load_items(tmp_path / "items.parquet")] == ["Because."]
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DprmError, match="cannot write"):
        store_items([item()], tmp_path / "file" / "items.parquet")


def test_metadata_becomes_json_whatever_it_holds(tmp_path: Path) -> None:
    found = item(
        when=datetime.date(2024, 2, 29),
        price=Decimal("1.5"),
        nan=math.nan,
        big=2**70,
        raw=b"123",
        nested={"a": [1, None]},
    )
    store_items([found], tmp_path / "items.parquet")
    [back] = load_items(tmp_path / "items.parquet")
    assert back.metadata["when"] == "2024-02-29"
    assert back.metadata["price"] == "1.5"
    assert back.metadata["raw"] == "<3 bytes>"
    assert back.metadata["big"] == str(2**70)
    assert back.metadata["nan"] is None
    assert back.metadata["nested"] == {"a": [1, None]}


def test_metadata_that_is_no_text_refuses_the_row(tmp_path: Path) -> None:
    report = store_items([item(note="\ud800"), item(reply="ok")], tmp_path / "items.parquet")
    assert report.items == 1
    assert "metadata" in report.refusals[0].reason
