"""One run's state as the page gets it: plain data, from the run's folder alone. No call is made, and nothing is written."""

from __future__ import annotations

import heapq
import os
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError
from dprm_data.core.format import count, duration, money, number
from dprm_data.core.secret_scan import Secrets
from dprm_data.core.tables import ANNOTATIONS, conformed
from dprm_data.core.text import cut, visible
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.live.item_front import SAMPLE, ItemFront
from dprm_data.live.judged_sample import Content, JudgedSample, figures, names_of, newest_first, shown_item, texts
from dprm_data.live.ledger_tail import LedgerTail
from dprm_data.runs.folder import RunFolder, is_run_folder
from dprm_data.runs.raters import ratings_file
from dprm_data.runs.run import Run
from dprm_data.runs.run_status import RunStatus, run_status

_SHARE_OF_TIME = 8  # a status that took a second is read again after so many
_FRESH = 30.0  # seconds since the last call in which a run counts as running that has no lock on its folder: one that workers share
_MOST_REASON = 300  # characters
_FIRST_STATUS = 2.0  # seconds to wait for it; after that the page begins without
_MASK = "(holds a key: not shown)"


class RunSnapshot:
    """Reads one run again and again. `read` takes about a second at most, however large the run is; what takes longer is read beside it.

    waits: the folder may not be there yet, because its run is about to begin.
    """

    def __init__(self, path: Path, *, waits: bool = False) -> None:
        self.path = path
        self._waits = waits
        self._run: Run | None = None
        self._stamp: object = None  # of the recipe that `_run` was opened with
        self._tail: LedgerTail | None = None
        self._sample: JudgedSample | None = None
        self._front: ItemFront | None = None
        self._front_stamp: list[int] = []  # of the files from which it was made
        self._table_content: tuple[object, Content] | None = None
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="status")
        self._pending: Future[tuple[RunStatus, float]] | None = None
        self._status: RunStatus | None = None
        self._next_status = 0.0
        self._spent: float | None = None
        self._faults: list[str] = []
        self._secrets = Secrets.of_environment(os.environ)

    def close(self) -> None:
        self._beside.shutdown(wait=False, cancel_futures=True)

    def check(self) -> None:
        """Raises `InputError` where there is no run, and `DprmError` where it may not be read (`recipe/trust`)."""
        Run.open(self.path)

    def read(self, *, whole: bool = False) -> Content:
        """The state at present. whole: with a status that is read from now on."""
        self._faults = []
        content: Content = {"folder": str(self.path), "name": self.path.absolute().name}
        try:
            self._read_status(whole=whole)
            content |= self._judged()
        except DprmError as error:
            self._faults.append(error.message)
        except Exception as error:  # as of a table that is being written: the page says so, and goes on
            self._faults.append(f"{self.path} cannot be read at the moment: {type(error).__name__}: {error}")
        if self._run:
            content["name"] = self._run.recipe.name
        content |= self._progress() | {"faults": list(dict.fromkeys([*self._faults, *self._status_faults()]))}
        masked: Content = without_keys(content, self._secrets)
        return masked

    # -- the status: what `dprm status` says ------------------------------------------------------------------------------

    def _read_status(self, *, whole: bool) -> None:
        if whole and self._pending:  # begun before the end, and so perhaps not the last word
            futures.wait([self._pending])
            self._pending = None
        if self._pending is None and (whole or time.monotonic() >= self._next_status):
            self._pending = self._beside.submit(self._timed_status)
        if self._pending is None:
            return
        wait = None if whole else _FIRST_STATUS if self._status is None else 0.0
        if futures.wait([self._pending], wait).done:
            pending, self._pending = self._pending, None
            try:
                self._take(pending.result())
            except DprmError:
                if not self._waits or is_run_folder(self.path):
                    raise
                self._next_status = time.monotonic() + 0.5

    def _timed_status(self) -> tuple[RunStatus, float]:
        began = time.monotonic()
        return run_status(self.path), time.monotonic() - began

    def _take(self, timed: tuple[RunStatus, float]) -> None:
        self._status, seconds = timed
        self._next_status = time.monotonic() + max(1.5, _SHARE_OF_TIME * seconds)
        self._waits = False

    def _status_faults(self) -> list[str]:
        return self._status.faults if self._status else []

    # -- what the answers say -----------------------------------------------------------------------------------------------

    def _judged(self) -> Content:
        run = self._opened()
        if run is None:
            return {}
        if run.asks_models and exists(run.ledger_address):
            with run.ledger(readonly=True) as ledger:
                return self._from_ledger(run, ledger)
        return self._from_table(run)

    def _opened(self) -> Run | None:
        """The run, opened again where its recipe has changed; None before there is one."""
        file = RunFolder(self.path).recipe_file
        if not file.is_file():
            return None
        stamp = file.stat().st_mtime_ns
        if self._run is None or stamp != self._stamp:
            self._run, self._stamp = Run.open(self.path), stamp
            named = [place.api_key_env for place in self._run.recipe.places if place.api_key_env]
            self._secrets = Secrets.of_environment(os.environ, named)
            self._tail, self._sample, self._front = LedgerTail(self._run.recipe.name), None, None
        return self._run

    def _from_ledger(self, run: Run, ledger: Ledger) -> Content:
        assert self._tail is not None
        self._tail.read(ledger.store)
        self._spent = ledger.store.spent(run.recipe.name)
        content: Content = {"batches": self._batches(run, ledger), "simulated": True}
        with suppress(DprmError):  # responses or pairs that are still to be made
            self._follow(run)
        if self._sample:
            self._sample.read(ledger)
            content |= self._sample.content()
        return content

    def _follow(self, run: Run) -> None:
        """Follow the items of the present table from its start, again after it or the manifest was written: a run that asks failed items again leaves both as it ends."""
        stamp = [path.stat().st_mtime_ns for path in (run.asked_items, run.folder.manifest_file) if path.is_file()]
        if self._front is None or stamp != self._front_stamp:
            if self._front:
                self._front.close()
            self._front, self._front_stamp = ItemFront(run.asked_items, run.work), stamp
            self._sample = JudgedSample(run.work, self._front)

    def _batches(self, run: Run, ledger: Ledger) -> Content | None:
        if run.recipe.mode != "batch":
            return None
        pending = ledger.store.batches(run.recipe.name)
        oldest = min((each.created_at for each in pending), default=0.0)
        return {"pending": len(pending), "calls": sum(each.rows for each in pending), "since": oldest}

    def _from_table(self, run: Run) -> Content:
        """What there is without a ledger: a pulled dataset, or people's ratings."""
        files = [path for path in (run.folder.table("annotations"), ratings_file(run.folder)) if path.is_file()]
        stamp = [(path, path.stat().st_mtime_ns) for path in files]
        if self._table_content and self._table_content[0] == stamp:
            return self._table_content[1]
        found: list[dict[str, Any]] = []
        for path in files:
            ids = pc.unique(pq.read_table(path, columns=["item_id"])["item_id"]).to_pylist()
            sample = heapq.nsmallest(SAMPLE, ids)  # ids are hashes
            table = pq.read_table(path, filters=[("item_id", "in", sample)]) if sample else pq.read_table(path)
            found += conformed(table, ANNOTATIONS).to_pylist()
        names = names_of(run.panel)
        by_item: dict[str, list[dict[str, Any]]] = {}
        for row in found:
            by_item.setdefault(row["item_id"], []).append(row)
        shown = newest_first(by_item)
        said = self._texts(run, shown)
        content = figures(found, run.space, names) | {
            "said": f"{len({row['item_id'] for row in found}):,} items",
            "simulated": run.asks_models,
            "items": [
                shown_item(by_item[id_], names, run.space)
                | said.get(id_, {"prompt": "", "responses": []})
                | {"of": None, "done": True}
                for id_ in shown
            ],
        }
        self._table_content = (stamp, content)
        return content

    def _texts(self, run: Run, wanted: list[str]) -> dict[str, Content]:
        path = next((path for name in ("items", "distributions") if (path := run.folder.table(name)).is_file()), None)
        if path is None or not wanted:
            return {}
        table = pq.read_table(path, columns=["item_id", "prompt", "completion"], filters=[("item_id", "in", wanted)])
        return {row["item_id"]: texts(row["prompt"], [row["completion"]]) for row in table.to_pylist()}

    # -- how far it is ----------------------------------------------------------------------------------------------------

    def _progress(self) -> Content:
        """Calls, rate, cost and projection; failures; what to do next."""
        status, tail, now = self._status, self._tail, time.time()
        if status is None:
            begun = is_run_folder(self.path)
            return {"state": {"kind": "waiting", "words": "reading the folder" if begun else "nothing here yet"}}
        calls = max(status.calls_made, tail.calls if tail else 0)
        since = max(0, (tail.calls if tail else 0) - status.calls_made)
        left = None if status.calls_left is None else max(0, status.calls_left - since)
        cost_left = status.cost_left
        if cost_left is not None and status.calls_left:
            cost_left *= (left or 0) / status.calls_left
        pace = tail.pace(now) if tail else None
        spent = status.spent if self._spent is None else max(status.spent, self._spent)
        unpriced = bool(status.unpriced) and status.unpriced >= status.calls_made
        shared = self._run is not None and self._run.shared
        running = status.running or bool(shared and left and tail and tail.last and now - tail.last < _FRESH)
        return {
            "state": _state(status, running, left),
            "items_done": max(status.items_done, min(self._front.done, status.items or 0) if self._front else 0),
            "items_total": status.items,
            "calls": calls,
            "calls_left": left,
            "unread": tail.behind if tail else 0,
            "budget": None if status.budget is None else money(status.budget),
            "spent": money(None if unpriced else spent, "not known"),
            "projected": money(spent + cost_left) if cost_left else None,
            "possibly_billed": money(status.possibly_billed) if status.possibly_billed else None,
            "pace": _pace(pace, left, running),
            "models": [
                {
                    "name": name,
                    "answered": each.answered,
                    "failed": each.failed,
                    "cost": money(each.cost if each.priced or not each.answered else None, "not known"),
                    "wait": duration(each.seconds / each.answered) if each.answered else "–",
                }
                for name, each in (tail.models if tail else {}).items()
            ],
            "attempts": status.attempts,
            "failures": {visible(cut(reason, _MOST_REASON)): each for reason, each in status.failures.items()},
            "tables": status.tables,
            "steps": [list(step) for step in status.steps],
        }


def _pace(pace: Any, left: int | None, running: bool) -> Content | None:
    if pace is None:
        return None
    to_go = duration(left / pace.rate) if running and left and pace.rate > 0 else None
    return {
        "start": pace.start,
        "end": pace.end,
        "width": pace.width,
        "bars": pace.bars,
        "a_minute": round(pace.rate * 60, 1),
        "words": f"{number(pace.rate, 1)} a second" if pace.rate >= 1 else f"{count(pace.rate * 60)} a minute",
        "left": to_go,
    }


def _state(status: RunStatus, running: bool, left: int | None) -> Content:
    """Whether it runs, is finished, or was stopped and why."""
    if running:
        return {"kind": "running", "words": "running"}
    if status.batches:
        return {"kind": "waiting", "words": f"{status.batches:,} batches are with the provider"}
    if left:
        return {
            "kind": "stopped",
            "words": _why_stopped(status.stopped) if status.stopped else "not finished",
        }
    if status.tables.get("distributions") or status.tables.get("utilities"):
        return {"kind": "finished", "words": "finished"}
    if status.tables.get("annotations") or status.tables.get("comparisons"):
        return {"kind": "finished", "words": "annotated, not fitted yet"}
    return {"kind": "stopped", "words": "not finished"}


def _why_stopped(reason: str) -> str:
    return reason if reason == "stopped" else f"stopped: {visible(cut(reason, _MOST_REASON))}"


def without_keys(value: Any, secrets: Secrets) -> Any:
    """A copy in which texts that hold a key are masked."""
    if isinstance(value, str):
        return _MASK if len(value) >= 8 and secrets.found_in(value) else value
    if isinstance(value, dict):
        return {without_keys(name, secrets): without_keys(inner, secrets) for name, inner in value.items()}
    return [without_keys(inner, secrets) for inner in value] if isinstance(value, list) else value
