"""The metrics of a service in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/).

They are updated only on the event loop's thread, so they need no lock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
_PREFIX = "dprm_reward"


@dataclass
class Metrics:
    """rows: scored.

    batches: forward passes. cut_rows: too long for the model. waiting: rows queued. in_flight: requests.
    """

    ready: int = 0
    rows: int = 0
    batches: int = 0
    cut_rows: int = 0
    waiting: int = 0
    in_flight: int = 0
    model_seconds: float = 0.0
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: float = 0.0
    buckets: Counter[float] = field(default_factory=Counter)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request. path: a known route or `other`, so that clients cannot create new series."""
        self.requests[path, status] += 1
        self.seconds += seconds
        for bound in BUCKETS:
            self.buckets[bound] += seconds <= bound

    def text(self) -> str:
        """All metrics, one value per line."""
        lines: list[str] = []
        for name, kind, value, meaning in (
            ("ready", "gauge", self.ready, "Whether the model is loaded."),
            ("rows_total", "counter", self.rows, "Responses scored."),
            ("batches_total", "counter", self.batches, "Forward passes of the model."),
            ("cut_rows_total", "counter", self.cut_rows, "Responses too long for the model."),
            ("rows_waiting", "gauge", self.waiting, "Responses queued for a batch."),
            ("requests_in_flight", "gauge", self.in_flight, "Requests in progress."),
            ("model_seconds_total", "counter", f"{self.model_seconds:.6f}", "Time spent in the model."),
        ):
            lines += [*_head(name, kind, meaning), f"{_PREFIX}_{name} {value}"]
        lines += _head("requests_total", "counter", "Requests by route and status.")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'{_PREFIX}_requests_total{{path="{path}",status="{status}"}} {count}')
        lines += _head("request_seconds", "histogram", "Latency of requests.")
        total = sum(self.requests.values())
        lines += [f'{_PREFIX}_request_seconds_bucket{{le="{bound}"}} {self.buckets[bound]}' for bound in BUCKETS]
        lines.append(f'{_PREFIX}_request_seconds_bucket{{le="+Inf"}} {total}')
        lines += [f"{_PREFIX}_request_seconds_sum {self.seconds:.6f}", f"{_PREFIX}_request_seconds_count {total}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {_PREFIX}_{name} {meaning}", f"# TYPE {_PREFIX}_{name} {kind}"]
