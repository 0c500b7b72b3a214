"""A billion labels: what they need, by arithmetic from measured costs, and how a slice of such a run goes, simulated."""

from __future__ import annotations

import math
from dataclasses import replace

from benchmarks.batch_simulation import Batches, simulate_batches
from benchmarks.cost_per_call import Costs
from benchmarks.engine import PERSONAS
from benchmarks.simulation import Model, Outcome, lognormal, simulate
from dprm_data.engine.prices import prices_for
from dprm_data.providers.request import Usage
from dprm_data.recipe.provider_config import ProviderConfig

LABELS = 1e9
DAYS = (1, 7, 30)
LOAD = 0.6  # of a processor, and of a database: more, and what waits for it grows without bound
LATENCY = 1.0  # seconds of a call: a short answer of a hosted model under load
# Rows that the database writes for an item beside its calls: its lease comes and goes, and it is done.
ROWS_PER_ITEM = 3
PRICED = ("gpt-4o-mini", "gpt-4.1-nano")
_FEWEST, _TIMES = 400, 3  # items of a simulated slice: at the least, and as many times as are open at the start


def needs(costs: Costs, ledger: dict[str, float]) -> list[str]:
    """For docs/scale.md: what the run needs if it is to take so many days."""
    rows_per_call = 1 + ROWS_PER_ITEM / PERSONAS
    write = max(ledger[f"{writers} writers"] for writers in (1, 2, 4))
    columns = []
    for days in DAYS:
        rate = LABELS / (days * 86400)
        columns.append(
            (
                f"{rate:,.0f}",
                f"{rate * 60:,.0f}",
                f"{rate * 60 * (costs.input_tokens + costs.output_tokens) / 1e6:,.0f} million",
                f"{rate * LATENCY:,.0f}",
                f"{rate * costs.cpu / LOAD:,.1f}",
                f"{rate * rows_per_call:,.0f} ({rate * rows_per_call / write:.0%} of what was measured)",
                f"{rate * costs.bytes_out * 8 / 1e6:,.0f} and {rate * costs.bytes_in * 8 / 1e6:,.0f}",
            )
        )
    names = (
        "calls a second",
        "requests a minute",
        "tokens a minute",
        f"calls in flight, {LATENCY:g} s each",
        f"workers (one processor each, {LOAD:.0%} busy)",
        "rows a second in the database",
        "Mbit/s out, in",
    )
    lines = [f"| to be done in days | {' | '.join(map(str, DAYS))} |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {' | '.join(column[place] for column in columns)} |" for place, name in enumerate(names)]
    return [*lines, "", *_once(costs, ledger)]


def _once(costs: Costs, ledger: dict[str, float]) -> list[str]:
    """What does not depend on how long it may take."""
    items = LABELS / PERSONAS
    usage = Usage(int(LABELS * costs.input_tokens), int(LABELS * costs.output_tokens))
    dollars = []
    for model in PRICED:
        one = Usage(round(costs.input_tokens), round(costs.output_tokens))
        config = ProviderConfig(name="openai", model=model)
        direct, batch = (prices_for(config, batch=way).cost(one) for way in (False, True))
        if direct is None or batch is None:
            raise SystemExit(f"the price table does not know {model}")
        dollars.append(f"{model}: ${direct * LABELS:,.0f}, in batches ${batch * LABELS:,.0f}")
    lines = [
        ("tokens", f"{usage.input_tokens / 1e12:.2f} T in, {usage.output_tokens / 1e12:.3f} T out"),
        ("dollars at list prices, nothing cached", "; ".join(dollars)),
        ("processor time of all workers", f"{LABELS * costs.cpu / 3600:,.0f} hours"),
        ("on the wire", f"{LABELS * costs.bytes_out / 1e12:.1f} TB out, {LABELS * costs.bytes_in / 1e12:.1f} TB in"),
        ("the ledger's calls in PostgreSQL, with indexes", f"{LABELS * ledger['postgres bytes'] / 1e9:,.0f} GB"),
        ("… in a SQLite file", f"{LABELS * ledger['sqlite bytes'] / 1e9:,.0f} GB"),
        ("one worker's walk past all items when they are done", f"{items * costs.walked / 60:,.0f} minutes"),
        ("collecting the annotations, one process", f"{LABELS * costs.collected / 3600:,.0f} hours"),
        ("reading all calls out of the database by key", f"{LABELS / ledger['postgres find'] / 3600:,.0f} hours"),
    ]
    return ["| a billion labels | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)]


def scenarios(costs: Costs, ledger: dict[str, float]) -> list[str]:
    """For docs/scale-measured.md: slices of such runs, simulated, and what they come to for all of it."""
    write = max(ledger[f"{writers} writers"] for writers in (1, 2, 4)) / (1 + ROWS_PER_ITEM / PERSONAS)
    base = Model(
        calls_each=PERSONAS,
        latency=lognormal(0.8, 0.6),
        cpu=costs.cpu,
        commit=1 / ledger["postgres insert 1"],
        rows_per_second=write,
        tokens=round(costs.input_tokens),
        output=round(costs.output_tokens),
        failures={"server": 0.005, "timeout": 0.001},
    )
    four, eight = replace(base, concurrency=64, processes=4), replace(base, concurrency=64, processes=8)
    rows = {
        "one worker, 64 at once": replace(base, concurrency=64),
        "one worker, 512 at once, a median of 0.2 s: its processor binds": replace(
            base, concurrency=512, latency=lognormal(0.2, 0.6)
        ),
        "4 workers, 64 each, 10,000 requests a minute for all": replace(four, rpm=10_000.0),
        "the same, with 5 % of attempts failing": replace(four, rpm=10_000.0, failures={"server": 0.05}),
        "the same limit, but only the provider knows it": replace(four, provider_rpm=10_000.0),
        "8 workers, 64 each": eight,
        "the same, one worker killed after 10 s, leases of 30 s": replace(eight, killed=(10.0,), lease=30.0),
    }
    lines = [
        "| | calls simulated | a second | requests per label | most in flight | a billion in days |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, model in rows.items():
        # Workers open as many items at the start as they have calls at once (and a quarter more): a slice must have several times as many.
        items = max(_FEWEST, round(_TIMES * 1.25 * model.concurrency * model.processes))
        lines.append(_line(name, simulate(replace(model, items=items)), killed=bool(model.killed)))
    return [*lines, "", *_batches(costs)]


def _line(name: str, found: Outcome, *, killed: bool) -> str:
    days = (
        "–" if killed else f"{LABELS / found.steady / 86400:,.1f}"
    )  # a slice that is half waiting for leases says nothing
    return (
        f"| {name} | {found.answered:,} | {found.steady:,.0f} | {found.requests / found.answered:.3f} "
        f"| {found.most_in_flight:,} | {days} |"
    )


def _batches(costs: Costs) -> list[str]:
    walk = LABELS / PERSONAS * costs.walked
    lines = [
        "| batch mode, 50,000 rows a batch, 1 % of rows failing | batches | rounds | requests per label | days |",
        "|---|---:|---:|---:|---:|",
    ]
    for at_once in (20, 100, 500):
        # Mostly within three hours, some near a day.
        found = simulate_batches(
            Batches(int(LABELS), at_once=at_once, latency=lognormal(2 * 3600, 0.7), failed=0.01, walk=walk)
        )
        lines.append(
            f"| {at_once} batches at the provider at a time | {found.batches:,} | {found.rounds} "
            f"| {found.requests / LABELS:.4f} | {math.ceil(found.seconds / 8640) / 10} |"
        )
    return lines
