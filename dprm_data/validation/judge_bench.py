"""A judge on a benchmark: its figures, those of the rivals, what it cost, and `bench.json`, which is laid out as a leaderboard's row with its intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson

from dprm_data.core.tables import write_text
from dprm_data.ingest.judge_sets.judge_set import LoadedCases
from dprm_data.labels.statistics import Interval
from dprm_data.validation.bench_scores import Protocol, Rewards, resamples_of, rival_scores, score
from dprm_data.validation.best_of_four import BEST_OF_FOUR
from dprm_data.validation.pair_verdicts import PAIR_VERDICTS
from dprm_data.validation.picked_of_many import PICKED_OF_MANY
from dprm_data.validation.style_matrix import STYLE_MATRIX

FILE = "bench.json"
FORMAT = 1
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {"rewardbench2": BEST_OF_FOUR, "rm-bench": STYLE_MATRIX, "judgebench": PAIR_VERDICTS, "ppe": PICKED_OF_MANY}
)


@dataclass(frozen=True)
class Judged:
    """What a judge said. rewards: of each case, its responses' (k,), NaN without an answer. kind: panel or reward model; cost: dollars, None where a price is not known;
    identity: hashes of what was asked."""

    name: str
    kind: str
    rewards: Rewards
    cost: float | None = 0.0
    calls: int = 0
    identity: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benched:
    """A judge's figures beside the rivals'. scores: by judge and figure, the main ones first; of: how many cases each section has; unanswered: cases with a response that has no reward."""

    loaded: LoadedCases
    judged: Judged
    protocol: str
    scores: dict[str, dict[str, Interval]]
    of: dict[str, int]
    unanswered: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        about, judged = self.loaded.about, self.judged
        rows = {
            name: {"scores": {figure: found.value for figure, found in figures.items()}}
            | {"intervals": {figure: [found.low, found.high] for figure, found in figures.items()}}
            for name, figures in self.scores.items()
        }
        return {
            "format": FORMAT,
            "benchmark": about.name,
            "model": judged.name,
            "model_type": judged.kind,
            **rows.pop(judged.name),
            "rivals": rows,
            "cases": sum(self.of.values()),
            "cases_by_section": self.of,
            "unanswered": self.unanswered,
            "cost": judged.cost,
            "calls": judged.calls,
            "identity": judged.identity,
            "data": {"digest": self.loaded.digest, "source": about.source, "licence": about.licence}
            | {"citation": about.citation, "leakage": about.leakage},
            "protocol": self.protocol,
            "notes": list(self.notes),
        }


def measure_judge(loaded: LoadedCases, judged: Judged) -> Benched:
    """Put a judge's rewards through the benchmark's protocol, and the rivals through the same."""
    protocol, cases = PROTOCOLS[loaded.about.name], loaded.cases
    draws = resamples_of(cases)
    missing = sum(not np.isfinite(given).all() for given in judged.rewards)
    notes = [*loaded.notes, *judged.notes]
    if missing:
        notes.append(
            f"{missing:,} of {len(cases):,} cases have a response without an answer; what hangs on it counts as wrong"
        )
    found = {judged.name: score(protocol, cases, judged.rewards, draws)} | rival_scores(protocol, cases, draws)
    of: dict[str, int] = {}
    for case in cases:
        of[case.section] = of.get(case.section, 0) + 1
    return Benched(loaded, judged, protocol.words, found, of, missing, tuple(notes))


def write_bench(found: Benched, folder: Path) -> Path:
    """Write `bench.json`, whole."""
    content = found.as_dict() | {
        "dprm_data": version("dprm-data"),
        "written": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    path = folder / FILE
    write_text(path, orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY).decode() + "\n")
    return path
