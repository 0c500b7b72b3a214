"""Models that reason before they answer: the default recipe gets its labels from them, whatever they hide, show, cut off or refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.call import Call, Reply
from dprm_data.ledger.factory import opened
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.stats import stats_of
from dprm_data.ledger.verify import check_ledger
from dprm_data.providers.request import Answer, Request, Usage
from tests.engine.helpers import RecordingProvider, annotate, items, label, work
from tests.engine.test_batch_mode import batch_recipe
from tests.helpers import answer, write_recipe, write_rows
from tests.processes import dprm
from tests.servers.llm import LLMServer

ITEMS = 10  # of the small panel's four personas each


def run(folder: Path, double: LLMServer, model: str, *, name: str = "openai", **changes: Any) -> dict[str, Any]:
    """What the default recipe (no elicitation, no limit of output) gives with this model."""
    write_rows(folder / "pairs.jsonl", [{"prompt": f"question {i}", "response": "an answer"} for i in range(ITEMS)])
    provider = {"name": name, "model": model, "base_url": f"{double.url}/v1", "price": {"input": 1, "output": 10}}
    recipe = write_recipe(folder, double.url, provider=provider | changes.pop("provider", {}), **changes)
    return answer(dprm("run", recipe, "--json", cwd=folder))


def share_of_labels(folder: Path) -> float:
    statuses = pq.read_table(folder / "run/tables/annotations.parquet")["status"].to_pylist()
    return sum(status == "ok" for status in statuses) / (ITEMS * 4)


def ledger_of(folder: Path) -> LedgerAddress:
    return LedgerAddress.parse(str(folder / "run/ledger.sqlite"))


@pytest.mark.parametrize("thoughts", ["hidden", "apart", "reasoning_content", "tags"])
def test_thoughts_are_counted_priced_kept_and_shown(tmp_path: Path, double: LLMServer, thoughts: str) -> None:
    """40 answers with 300 tokens of thought each, at 10 dollars per million."""
    double.script({"thoughts": thoughts})
    done = run(tmp_path, double, "o4-mini")
    about = pytest.approx(40 * 300, rel=0.05)  # where the server does not count them, by their share of the characters
    assert done["annotate"]["reasoning_tokens"] == done["summary"]["reasoning_tokens"] == about
    assert done["annotate"]["output_tokens"] > 40 * 300 + 40 * 3
    assert done["annotate"]["cost"] > 40 * 300 * 10e-6
    assert done["annotate"]["cost"] == pytest.approx(
        done["annotate"]["input_tokens"] * 1e-6 + done["annotate"]["output_tokens"] * 10e-6
    )
    table = pq.read_table(tmp_path / "run/tables/annotations.parquet")
    assert sum(table["reasoning_tokens"].to_pylist()) == done["annotate"]["reasoning_tokens"]
    with opened(ledger_of(tmp_path)) as store:
        [group] = stats_of(store).groups
        assert group.reasoning_tokens == done["annotate"]["reasoning_tokens"]
        assert check_ledger(store).faults == []
    assert "tokens of thought" in dprm("show", "run", cwd=tmp_path).stdout
    assert "tokens out are thoughts" in dprm("ledger", "stats", "run", cwd=tmp_path).stdout


VISIBLE = ["reasoning_content", "reasoning", "tags", "headless", "channel"]


@pytest.mark.parametrize("thoughts", ["hidden", "apart", "unsaid", *VISIBLE])
@pytest.mark.parametrize("model", ["o4-mini", "deepseek-ai/DeepSeek-R1", "acme/unknown-1"])
def test_the_default_recipe_gets_its_labels(tmp_path: Path, double: LLMServer, model: str, thoughts: str) -> None:
    """300 tokens of thought, and a limit of 80 for the answer."""
    double.script({"thoughts": thoughts})
    run(tmp_path, double, model)
    assert share_of_labels(tmp_path) >= 0.95


def test_claude_thinks_in_blocks(tmp_path: Path, double: LLMServer) -> None:
    double.script({"thoughts": "blocks"})
    run(tmp_path, double, "claude-opus-5-5", name="anthropic")
    assert share_of_labels(tmp_path) >= 0.95


@pytest.mark.parametrize("usage", ["missing", "nulls", "words"])
def test_thoughts_that_nobody_counts(tmp_path: Path, double: LLMServer, usage: str) -> None:
    double.script({"thoughts": "tags", "usage": usage})
    run(tmp_path, double, "acme/unknown-1")
    assert share_of_labels(tmp_path) >= 0.95


@pytest.mark.parametrize("model", ["o4-mini", "acme/unknown-1"])
def test_thoughts_longer_than_their_room_get_more(tmp_path: Path, double: LLMServer, model: str) -> None:
    double.script({"thoughts": "hidden", "thought_tokens": 9000})
    run(tmp_path, double, model)
    assert share_of_labels(tmp_path) >= 0.95


def test_thoughts_without_an_end_are_paid_for_a_few_times_and_no_more(tmp_path: Path, double: LLMServer) -> None:
    double.script({"thoughts": "hidden", "thought_tokens": 10**6})
    recipe = write_recipe(
        tmp_path, double.url, provider={"name": "openai", "model": "o4-mini", "base_url": f"{double.url}/v1"}
    )
    done = dprm("run", recipe, cwd=tmp_path)
    assert done.returncode == 1 and "cut off" in done.stderr
    assert double.tally.requests <= 16 * 4


@pytest.mark.parametrize(
    "refused", ["temperature", "top_p", "seed", "max_tokens", "response_format", "reasoning_effort"]
)
@pytest.mark.parametrize("model", ["gpt-5.2", "acme/unknown-1"])
def test_a_refused_parameter_is_left_out(tmp_path: Path, double: LLMServer, model: str, refused: str) -> None:
    double.script({"refuses": (refused,), "thoughts": "hidden"})
    double.says = lambda data: '{"label": "helpful and harmless"}'
    run(tmp_path, double, model, provider={"temperature": 0.5, "top_p": 0.9, "seed": 3})
    assert share_of_labels(tmp_path) >= 0.95


def test_empty_answers_of_an_older_version_are_healed(tmp_path: Path) -> None:
    """A ledger in which the limit of 80 tokens left every answer empty. Those calls are not made again; the next ones are."""
    asked, rows = work(3), items(4)
    empty = Reply("answered", finish="length", usage=Usage(100, 80))
    first = [task.next(()) for row in rows for task in asked.tasks(row)]
    with Ledger(LedgerAddress.parse(str(tmp_path / "ledger.sqlite")), run="test") as ledger:
        ledger.record_now([(call.key, empty) for call in first if isinstance(call, Call)])

    async def complete(request: Request) -> Answer:
        return label()

    provider = RecordingProvider(complete)
    counters = annotate(tmp_path, provider, asked, rows)
    assert counters.statuses == {"ok": 12}
    assert [request.params["max_tokens"] for request in provider.requests] == [1024] * 12


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_what_a_batch_is_refused_for_is_left_out_of_the_next(tmp_path: Path, double: LLMServer, name: str) -> None:
    refused = {"openai": "response_format", "anthropic": "output_config"}[name]
    double.objects = lambda data: f"{refused}.format: Extra inputs are not permitted" if refused in data else None
    double.says = lambda data: '{"label": "helpful and harmless"}'
    done = answer(dprm("run", batch_recipe(tmp_path, double.url, name), "--json", cwd=tmp_path))
    assert done["summary"]["failures"] == {} and done["summary"]["annotations"] > 0
