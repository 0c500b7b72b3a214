"""A benchmark of judges: its cases, where its files are, and what may be done with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.conversation import Message, Messages
from dprm_data.core.errors import VotesError
from dprm_data.ingest.items import Item, ids_of
from dprm_data.ingest.messages import BadRow, prompt_messages
from dprm_data.ingest.named_sets.set_files import SetFiles

BLANK = "(no response)"  # shown to judges in place of a response without text


@dataclass(frozen=True)
class Case:
    """One prompt with its responses (k of them), as a benchmark compares them.

    section: what the benchmark reports it under. right: whether each response is right, (k,). pairs: which responses are compared, (right, wrong), where the benchmark says so.
    group: cases with one group are drawn together in intervals.
    """

    case_id: str
    section: str
    prompt: Messages
    responses: tuple[str, ...]
    right: tuple[bool, ...]
    group: str
    pairs: tuple[tuple[int, int], ...] = ()

    def items(self) -> list[Item]:
        """An item for each response; responses with one text are one item."""
        group = hashlib.sha256(self.case_id.encode()).hexdigest()[:32]
        return [
            Item(ids_of(self.prompt, reply)[0], self.prompt, reply, group, None, self.case_id, {})
            for reply in map(_reply, self.responses)
        ]


@dataclass(frozen=True)
class Part:
    """One repository of a benchmark's. folder: where a local copy has it, below the folder of a benchmark in several parts; files: patterns of names, the first that is there is read."""

    folder: str
    hub: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class JudgeSet:
    """A public benchmark of judges. read: the cases of one part; rows that cannot be used are counted by their reason."""

    name: str
    title: str
    licence: str
    citation: str
    source: str
    parts: tuple[Part, ...]
    leakage: str
    read: Callable[[SetFiles, Part, Counter[str]], Iterator[Case]]


@dataclass(frozen=True)
class LoadedCases:
    """The cases of a benchmark that were read. notes: what was left out or is not there, for people to read."""

    about: JudgeSet
    cases: list[Case]
    notes: list[str]

    @property
    def digest(self) -> str:
        """A hash of the cases: their texts, sections, and which responses are right."""
        content = [
            [case.case_id, case.section, case.prompt, case.responses, case.right, case.pairs] for case in self.cases
        ]
        return hashlib.sha256(orjson.dumps(content)).hexdigest()[:32]


def tables(files: SetFiles, part: Part) -> list[Path]:
    """The part's files: those of the first pattern that some have. Raises `VotesError`."""
    for pattern in part.files[:-1]:
        try:
            return files.every(pattern)
        except VotesError:
            continue
    return files.every(part.files[-1])


def asked(value: Any, place: str) -> Messages:
    """The prompt in a cell: a text as it is, or a list of messages. Raises `VotesError`."""
    if isinstance(value, str) and value.strip():
        return (Message(role="user", content=value),)
    try:
        return prompt_messages(value, "prompt")
    except BadRow as error:
        raise VotesError(f"{place}: {error}", hint="Fetch the file again, or take the row out.") from error


def texts(files: SetFiles, value: Any, column: str, place: str) -> list[str]:
    """The texts in a cell that holds a list. Raises `VotesError`."""
    return ["" if each is None else str(each) for each in files.literal(value, list, column, place)]


def distinct(cases: Iterable[Case]) -> list[Case]:
    """The cases, each id once: a repetition has a number."""
    seen: Counter[str] = Counter()
    found = []
    for case in cases:
        seen[case.case_id] += 1
        times = seen[case.case_id]
        found.append(case if times == 1 else _renamed(case, f"{case.case_id} ({times})"))
    return found


def _renamed(case: Case, name: str) -> Case:
    return Case(name, case.section, case.prompt, case.responses, case.right, case.group, case.pairs)


def _reply(text: str) -> Messages:
    return (Message(role="assistant", content=text if text.strip() else BLANK),)
