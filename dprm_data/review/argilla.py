"""Push a run's items, or pairs of responses, to an Argilla server, and pull people's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dprm_data.core.errors import InputError, ReviewError
from dprm_data.core.scrub import public_url
from dprm_data.review.argilla_items import ItemsForArgilla
from dprm_data.review.argilla_pairs import PairsForArgilla
from dprm_data.review.argilla_records import answer_of, read_record
from dprm_data.review.argilla_schema import check_same
from dprm_data.review.argilla_server import Server
from dprm_data.review.human_annotations import Answer, Stored, merge, pseudonym, store
from dprm_data.review.pair_answers import merge_comparisons
from dprm_data.review.sent_log import SentLog
from dprm_data.review.shown_pairs import ShownPair, What
from dprm_data.runs.folder import RunFolder

if TYPE_CHECKING:
    import argilla

    from dprm_data.runs.run import Run


def _quiet(text: str) -> None:
    """Discard the message."""


class UnderReview(Protocol):
    """What is pushed: items, or pairs of responses. A record's external id is an item's id, or a pair's key."""

    blind: bool

    def settings(self, people: int) -> argilla.Settings:
        """Of the dataset."""

    def knows(self, external_id: str) -> bool:
        """Whether a record there is of this run."""

    def choose(self, count: int, people: int, ours: Sequence[str], log: SentLog) -> list[str]:
        """The ids of new records, so that with `ours` there are `count`; the log says how they were chosen."""

    def payloads(self, keys: Sequence[str], question: str, purposes: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Records for the REST API. question: the id of the question about a label; purposes: why each was chosen."""


@dataclass(frozen=True)
class Pushed:
    """The result of a push. records: of this run, now in the dataset; other: records there that are not of this run; people: answers requested per record."""

    workspace: str
    dataset: str
    url: str
    created: int
    updated: int
    records: int
    other: int
    people: int
    blind: bool
    purposes: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def push(
    run: Run,
    *,
    workspace: str,
    dataset: str,
    what: What = "items",
    purpose: str = "divided",
    count: int = 100,
    people: int = 3,
    ids: Sequence[str] = (),
    seed: int = 0,
    blind: bool = False,
    markdown: bool = False,
    server: Server | None = None,
    say: Callable[[str], None] = _quiet,
) -> Pushed:
    """Create or update an Argilla dataset, a record per chosen item, or pair of responses.

    purpose: how items are chosen (`dprm_data.review.selection`), or pairs (`shown_pairs`); count: total records in the dataset, including those of earlier pushes; people: answers requested
    per record; blind: hide the panel's answers and figures, which pairs never show; markdown: render messages as Markdown instead of plain text.

    Existing records are updated (suggestion, votes, metadata); people's answers stay. Raises ReviewError, InputError.
    """
    if people < 1:
        raise InputError(f"--people {people}: a record needs at least one person")
    server = server or Server()
    kind: UnderReview = (
        PairsForArgilla(run, purpose=purpose, seed=seed, ids=ids, markdown=markdown)
        if what == "pairs"
        else ItemsForArgilla(run, purpose=purpose, seed=seed, ids=ids, markdown=markdown, blind=blind)
    )
    space = server.workspace(workspace)
    wanted = kind.settings(people)
    target = server.dataset(space, dataset)
    if target is not None:
        check_same(target, wanted)
    there = [] if target is None else list(server.records(target.id, responses=False))
    ours = list(dict.fromkeys(id_ for r in there if (id_ := read_record(r).external_id) and kind.knows(id_)))
    register = SentLog.of(run.folder)
    all_ids = [*ours, *kind.choose(count, people, ours, register)]
    if target is None:
        target = _created(server, space, dataset, wanted)
        say(f"created the dataset {dataset} in {workspace}")
    else:
        _wait_for(server, target, people)
    # Written before the records are sent, so that whatever is on the server is in the log.
    register.went(_place(server, space, target, people, kind.blind) | {"what": what}, ("dataset_id",))
    register.write(run.folder)
    purposes = {id_: why for id_, (why, _) in register.chosen.items()}
    sent = server.upsert(
        target.id,
        kind.payloads(all_ids, str(target.settings.questions["label"].id), purposes),
        sent=lambda total: say(f"{total:,} of {len(set(all_ids)):,} records"),
    )
    return Pushed(
        workspace=workspace,
        dataset=dataset,
        url=f"{public_url(server.url)}/dataset/{target.id}/annotation-mode",
        created=sent - len(ours),
        updated=len(ours),
        records=sent,
        other=len(there) - len(ours),
        people=people,
        blind=kind.blind,
        purposes=dict(Counter(purposes.get(id_, "ids") for id_ in set(all_ids))),
    )


def _created(server: Server, workspace: argilla.Workspace, name: str, wanted: argilla.Settings) -> argilla.Dataset:
    import argilla as rg

    with server.explained():
        made = rg.Dataset(name=name, workspace=workspace, settings=wanted, client=server.client).create()
        made.settings.get()
    return made


def _wait_for(server: Server, dataset: argilla.Dataset, people: int) -> None:
    """Set how many answers each record of an existing dataset needs. The server recounts what is complete when records are updated."""
    if dataset.settings.distribution.min_submitted != people:
        content = {"distribution": {"strategy": "overlap", "min_submitted": people}}
        server.ask("PATCH", f"/datasets/{dataset.id}", json=content)


def _place(
    server: Server, workspace: argilla.Workspace, dataset: argilla.Dataset, people: int, blind: bool
) -> dict[str, Any]:
    return {
        "kind": "argilla",
        "url": public_url(server.url),
        "workspace": workspace.name,
        "dataset": dataset.name,
        "dataset_id": str(dataset.id),
        "people": people,
        "blind": blind,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@dataclass(frozen=True)
class Pulled:
    """The result of a pull from one dataset. unknown: answers to records that are not of this run, ignored."""

    workspace: str
    dataset: str
    stored: Stored
    unknown: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def pull(
    run: Run, *, workspace: str | None = None, dataset: str | None = None, server: Server | None = None
) -> list[Pulled]:
    """Bring people's answers into the run, from the datasets it was pushed to (or from the one that is named), and merge them into its annotations.

    Pulling twice changes nothing. What a person changed or withdrew is changed or withdrawn here; answers whose annotator's account or whose record was
    deleted stay. Raises ReviewError; what was pulled earlier then stays.
    """
    places = _places(run.folder, workspace, dataset)
    server = server or Server()
    found = []
    for space_name, name in places:
        space = server.workspace(space_name)
        target = server.dataset(space, name)
        if target is None:
            raise ReviewError(
                f"{public_url(server.url)} has no dataset {name!r} in {space_name!r}",
                hint="What was pulled from it before is kept. Push again, or name another: --workspace W --dataset D.",
            )
        answers, items, unknown = _answers(run, server, target)
        stored = store(
            run.folder,
            f"argilla:{target.id}",
            answers,
            source={"server": public_url(server.url), "workspace": space_name, "dataset": name},
            accounts={pseudonym(run.folder, user) for user in server.accounts(space.id)},
            items=items,
        )
        found.append(Pulled(space_name, name, stored, unknown))
    merge(run.folder)
    merge_comparisons(run.folder)
    return found


def _places(folder: RunFolder, workspace: str | None, dataset: str | None) -> list[tuple[str, str]]:
    if workspace and dataset:
        return [(workspace, dataset)]
    pushed = [place for place in SentLog.of(folder).places if {"workspace", "dataset"} <= place.keys()]
    wanted = [
        (place["workspace"], place["dataset"])
        for place in pushed
        if workspace in (None, place["workspace"]) and dataset in (None, place["dataset"])
    ]
    if not wanted:
        raise ReviewError(
            f"{folder} was not pushed to {'such a dataset' if pushed else 'Argilla'} yet",
            hint=f"dprm review push {folder} --workspace W --dataset D, or name where the answers are: --workspace W --dataset D.",
        )
    return list(dict.fromkeys(wanted))


def _answers(run: Run, server: Server, dataset: argilla.Dataset) -> tuple[list[Answer], set[str], int]:
    """The answers to this run's items and pairs, those that the dataset has, and the number of answers to other records."""
    import pyarrow.parquet as pq

    known = set(pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist())
    answers: list[Answer] = []
    items: set[str] = set()
    unknown = 0
    for content in server.records(dataset.id):
        record = read_record(content)
        responses, item_id = record.responses or [], record.external_id
        pair = ShownPair.of(item_id or "")
        if not (pair.sides if pair else {item_id}) <= known or item_id is None:
            unknown += len(responses)
            continue
        items.add(item_id)
        space = pair.space if pair else run.space
        answers += [answer_of(response, item_id, run.folder, space) for response in responses]
    return answers, items, unknown
