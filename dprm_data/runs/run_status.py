"""How a run stands: what is paid, how far it is, what failed and why, and what to do next.

Reads only, while another process works in the folder too, and says as much as there is: a folder may have been cut short at any stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from dprm_data.core.errors import DprmError, InputError
from dprm_data.core.failure_reasons import advice_on_failed, grouped
from dprm_data.core.format import money
from dprm_data.core.tables import SCHEMAS, damage
from dprm_data.elicit.work import Work
from dprm_data.engine.jury_plan import make_jury_plan
from dprm_data.engine.replay import chunks
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.ledger.stats import Stats, stats_of
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.active_budget import pairs_left, planned
from dprm_data.runs.asked_pairs import pairs_path
from dprm_data.runs.folder import RunFolder, Table, is_run_folder
from dprm_data.runs.run import Run

_MOST_REASONS = 5


@dataclass
class RunStatus:
    """A run's state. Numbers are None where they cannot be known yet.

    running: whether a process works in the folder now; items_done: those that need no further call; calls_left: estimated for a large run; spent: dollars
    recorded; unpriced: calls without a known price; possibly_billed: dollars of calls in flight, now or when a process was killed; cost_left: dollars, expected;
    failures: why annotations have no label, by reason; attempts: failed attempts by kind; stopped: why the last process ended early; tables: rows by name;
    faults: what cannot be read; steps: what to do next, (command, purpose).
    """

    folder: str
    recipe: str
    name: str | None = None
    running: bool = False
    items: int | None = None
    items_done: int = 0
    annotations: int | None = None
    calls_made: int = 0
    calls_left: int | None = None
    spent: float = 0.0
    unpriced: int = 0
    possibly_billed: float = 0.0
    batches: int = 0
    cost_left: float | None = None
    budget: float | None = None
    failures: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    stopped: str | None = None
    tables: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_status(path: Path) -> RunStatus:
    """The state of the run in this folder, or of the run that this recipe makes. Makes no call. Raises `InputError` where there is neither."""
    folder, recipe = _found(path)
    found = RunStatus(str(folder), recipe=str(recipe), running=_is_held(folder))
    for read in (_read_tables, _read_manifest, _read_run):
        try:
            read(folder, found)
        except DprmError as error:
            if error.message not in found.faults:
                found.faults.append(error.message)
    found.steps = _steps(folder, found)
    return found


def _found(path: Path) -> tuple[RunFolder, Path | str]:
    """The folder, and the recipe that continues its run."""
    if path.is_file():
        return RunFolder(Recipe.load(path, frozen=True).output_folder), path
    folder = RunFolder(path)
    if is_run_folder(path):
        return folder, folder.recipe_file
    if folder.table("items").is_file() or folder.manifest_file.is_file() or folder.ledger_file.is_file():
        return folder, "RECIPE"  # stopped before the recipe was written
    RunFolder.existing(path)
    raise InputError(f"{path} is not a run folder")  # it is one now


def _is_held(folder: RunFolder) -> bool:
    """Whether a process has the folder's lock."""
    lock = folder.path / ".lock"
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a place that is read only: nobody works there
        return False


def _read_tables(folder: RunFolder, found: RunStatus) -> None:
    for name in get_args(Table):
        path = folder.table(name)
        if not path.is_file():
            continue
        if fault := damage(path, SCHEMAS[name]):
            found.faults.append(f"{path}: {fault}")
        else:
            found.tables[name] = pq.read_metadata(path).num_rows
    found.items = found.tables.get("items")


def _read_manifest(folder: RunFolder, found: RunStatus) -> None:
    if not found.running:
        found.stopped = folder.read_manifest().get("last_annotate", {}).get("stopped")


def _read_run(folder: RunFolder, found: RunStatus) -> None:
    if not is_run_folder(folder.path):
        return
    run = Run.open(folder.path)
    if found.items is not None and run.compares:
        pairs = pairs_path(folder)
        found.items = pq.read_metadata(pairs).num_rows if pairs.is_file() else None
    found.name, found.budget = run.recipe.name, run.recipe.budget.max_cost
    if not run.asks_models:
        found.items_done, found.calls_left = found.items or 0, 0
    elif exists(run.ledger_address):
        with run.ledger(readonly=True) as ledger:
            _read_ledger(run, ledger, found)
    elif found.items is not None and not run.is_pulled():
        _read_plan(run, None, found)
    if "annotations" in found.tables and not found.running:
        found.failures = _reasons(run.folder)


def _read_ledger(run: Run, ledger: Ledger, found: RunStatus) -> None:
    stats = stats_of(ledger.store)
    name = run.recipe.name
    mine = [group for group in stats.groups if group.run == name]
    found.calls_made = sum(group.calls for group in mine)
    found.unpriced = sum(group.unpriced for group in mine)
    found.spent, found.possibly_billed = stats.totals.get(name, 0.0), stats.possibly_billed.get(name, 0.0)
    found.attempts = {each.kind: each.attempts for each in stats.failures if each.run == name}
    found.batches = _batches(run, ledger, stats)
    found.failures = grouped(_given_up(ledger, name), _MOST_REASONS)
    if found.items is not None:
        found.items_done = _items_done(run, ledger)
        _read_plan(run, ledger, found)


def _read_plan(run: Run, ledger: Ledger | None, found: RunStatus) -> None:
    plan = make_jury_plan(run.work, run.asked_items, run.prices, ledger)
    plan = planned(run, plan, lambda: make_jury_plan(run.work, run.asked_items, run.prices, None))
    found.annotations, found.calls_left, found.cost_left = plan.annotations, plan.calls_needed, plan.cost
    if found.items and found.items_done == found.items and not pairs_left(run):
        found.calls_left, found.cost_left = 0, 0.0  # early stopping asks no more


def _batches(run: Run, ledger: Ledger, stats: Stats) -> int:
    return len(ledger.store.batches(run.recipe.name)) if stats.batches else 0


def _given_up(ledger: Ledger, run: str) -> Counter[str]:
    """Calls without an answer, by reason."""
    store, counted = ledger.store, Counter[str]()
    with store.snapshot() as select:
        query = "SELECT run, reason, COUNT(*) FROM {} WHERE status <> 'answered' GROUP BY run, reason"
        for name, reason, count in select(query.format(store.relation("calls"))):
            if name == run:
                counted[reason] += count
    return counted


def _items_done(run: Run, ledger: Ledger) -> int:
    done = 0
    with pq.ParquetFile(run.asked_items) as file:
        for batch in file.iter_batches(columns=["item_id"]):
            for ids in chunks(batch.column(0).to_pylist(), 5_000):
                done += len(done_of(run.work, ledger, ids))
    return done


def done_of(work: Work, ledger: Ledger, item_ids: Sequence[str]) -> set[str]:
    """The items, among these, that need no further call to any model."""
    ids = [id_.encode() for id_ in item_ids]
    by_model = [ledger.find_done(part.plan_key(), ids) for part in work.parts.values()]
    return {id_.decode() for id_ in set.intersection(*by_model)}


def _reasons(folder: RunFolder) -> dict[str, int]:
    table = pq.read_table(folder.needs("annotations"), columns=["status", "reason"])
    failed = table.filter(pc.not_equal(table["status"], "ok"))
    reasons = Counter(
        f"{row['status']}: {row['reason']}"
        if row["status"] not in ("rejected", "exhausted") and row["reason"]
        else row["reason"] or row["status"]
        for row in failed.to_pylist()
    )
    return grouped(reasons, _MOST_REASONS)


def _steps(folder: RunFolder, found: RunStatus) -> list[tuple[str, str]]:
    """What to do next, the most pressing first."""
    run = f"dprm run {found.recipe}"
    if found.running:
        return [(f"dprm status {folder}", "look again: a process is working on it")]
    steps = []
    if found.possibly_billed:
        steps.append(
            (
                f"dprm ledger settle {folder} --billed DOLLARS",
                "record what the provider billed for the calls in flight of a killed process",
            )
        )
    if found.batches:
        steps.append((run, f"collect {found.batches:,} batches"))
    elif found.calls_left:
        cost = "" if found.cost_left is None else f", about {money(found.cost_left)}"
        steps.append((run, f"continue: {found.calls_left:,} calls are left{cost}; no answer is paid for again"))
    elif found.items is None or (found.calls_left is None and not found.tables.get("distributions")):
        steps.append((run, "start again from the source: nothing that was paid for is lost"))
    elif not found.tables.get("distributions"):
        steps.append((f"dprm ratings fit {folder}", "write the dataset from the ledger, without a call"))
    if found.failures and not found.calls_left:
        steps.append((f"{run} --retry-failed", advice_on_failed(found.failures)))
    if found.tables.get("distributions"):
        steps.append((f"dprm show {folder}", "see what there is"))
    return steps
