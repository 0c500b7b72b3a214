"""Results as Python and notebooks see them: tables, one line, a picture."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data import DprmError, RunResult, open_run, pilot, plan, run
from dprm_data.core.tables import SCHEMAS
from tests.helpers import PAIRS
from tests.servers.llm import LLMServer

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> \x1b[2J & \"quotes\" 'too'"


def recipe(url: str, **changes: Any) -> dict[str, Any]:
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{url}/v1"}
    return {"panel": "small", "provider": provider} | changes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunResult]:
    """Four items, one of them hostile, by a panel of four."""
    rows = [*PAIRS[:3], PAIRS[3] | {"response": EVIL}]
    with LLMServer() as double:
        yield run(
            recipe(double.url, labels=["poor<b>", "fair", "good"]),
            source=rows,
            output=tmp_path_factory.mktemp("results") / "run",
            progress=False,
        )


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_every_table_is_a_property(made: RunResult, name: str) -> None:
    table = getattr(made, name)
    assert isinstance(table, pa.Table) and table.schema.equals(SCHEMAS[name])
    assert bool(table.num_rows) == (name not in ("comparisons", "utilities"))  # this run has none
    assert getattr(made, name) is table  # read once
    assert list(table.to_pandas().columns) == SCHEMAS[name].names


def test_a_table_that_changed_is_read_again(made: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made.folder.path, copy)
    opened = open_run(copy)
    assert opened.distributions.num_rows == 4
    pq.write_table(opened.distributions.slice(0, 3), copy / "tables" / "distributions.parquet")
    assert opened.distributions.num_rows == 3


def test_a_result_says_in_a_line_how_complete_it_is(made: RunResult) -> None:
    said = repr(made)
    assert "\n" not in said
    for figure in ("4 of 4 items with votes", "16 annotations", "all with a label", "$", "16 calls made now"):
        assert figure in said
    assert "made now" not in repr(open_run(made.folder.path))
    assert made.cost and made.cost == pytest.approx(sum(made.annotations["cost"].to_pylist()))


def test_texts_of_a_dataset_are_data_in_a_notebook(made: RunResult) -> None:
    html = made._repr_html_()
    assert "<script" not in html and "<img" not in html and "<b>" not in html.replace(f"<b>{made.folder}</b>", "")
    assert "&lt;script&gt;" in html and "poor&lt;b&gt;" in html and "\x1b" not in html
    assert "http" not in html and "url(" not in html  # nothing from elsewhere
    assert len(html) < 20_000


def test_a_notebook_shows_the_shares_of_an_item(made: RunResult) -> None:
    html = open_run(made.folder.path)._repr_html_()
    first = made.distributions.to_pylist()[0]
    best = max(range(3), key=lambda i: first["label_distribution"][i])
    assert f"width:{100 * first['label_distribution'][best]:.2f}%" in html
    assert "simulated" in html and "Eight minutes in boiling water" in html


def test_a_run_cut_short_shows_what_there_is(made: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made.folder.path, copy)
    for name in ("distributions", "preferences"):
        (copy / "tables" / f"{name}.parquet").unlink()
    opened = open_run(copy)
    assert "not fitted yet" in repr(opened) and "not fitted yet" in opened._repr_html_()
    with pytest.raises(DprmError, match="has no distributions yet"):
        _ = opened.distributions
    (copy / "tables" / "items.parquet").unlink()
    assert "has no items yet" in repr(opened) and "has no items yet" in opened._repr_html_()
    with pytest.raises(DprmError, match="not a run folder"):
        open_run(tmp_path)


def test_a_plan_shows_itself(double: LLMServer, tmp_path: Path) -> None:
    found = plan(recipe(double.url, budget={"max_cost": 3}), source=PAIRS, output=tmp_path / "run", progress=False)
    for shown in (repr(found), found._repr_html_()):  # type: ignore[attr-defined]
        assert "16" in shown and "calls to make" in shown and "budget" in shown and "$3.00" in shown
    assert found.cost and found.as_dict()["calls_needed"] == 16


def test_a_pilot_shows_itself(double: LLMServer, tmp_path: Path) -> None:
    found = pilot(recipe(double.url), items=2, source=PAIRS, output=tmp_path / "run", progress=False)
    for shown in (repr(found), found._repr_html_()):  # type: ignore[attr-defined]
        assert "2 items, 18 annotations" in shown and "the whole run" in shown


def test_progress_is_plain_lines_in_a_pipe_and_off_on_request(
    double: LLMServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(recipe(double.url), source=PAIRS, output=tmp_path / "quiet", progress=False)
    assert capsys.readouterr() == ("", "")
    run(recipe(double.url), source=PAIRS, output=tmp_path / "run")
    said = capsys.readouterr()
    assert said.out == "" and "annotating …" in said.err and "\x1b" not in said.err
