"""All benchmarks of judges: found by name, loaded from a folder or the Hugging Face Hub, and sampled."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from dprm_data.core.errors import VotesError
from dprm_data.core.text import did_you_mean
from dprm_data.ingest.judge_sets import judgebench, ppe, rewardbench2, rm_bench
from dprm_data.ingest.judge_sets.judge_set import Case, JudgeSet, LoadedCases, Part, distinct
from dprm_data.ingest.named_sets.set_files import SetFiles, hub_folder

_MODULES = (rewardbench2, rm_bench, judgebench, ppe)
_SETS: Mapping[str, JudgeSet] = MappingProxyType({each.name: each for module in _MODULES for each in module.SETS})


def judge_sets() -> Mapping[str, JudgeSet]:
    """All of them, by name."""
    return _SETS


def judge_set(name: str) -> JudgeSet:
    """The benchmark with this name. Raises `VotesError`."""
    if name not in _SETS:
        raise VotesError(
            f"no benchmark of judges is called {name!r}{did_you_mean(name, _SETS)}",
            hint=f"The benchmarks: {', '.join(_SETS)}.",
        )
    return _SETS[name]


def load_cases(name: str, data: Path | None = None) -> LoadedCases:
    """The cases of a benchmark. data: the folder with its files (or its only file); None fetches them from the Hub. Raises `VotesError`."""
    about = judge_set(name)
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    cases = distinct(case for part, files in _parts(about, data, notes) for case in about.read(files, part, left_out))
    if not cases:
        raise VotesError(
            f"{about.name}: no case in {data or 'what the Hub has'}", hint=f"The benchmark is at {about.source}."
        )
    notes += [f"{count:,} rows {reason}; they are left out" for reason, count in left_out.items()]
    return LoadedCases(about, cases, notes)


def _parts(about: JudgeSet, data: Path | None, notes: list[str]) -> Iterator[tuple[Part, SetFiles]]:
    """Each part with its files. Of a benchmark in several parts, a local copy may have a few."""
    several = len(about.parts) > 1
    if data is None:
        for part in about.parts:
            yield part, SetFiles(about.name, hub_folder(about.name, part.hub, part.files), about.source)
        return
    if not several or not data.is_dir():
        yield about.parts[0], SetFiles(about.name, data, about.source)
        return
    there = [part for part in about.parts if (data / part.folder).is_dir()]
    if not there:
        raise VotesError(
            f"{data}: none of the folders of {about.name}",
            hint=f"It has one or more of: {', '.join(part.folder for part in about.parts)}; each is a dataset at {about.source}.",
        )
    for part in about.parts:
        if part in there:
            yield part, SetFiles(about.name, data / part.folder, about.source)
        else:
            notes.append(f"{part.folder} is not in {data}: its sections are missing")


def sample_cases(loaded: LoadedCases, count: int, *, seed: int = 0) -> LoadedCases:
    """About as many cases, the same part of every section (one of each at least), in their order. Cases of one group stay together; with the same seed, more contain the fewer."""
    if count >= len(loaded.cases):
        return loaded
    groups: dict[str, dict[str, list[Case]]] = defaultdict(lambda: defaultdict(list))
    for case in loaded.cases:
        groups[case.section][case.group].append(case)
    kept: set[str] = set()
    for section in groups.values():
        size = sum(map(len, section.values()))
        wanted, taken = max(1, math.floor(size * count / len(loaded.cases))), 0
        for group in sorted(section, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest()):
            if taken >= wanted:
                break
            kept |= {case.case_id for case in section[group]}
            taken += len(section[group])
    return replace(loaded, cases=[case for case in loaded.cases if case.case_id in kept])
