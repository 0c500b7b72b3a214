"""The schemas of a published dataset."""

from __future__ import annotations

import runpy

import pyarrow as pa
import pytest

from dprm_data.core import tables
from dprm_data.publish import configs


def test_published_columns_are_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    published = configs.SCHEMAS["default"]
    monkeypatch.setattr(tables, "DISTRIBUTIONS", pa.schema(list(tables.DISTRIBUTIONS)[::-1]))
    reordered = runpy.run_path(configs.__file__)["SCHEMAS"]["default"]
    assert sorted(reordered.names) == sorted(published.names)
    assert reordered.names[:5] == published.names[:5] == ["item_id", "group_id", "prompt", "completion", "label"]
