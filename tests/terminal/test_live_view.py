"""What a person sees while calls are made, and what a machine is told afterwards."""

from __future__ import annotations

import io
import time
from pathlib import Path

from rich.console import Console

from dprm_data.elicit.elicitation import Outcome
from dprm_data.engine.counters import Counters
from dprm_data.ledger.call import Reply
from dprm_data.providers.request import Usage
from dprm_data.terminal.progress import TerminalProgress
from tests.engine.test_faults import rows_with
from tests.helpers import answer, write_recipe
from tests.processes import dprm
from tests.servers.llm import LLMServer


def in_the_middle() -> Counters:
    counters = Counters(total_items=100, items=25, window=32, in_flight=17)
    counters.started = time.monotonic() - 10
    for _ in range(100):
        counters.answered(Reply("answered", usage=Usage(100, 5), cost=0.01))
        counters.ended(Outcome("ok", label=1), replayed=False)
    counters.ended(Outcome("refusal"), replayed=False)
    counters.failed_attempt("rate_limit", "too fast", Usage(), 0.0)
    return counters


def seen(counters: Counters, *, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=240, highlight=False)
    with TerminalProgress(console) as progress:
        progress._spoke = -1e9
        progress.update(counters)
    return out.getvalue()


def test_everything_at_a_glance() -> None:
    for terminal in (True, False):
        text = seen(in_the_middle(), terminal=terminal)
        for part in ("25/100 items", "100 calls (10.0/s)", "$1.00 of about $4.00", "17 in flight of 32", " s left"):
            assert part in text, text
        assert "1 refusal" in text and "failed attempts: 1 rate limit" in text
    assert "\x1b" not in seen(in_the_middle(), terminal=False), "plain lines where the output is piped"


def test_a_cooldown_a_stall_and_batches() -> None:
    counters = in_the_middle()
    counters.cooling = 12.2
    assert "cooling down for 12 s" in seen(counters, terminal=False)
    counters.waiting = "no answer for 40 s (rate limit: too fast)"
    assert "no answer for 40 s (rate limit: too fast)" in seen(counters, terminal=False)
    counters.batches = "2 batches at the provider, 10 of 40 requests done"
    assert counters.batches in seen(counters, terminal=False) and "in flight" not in seen(counters, terminal=False)


def test_what_a_machine_is_told(tmp_path: Path, double: LLMServer) -> None:
    rows_with(tmp_path, "refusal", "500:1", plain=3)
    done = answer(dprm("run", "--no-fit", write_recipe(tmp_path, double.url), "--json", cwd=tmp_path))["annotate"]
    assert done["failures"] == {"refusal": 4} and done["retries"] == {"server": 4}
    assert done["calls"] == done["annotations"] == 20 and done["cost"] > 0 and done["seconds"] > 0
