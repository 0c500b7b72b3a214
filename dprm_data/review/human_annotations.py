"""People's answers in the run: the current ones, computed from their ledger, and merged into the run's annotations.

Of the ledger's rows (`answer_ledger`), the last one of a person to an item counts for each origin. `tables/human_annotations.parquet` shows them, drafts
and discarded ones included; only submitted answers become annotations.

*Withdrawn or gone.* An answer that its origin no longer has was withdrawn, if its annotator and its item are still there. If the annotator's account or
the record was deleted, the answer stays and counts: nobody took it back.

*Pseudonyms.* A person is `person-` and 12 hex digits of HMAC-SHA256 of their identity (Argilla's user id, or the name in an imported table), keyed with a salt
that is drawn once per run and never leaves the run folder. So a person has the same pseudonym in every pull of the run, and another one in
another run.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import ReviewError
from dprm_data.core.tables import ANNOTATIONS, conformed, write_parquet, write_text
from dprm_data.review.answer_ledger import HUMAN, AnswerLedger, Row, human_file, ledger_file
from dprm_data.review.shown_pairs import ShownPair
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.raters import ratings_file

PAIR = "compare"  # the elicitation of answers about pairs
SUBMITTED, DRAFT, DISCARDED, WITHDRAWN = "ok", "draft", "discarded", "withdrawn"


@dataclass(frozen=True)
class Answer:
    """One person's answer to one item, or about one pair under its key (`shown_pairs`). label: a name of the label space (of a pair: of its answers), None if there is none yet; status: submitted, draft or
    discarded."""

    item_id: str
    person: str
    label: str | None
    status: str
    comment: str | None
    at: datetime


@dataclass(frozen=True)
class Stored:
    """What a pull or an import changed, in answers; then the current answers of its origin, and how many people submitted some.

    from_deleted_accounts: submitted answers whose annotator's account is gone. cut_off: whether an earlier write of answers was cut off. items: that they are about, pairs: of these pairs of responses.
    """

    new: int
    changed: int
    unchanged: int
    withdrawn: int
    submitted: int
    drafts: int
    discarded: int
    people: int
    items: int
    from_deleted_accounts: int = 0
    cut_off: bool = False
    pairs: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def pseudonym(folder: RunFolder, who: str) -> str:
    """This person's name in this run."""
    return "person-" + hmac.new(_salt(folder), who.encode(), hashlib.sha256).hexdigest()[:12]


def named_person(folder: RunFolder, name: str) -> str:
    """The pseudonym of somebody who is known by a name in a table."""
    return pseudonym(folder, f"name:{name.casefold()}")


def _salt(folder: RunFolder) -> bytes:
    path = folder.path / "review" / "salt"
    if not path.is_file():
        write_text(path, secrets.token_hex(32) + "\n")
        path.chmod(0o600)
    try:
        salt = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except ValueError as error:
        raise _no_salt(path) from error
    if not salt:
        raise _no_salt(path)
    return salt


def _no_salt(path: Path) -> ReviewError:
    return ReviewError(
        f"{path} is damaged: people's pseudonyms cannot be computed",
        hint="Restore it from a copy. With a new one, the people in this run would be counted as others from now on.",
    )


def store(
    folder: RunFolder,
    origin: str,
    answers: Iterable[Answer],
    *,
    source: Mapping[str, Any] | None = None,
    accounts: Collection[str] | None = None,
    items: Collection[str] | None = None,
) -> Stored:
    """Record what changed in an origin's answers. Repeated, it records nothing.

    source: what the ledger says about the origin. accounts, items: the people (pseudonyms) and items that the origin still has (None: all). An answer
    that is no longer among `answers` was withdrawn only if both are still there.
    """
    ledger = AnswerLedger.of(folder)
    before = {key[1:]: row for key, row in _current(ledger.rows).items() if key[0] == origin}
    given = {(answer.item_id, answer.person): _row(answer, origin) for answer in answers}
    written = [row for key, row in given.items() if _content(before.get(key)) != _content(row)]
    withdrawn = [
        {**row, "status": WITHDRAWN}
        for (item, person), row in before.items()
        if (item, person) not in given and _has(accounts, person) and _has(items, item)
    ]
    current = _current(ledger.append([*written, *withdrawn], source or {}).rows)
    write_parquet(human_file(folder), HUMAN, [_table(current.values())])
    mine = [row for key, row in current.items() if key[0] == origin]
    statuses = [row["status"] for row in mine]
    submitted = [row for row in mine if row["status"] == SUBMITTED]
    new = sum(key not in before for key in given)
    return Stored(
        new=new,
        changed=len(written) - new,
        unchanged=len(given) - len(written),
        withdrawn=len(withdrawn),
        submitted=len(submitted),
        drafts=statuses.count(DRAFT),
        discarded=statuses.count(DISCARDED),
        people=len({row["annotator_id"] for row in submitted}),
        items=len({row["item_id"] for row in submitted}),
        from_deleted_accounts=sum(not _has(accounts, row["annotator_id"]) for row in submitted),
        cut_off=ledger.torn > 0,
        pairs=len({row["item_id"] for row in submitted if _is_of_pair(row["item_id"])}),
    )


def _current(rows: Iterable[Row]) -> dict[tuple[str, str, str], Row]:
    """The last row of every origin, item and person, without withdrawn ones."""
    last = {(row["origin"], row["item_id"], row["annotator_id"]): row for row in rows}
    return {key: row for key, row in last.items() if row["status"] != WITHDRAWN}


def _content(row: Row | None) -> Row | None:
    """What a person said, and when; without what the ledger adds."""
    return None if row is None else {name: row[name] for name in HUMAN.names if row.get(name) is not None}


def _has(known: Collection[str] | None, name: str) -> bool:
    return known is None or name in known


def _table(rows: Iterable[Row]) -> pa.Table:
    ordered = sorted(rows, key=lambda row: (row["origin"], row["item_id"], row["annotator_id"]))
    return pa.Table.from_pylist(ordered, schema=HUMAN)


def in_utc(time: datetime) -> datetime:
    """The time in UTC; one without a time zone is taken to be in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def answer_time(time: datetime) -> datetime | None:
    """The time in UTC; None for one before 1900, or to come (clocks may differ by a day)."""
    try:
        time = in_utc(time)
    except OverflowError:
        return None
    return time if time.year >= 1900 and time <= datetime.now(UTC) + timedelta(days=1) else None


def _row(answer: Answer, origin: str) -> Row:
    row = {
        "item_id": answer.item_id,
        "annotator_id": answer.person,
        "annotator_kind": "human",
        "elicitation": PAIR if _is_of_pair(answer.item_id) else "vote",
        "label": answer.label,
        "weight": 1.0,
        "replicate": 0,
        "status": answer.status,
        "rationale": answer.comment,
        "cost": 0.0,  # no call was made for it
        "created_at": answer.at,
        "origin": origin,
    }
    return {name: value for name, value in row.items() if value is not None}


def submitted(folder: RunFolder) -> pa.Table:
    """What people said that counts, as annotations (`tables.ANNOTATIONS`): the ratings that the recipe names, and each person's latest submitted answer
    in a review to each item, ordered by item id. Of somebody who rated an item and answered for it, the answer counts."""
    if not ratings_file(folder).is_file():
        return _answers(folder)
    answers = _answers(folder) if has_answers(folder) else ANNOTATIONS.empty_table()
    ratings = pq.read_table(ratings_file(folder), schema=ANNOTATIONS)
    given, rated = (
        zip(*(table[key].to_pylist() for key in ("item_id", "annotator_id")), strict=True)
        for table in (answers, ratings)
    )
    known = set(given)
    kept = pa.array([pair not in known for pair in rated], pa.bool_())
    return pa.concat_tables([ratings.filter(kept), answers]) if known else ratings


def _is_of_pair(item_id: str) -> bool:
    return ShownPair.of(item_id) is not None


def _answers(folder: RunFolder) -> pa.Table:
    return latest_submitted(folder, pairs=False)


def latest_submitted(folder: RunFolder, *, pairs: bool) -> pa.Table:
    """Answers about items, or about pairs. Someone may have answered in two places; two answers of one person are not two people."""
    table = _table(_current(AnswerLedger.of(folder).rows).values())
    of_pair = pa.array([_is_of_pair(item) for item in table["item_id"].to_pylist()], pa.bool_())
    table = table.filter(pc.and_(pc.equal(table["status"], SUBMITTED), of_pair if pairs else pc.invert(of_pair)))
    order = pc.sort_indices(
        table, [("item_id", "ascending"), ("annotator_id", "ascending"), ("created_at", "descending")]
    )
    table = table.take(order)
    keys = list(zip(table["item_id"].to_pylist(), table["annotator_id"].to_pylist(), strict=True))
    first = pa.array([i == 0 or key != keys[i - 1] for i, key in enumerate(keys)], pa.bool_())
    return table.filter(first).select(ANNOTATIONS.names).cast(ANNOTATIONS)


def has_answers(folder: RunFolder) -> bool:
    """Whether people's answers were ever brought into this run (those in a pulled dataset's annotations aside)."""
    return ledger_file(folder).is_file() or human_file(folder).is_file()


def _has_people(folder: RunFolder) -> bool:
    return has_answers(folder) or ratings_file(folder).is_file()


def with_people(batches: Iterable[pa.RecordBatch | pa.Table], folder: RunFolder) -> Iterator[pa.RecordBatch | pa.Table]:
    """The panel's annotations, then people's."""
    yield from batches
    if _has_people(folder):
        people = submitted(folder)
        if people.num_rows:
            yield people


def merge(folder: RunFolder) -> int:
    """Rewrite the run's annotations with people's current answers. Returns the number of rows."""
    path = folder.needs("annotations")
    if not _has_people(folder):
        return int(pq.read_metadata(path).num_rows)
    with pq.ParquetFile(path) as file:
        return write_parquet(path, ANNOTATIONS, with_people(_simulated(file), folder))


def _simulated(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=20_000):
        simulated = batch.filter(pc.not_equal(batch.column("annotator_kind"), "human"))
        yield conformed(pa.Table.from_batches([simulated]), ANNOTATIONS)
