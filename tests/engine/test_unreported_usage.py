"""Servers that do not report their tokens: the budget and the limit on tokens hold all the same, and what is estimated is marked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger import sqlite_file
from dprm_data.ledger.call import Reply
from dprm_data.ledger.copy import copy_ledger
from dprm_data.ledger.export import export_calls
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import FailedAttempt, Ledger
from dprm_data.ledger.stats import stats_of
from dprm_data.ledger.verify import check_ledger
from dprm_data.providers.request import Answer, Request, Usage
from dprm_data.publish.publication import prepared
from dprm_data.review.human_annotations import human_file, merge
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from tests.engine.helpers import FunctionProvider, annotate, items, label, work
from tests.engine.team import Team
from tests.engine.test_batch_mode import batch_recipe
from tests.helpers import answer, write_recipe, write_rows
from tests.ledger.test_ledger import key, reply
from tests.processes import dprm
from tests.servers.llm import LLMServer
from tests.servers.llm_wire import USAGES
from tests.servers.postgres import Database

UNREPORTED = [usage for usage in USAGES if usage != "whole"]


def write_items(folder: Path, count: int = 40) -> None:
    write_rows(folder / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(count)])


def spent(folder: Path) -> float:
    """What the run's calls have cost, as they are kept."""
    with sqlite3.connect(folder / "run/ledger.sqlite") as db:
        return float(db.execute("SELECT COALESCE(SUM(cost), 0) FROM calls").fetchone()[0])


@pytest.mark.parametrize("usage", UNREPORTED)
@pytest.mark.parametrize("name", ["openai", pytest.param("anthropic", marks=pytest.mark.slow)])
def test_a_budget_holds(tmp_path: Path, double: LLMServer, name: str, usage: str) -> None:
    """Every call counts as the most it can cost; also to the process that comes after."""
    write_items(tmp_path)
    double.script({"usage": usage})
    models = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
    provider = {"name": name, "model": models[name], "base_url": f"{double.url}/v1"}
    recipe = write_recipe(tmp_path, double.url, panel="paper", provider=provider)
    at_most = answer(dprm("plan", recipe, "--json", cwd=tmp_path))["cost_at_most"]
    limit = at_most / 10
    stopped = dprm("run", recipe, "--max-cost", limit, cwd=tmp_path)
    assert stopped.returncode == 3 and "the budget of" in stopped.stderr
    asked = double.tally.requests
    assert asked < 600 / 9 and 0.9 * limit < spent(tmp_path) <= limit
    again = dprm("run", recipe, "--max-cost", limit, cwd=tmp_path)
    assert again.returncode == 3 and double.tally.requests == asked


@pytest.mark.parametrize("usage", ["floats", "digits"])
def test_numbers_in_other_clothes_are_numbers(tmp_path: Path, double: LLMServer, usage: str) -> None:
    recipe = write_recipe(tmp_path, double.url)
    whole = answer(dprm("run", recipe, "--json", cwd=tmp_path))["annotate"]
    double.script({"usage": usage})
    same = answer(dprm("run", recipe, "--json", "--output", "other", cwd=tmp_path))["annotate"]
    for figure in ("calls", "input_tokens", "output_tokens", "cost"):
        assert same[figure] == pytest.approx(whole[figure])
    assert whole["estimated_calls"] == same["estimated_calls"] == 0


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_budget_holds_in_batches(tmp_path: Path, double: LLMServer, name: str) -> None:
    write_items(tmp_path, 12)
    double.script({"usage": "missing"})
    recipe = batch_recipe(tmp_path, double.url, name)
    at_most = answer(dprm("plan", recipe, "--json", cwd=tmp_path))["cost_at_most"]
    limit = at_most / 3
    assert dprm("run", recipe, "--max-cost", limit, cwd=tmp_path).returncode == 3
    asked = double.tally.requests
    assert 0.7 * limit < spent(tmp_path) <= limit
    assert dprm("run", recipe, "--max-cost", limit, cwd=tmp_path).returncode == 3
    assert double.tally.requests == asked < 48 / 2


def test_a_budget_of_several_workers_holds(team: Callable[..., Team]) -> None:
    three = team(24)
    three.server.script(usage="missing")
    price = {"input": 1000, "output": 1000}  # dollars per million tokens
    provider = {"name": "openai", "model": "gpt-4o-mini", "base_url": f"{three.server.url}/v1", "price": price}
    recipe = three.write("dear.yaml", provider=provider, budget={"max_cost": 60.0}, limits={"lease": 5})
    three.end(*three.start(3, recipe=recipe), code=3)
    [(calls, bill, estimated)] = three.database.execute("SELECT COUNT(*), SUM(cost), SUM(estimated) FROM dprm.calls")
    assert 0 < bill <= 60.0 and estimated == calls == three.server.stats()["answered"] < three.calls
    three.end(*three.start(1, recipe=recipe), code=3)
    assert three.server.stats()["answered"] == calls
    three.server.script(usage="whole")


@pytest.mark.slow
def test_the_limit_on_tokens_holds(tmp_path: Path) -> None:
    async def complete(request: Request) -> Answer:
        return label(usage=Usage())

    asked = work(5)
    begun = time.monotonic()
    annotate(tmp_path, FunctionProvider(complete), asked, items(6), tpm=60_000)
    seconds = time.monotonic() - begun
    with (
        Ledger(LedgerAddress.parse(str(tmp_path / "ledger.sqlite")), readonly=True) as ledger,
        ledger.store.snapshot() as select,
    ):
        [(tokens, calls)] = select("SELECT SUM(input_tokens), COUNT(*) FROM calls")
    assert calls == 30 and tokens > 5_000
    assert tokens / seconds < 2 * 1000, "more tokens a second than the limit, and a second's worth at once"


def test_what_is_estimated_is_marked_everywhere(tmp_path: Path, double: LLMServer) -> None:
    write_items(tmp_path, 4)
    double.script({"usage": "missing"})
    recipe = write_recipe(tmp_path, double.url)
    done = dprm("run", recipe, cwd=tmp_path)
    assert "did not report tokens for 16 calls" in done.stdout + done.stderr
    assert "did not report tokens for 16 calls" in dprm("show", "run", cwd=tmp_path).stdout
    table = pq.read_table(tmp_path / "run/tables/annotations.parquet")
    assert table["estimated_calls"].to_pylist() == [1] * 16
    card = (tmp_path / "run/README.md").read_text()
    assert "did not report those of 16 calls" in card and "Cost: at most $" in card
    with opened(LedgerAddress.parse(str(tmp_path / "run/ledger.sqlite"))) as store:
        [group] = stats_of(store).groups
    assert group.estimated == 16 and group.input_tokens > 16 * 50 and group.output_tokens > 16
    assert "the tokens of 16 calls are estimated" in dprm("ledger", "stats", "run/ledger.sqlite", cwd=tmp_path).stdout
    again = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert again["annotate"]["estimated_calls"] == 0 and again["summary"]["estimated_calls"] == 16
    double.script({"usage": "whole"})
    reported = answer(dprm("run", recipe, "--json", "--output", "other", cwd=tmp_path))
    assert reported["summary"]["estimated_calls"] == 0
    assert "did not report" not in (tmp_path / "other/README.md").read_text()


# -- what older versions wrote ----------------------------------------------------------------------------------------


def make_older(place: LedgerAddress, database: Database | None) -> None:
    """The ledger as the version before wrote it: without the column."""
    with Ledger(place, run="r") as ledger:
        ledger.record_now([(key(1), reply())], [FailedAttempt(key(2), "server", 500, "", 0.5)])
    if database:
        database.execute("ALTER TABLE dprm.calls DROP COLUMN estimated")
        database.execute("UPDATE dprm.version SET version = 2")
        return
    with sqlite3.connect(place.path) as db:
        db.execute("ALTER TABLE calls DROP COLUMN estimated")
        db.execute("PRAGMA user_version = 2")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_older_ledger_is_read_as_it_is_and_brought_up_to_date_when_it_is_written(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres") if kind == "postgres" else None
    place = database.address if database else LedgerAddress.parse(str(tmp_path / "l.sqlite"))
    make_older(place, database)
    with Ledger(place, run="r", readonly=True) as ledger:
        found = ledger.find([key(1)])[key(1)]
        assert (found.text, found.usage) == ("x", Usage(3, 1)) and ledger.spent() == 0.75
    with opened(place) as store:
        assert [group.estimated for group in stats_of(store).groups] == [0]
        assert check_ledger(store).faults == []
        assert export_calls(store, tmp_path / "calls.parquet") == 1
    copy_ledger(place, LedgerAddress.parse(str(tmp_path / "copy.sqlite")))
    copy_ledger(place, LedgerAddress.parse(str(tmp_path / "copy.sqlite")))  # what is there is known again
    with Ledger(place, run="r") as ledger:
        assert ledger.find([key(1)])[key(1)].usage == Usage(3, 1)
        ledger.record_now([(key(3), Reply("answered", usage=Usage(4, 1, estimated=True)))])
    with Ledger(place, run="r", readonly=True) as ledger:
        assert ledger.find([key(3)])[key(3)].usage == Usage(4, 1, estimated=True)
    if kind == "sqlite":
        assert sqlite_file.version_of(sqlite3.connect(tmp_path / "l.sqlite")) == sqlite_file.VERSION


@pytest.mark.slow
def test_an_older_table_of_annotations_is_read(tmp_path: Path, double: LLMServer) -> None:
    answer(dprm("run", write_recipe(tmp_path, double.url), "--json", cwd=tmp_path))
    path = tmp_path / "run/tables/annotations.parquet"
    older = pq.read_table(path).drop_columns(["estimated_calls"])
    pq.write_table(older, path)
    assert answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["estimated_calls"] == 0
    assert dprm("report", "run", cwd=tmp_path).returncode == 0
    with prepared(Run.open(tmp_path / "run").with_publish({"license": "mit"}), "acme/prefs") as made:
        published = pa.concat_tables(
            pq.read_table(file.local) for name, file in made.files.items() if name.startswith("data/annotations/")
        )
    assert "estimated_calls" not in pq.read_schema(path).names
    assert published["estimated_calls"].null_count == published.num_rows == 16
    pq.write_table(older.append_column("origin", pa.array(["x"] * 16)), human_file(RunFolder(tmp_path / "run")))
    assert merge(RunFolder(tmp_path / "run")) == 32  # what people said in an older version is read as well
    assert dprm("ratings", "fit", "run", cwd=tmp_path).returncode == 0
    assert "estimated_calls" in pq.read_schema(path).names
