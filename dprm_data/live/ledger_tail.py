"""The end of a growing ledger: one run's calls by model and by time, without reading the whole ledger again each time.

Ids below a mark are summed once. Only the last few thousand are summed again at every reading: several writers on one PostgreSQL ledger may
commit a lower id after a higher one.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from dprm_data.ledger.store import LedgerStore, Select

_BLOCK = 10_000  # ids in one query
_OPEN = 5_000  # ids at the end that are summed again each time
_SECONDS = 0.5  # to catch up, in one reading
_MOST_BINS = 5_000
_PAUSE = 600.0  # seconds without a call between two sittings
_MINUTE = 60.0
_BARS, _FEWEST_BARS = 90, 15
_FEW = 4  # calls in a bar, on average, if there are as many bars then
_WIDTHS = (2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)  # of a bar, in seconds

_QUERY = (
    "SELECT run, model, status, CAST(created_at / {width} AS bigint), COUNT(*), SUM(cost), COUNT(cost), SUM(latency), MIN(created_at), MAX(created_at) "
    "FROM {calls} WHERE id > {after} AND id <= {last} GROUP BY run, model, status, CAST(created_at / {width} AS bigint)"
)


@dataclass
class ModelCalls:
    """Calls of one model, as it names itself. cost: dollars; seconds: of waiting, in all; failed: calls that got no answer."""

    answered: int = 0
    failed: int = 0
    cost: float = 0.0
    priced: int = 0
    seconds: float = 0.0

    def add(self, other: ModelCalls) -> None:
        self.answered += other.answered
        self.failed += other.failed
        self.cost += other.cost
        self.priced += other.priced
        self.seconds += other.seconds


@dataclass
class _Sums:
    """models: by name; bins: calls by time, in units of the bins' width; first and last: seconds since 1970."""

    models: dict[str, ModelCalls] = field(default_factory=dict)
    bins: Counter[int] = field(default_factory=Counter)
    first: float = float("inf")
    last: float = 0.0

    def add(self, other: _Sums) -> None:
        for name, calls in other.models.items():
            self.models.setdefault(name, ModelCalls()).add(calls)
        self.bins.update(other.bins)
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


@dataclass(frozen=True)
class Pace:
    """How fast calls were answered in the last sitting. start, end: seconds since 1970; width: of a bar, in seconds; bars: calls in each;
    rate: calls a second, in the last minute if the sitting goes on, else on average."""

    start: float
    end: float
    width: float
    bars: list[int]
    rate: float


class LedgerTail:
    """The calls of one run. `read` brings the sums up to date; behind: ids that are not summed yet."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._width = 2.0  # of a bin, in seconds
        self._closed = _Sums()
        self._mark = 0  # the last id that is summed for good
        self._sums = _Sums()
        self.behind = 0

    @property
    def calls(self) -> int:
        return sum(each.answered + each.failed for each in self._sums.models.values())

    @property
    def models(self) -> dict[str, ModelCalls]:
        """By the name under which the provider answered; "" is of calls without an answer."""
        return dict(sorted(self._sums.models.items(), key=lambda pair: -pair[1].answered))

    @property
    def last(self) -> float | None:
        """When the newest call was answered: seconds since 1970."""
        return self._sums.last or None

    def read(self, store: LedgerStore) -> None:
        """Bring the sums up to date; where there is very much to read, in part. Raises `LedgerError`."""
        until = time.monotonic() + _SECONDS
        with store.snapshot() as select:
            top = next(iter(select("SELECT COALESCE(MAX(id), 0) FROM calls")))[0]
            while top - self._mark > _BLOCK + _OPEN and time.monotonic() < until:
                self._closed.add(self._summed(store, select, self._mark, self._mark + _BLOCK))
                self._mark += _BLOCK
                self._widen()
            self._sums = _Sums()
            self._sums.add(self._closed)
            end = min(top, self._mark + _BLOCK + _OPEN)
            self._sums.add(self._summed(store, select, self._mark, end))
            self.behind = top - end

    def pace(self, now: float) -> Pace | None:
        """The pace of the last sitting; None before the first call."""
        sums = self._sums
        if not sums.bins:
            return None
        going = now - sums.last < _MINUTE
        start = self._sitting(sorted(sums.bins))
        end = max(now if going else sums.last, start + 1.0)
        calls = all_calls = sum(count for at, count in sums.bins.items() if at * self._width >= start - self._width)
        span = end - start
        if going and span > _MINUTE:
            span = max(_MINUTE, 4 * self._width)
            calls = sum(count for at, count in sums.bins.items() if (at + 0.5) * self._width > end - span)
        least = max(
            self._width,
            (end - start) / _BARS,
            min(_FEW * (end - start) / max(all_calls, 1), (end - start) / _FEWEST_BARS),
        )
        width = next((each for each in _WIDTHS if each >= least), _WIDTHS[-1])
        first = start // width * width
        bars = [0] * max(1, min(_BARS + 1, int((end - first) // width) + 1))
        for at, count in sums.bins.items():
            place = int((at * self._width - first) // width)
            if 0 <= place < len(bars):
                bars[place] += count
        return Pace(first, end, float(width), bars, calls / span)

    def _sitting(self, bins: list[int]) -> float:
        """When the last sitting began: the calls before it are longer ago than a pause."""
        start = bins[-1]
        for at in reversed(bins):
            if (start - at) * self._width > _PAUSE:
                break
            start = at
        return max(start * self._width, self._sums.first)

    def _summed(self, store: LedgerStore, select: Select, after: int, last: int) -> _Sums:
        found = _Sums()
        query = _QUERY.format(width=self._width, calls=store.relation("calls"), after=int(after), last=int(last))
        for run, model, status, _, count, cost, priced, latency, first, newest in select(query):
            if run != self._run:
                continue
            answered = status == "answered"
            calls = ModelCalls(
                count if answered else 0, 0 if answered else count, float(cost or 0), priced, float(latency or 0)
            )
            found.models.setdefault(model if answered else "", ModelCalls()).add(calls)
            found.bins[int(first // self._width)] += count
            found.first, found.last = min(found.first, first), max(found.last, newest)
        return found

    def _widen(self) -> None:
        """Keep the number of bins bounded: twice as wide, where there are too many."""
        while len(self._closed.bins) > _MOST_BINS:
            halved: Counter[int] = Counter()
            for at, count in self._closed.bins.items():
                halved[at // 2] += count
            self._closed.bins = halved
            self._width *= 2
