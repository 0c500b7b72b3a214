"""The sets of the shared tasks "Learning with Disagreements" (LeWiDi) of 2023 and 2025, in their common format.

Source of the format: LeWiDi_2-2023/readme.md and LeWiDi_3-2025/readme.md of github.com/Le-Wi-Di/le-wi-di.github.io, and the first entries of their files. A JSON file is
a mapping from an id to an item: `text` (a text, or an object), `annotators` ("Ann1,Ann2"), `annotations` (2023: "0,1", in the order of the annotators; 2025: a
mapping from annotator to label, where "entailment,neutral" are two labels of one person), `other_info`. 2025 has `…_annotators_meta.json`, in which ids may lack
their "Ann"; 2023 has the annotators' groups in `other_info`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dprm_data.core.errors import VotesError
from dprm_data.ingest.named_sets.lewidi_tasks import TASKS, Task
from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows

_UNKNOWN = ("DATA_EXPIRED", "CONSENT_REVOKED")  # what Prolific writes for what it does not tell any more


def _reader(task: Task) -> Callable[[SetFiles, VoteRows], None]:
    def read(files: SetFiles, votes: VoteRows) -> None:
        people = _people(files, task) if task.year == 2025 and files.is_folder else {}
        for path in files.every(f"{task.folder}_*.json"):
            if path.stem.endswith("_annotators_meta"):
                continue
            for item_id, item in files.entries(path).items():
                place = f"{path}: {item_id}"
                files.require(item, ("text", "annotators", "annotations"), place)
                prompt, response = _texts(files, task, item["text"], place)
                _add(votes, task, f"{path.stem}-{item_id}", prompt, response, item, people, place)

    return read


def _people(files: SetFiles, task: Task) -> Mapping[str, Mapping[str, Any]]:
    entries = files.entries(files.one(f"{task.folder}_annotators_meta.json"))
    return {
        who: {
            str(name).strip().lower().replace(" ", "_"): None if value in _UNKNOWN else value
            for name, value in about.items()
        }
        for who, about in entries.items()
        if isinstance(about, Mapping)
    }


def _texts(files: SetFiles, task: Task, text: Any, place: str) -> tuple[str, str]:
    if not task.fields:
        return task.prompt, str(text)
    if isinstance(text, str):  # 2023 writes an object as a text
        try:
            text = json.loads(text)
        except ValueError as error:
            raise VotesError(f"{place}: text must hold a JSON object", hint="Fetch the file again.") from error
    files.require(text, task.fields, f"{place}: text")
    return task.joined(text)


def _add(
    votes: VoteRows,
    task: Task,
    item_id: str,
    prompt: str,
    response: str,
    item: Mapping[str, Any],
    people: Mapping[str, Mapping[str, Any]],
    place: str,
) -> None:
    """An item's votes; of a person who gave several labels, each counts in part."""
    groups = _groups(item)
    for at, (who, said) in enumerate(_signed(item)):
        given = [part.strip() for part in said.split(",")]
        about = people.get(who) or people.get(who.removeprefix("Ann")) or {}
        if at < len(groups):
            about = {**about, "group": groups[at]}
        for label in given:
            named = task.words.get(label, label)
            votes.add(item_id, prompt, response, named, place, rater=who, weight=1 / len(given), attributes=about)


def _signed(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Who said what."""
    said = item["annotations"]
    if isinstance(said, Mapping):
        return [(str(who), str(label)) for who, label in said.items()]
    people, labels = (str(part or "").split(",") for part in (item["annotators"], said))
    return [(who.strip(), label) for who, label in zip(people, labels, strict=False)]


def _groups(item: Mapping[str, Any]) -> list[str]:
    """The annotators' groups, which the sets of 2023 spell in several ways."""
    other = item.get("other_info")
    if not isinstance(other, Mapping):
        return []
    named = {str(name).lower().replace("_", " "): value for name, value in other.items()}
    return [part.strip() for part in str(named.get("annotators group") or "").split(",") if part.strip()]


SETS = tuple(
    NamedSet(
        name=f"lewidi-{task.name}",
        title=task.title,
        question=task.question,
        labels=task.labels,
        unit="vote",
        raters=task.raters,
        attributes=task.attributes,
        licence=task.licence,
        citation=task.citation,
        source="https://github.com/Le-Wi-Di/le-wi-di.github.io",
        files=(f"{task.folder}_*.json",),
        leakage=f"Public since {task.year} as a shared task, and the texts longer: a model may have seen them with their labels.",
        read=_reader(task),
    )
    for task in TASKS
)
