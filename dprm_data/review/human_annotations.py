"""What people said: kept beside the ledger, merged into the run's annotations.

`tables/human_annotations.parquet` holds every answer that was brought in, drafts and discarded ones too, with where it came from. Only submitted
answers become annotations: `pipeline.collect` writes `tables/annotations.parquet` anew from the ledger and from this file.

*Pseudonyms.* A person is `person-` and 12 hex digits of HMAC-SHA256 of who they are (Argilla's user id, or the name in an imported table), keyed with a salt
that is drawn once per run and never leaves the run folder. The same person has the same pseudonym in every pull of the run, and another in
another run.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.tables import ANNOTATIONS, conformed, write_parquet, write_text
from dprm_data.runs.folder import RunFolder

# Where an answer came from: "argilla:<dataset id>", "file:<name>", or "pulled" with a published dataset.
HUMAN = pa.schema([*ANNOTATIONS, pa.field("origin", pa.string())], metadata=ANNOTATIONS.metadata)

SUBMITTED, DRAFT, DISCARDED = "ok", "draft", "discarded"


@dataclass(frozen=True)
class Answer:
    """One person's answer to one item. label: a name of the label space, None where there is none yet; status: one of the three above."""

    item_id: str
    person: str
    label: str | None
    status: str
    comment: str | None
    at: datetime


@dataclass(frozen=True)
class Stored:
    """What a pull or an import changed, in answers; then what there is now from this origin, and how many people submitted some."""

    new: int
    changed: int
    unchanged: int
    withdrawn: int
    submitted: int
    drafts: int
    discarded: int
    people: int
    items: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def human_file(folder: RunFolder) -> Path:
    return folder.path / "tables" / "human_annotations.parquet"


def pseudonym(folder: RunFolder, who: str) -> str:
    """This person's name in this run."""
    return "person-" + hmac.new(_salt(folder), who.encode(), hashlib.sha256).hexdigest()[:12]


def _salt(folder: RunFolder) -> bytes:
    path = folder.path / "review" / "salt"
    if not path.is_file():
        write_text(path, secrets.token_hex(32) + "\n")
        path.chmod(0o600)
    return bytes.fromhex(path.read_text(encoding="utf-8").strip())


def store(folder: RunFolder, origin: str, answers: Iterable[Answer]) -> Stored:
    """Put an origin's answers in place of those it had before; other origins' stay. Doing it again changes nothing."""
    kept = _read(folder)
    mine = pc.equal(kept["origin"], origin)
    before = {(row["item_id"], row["annotator_id"]): row for row in kept.filter(mine).to_pylist()}
    rows = {(answer.item_id, answer.person): _row(answer, origin) for answer in answers}
    changed = sum(key in before and before[key] != row for key, row in rows.items())
    new = sum(key not in before for key in rows)
    others = kept.filter(pc.invert(mine))
    now = pa.Table.from_pylist(
        sorted(rows.values(), key=lambda row: (row["item_id"], row["annotator_id"])), schema=HUMAN
    )
    write_parquet(human_file(folder), HUMAN, [others, now])
    statuses = [row["status"] for row in rows.values()]
    submitted = [key for key, row in rows.items() if row["status"] == SUBMITTED]
    return Stored(
        new=new,
        changed=changed,
        unchanged=len(rows) - new - changed,
        withdrawn=sum(key not in rows for key in before),
        submitted=len(submitted),
        drafts=statuses.count(DRAFT),
        discarded=statuses.count(DISCARDED),
        people=len({person for _, person in submitted}),
        items=len({item for item, _ in submitted}),
    )


def in_utc(time: datetime) -> datetime:
    """The time in UTC; one without a time zone is taken to be in UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _row(answer: Answer, origin: str) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(HUMAN.names)
    return row | {
        "item_id": answer.item_id,
        "annotator_id": answer.person,
        "annotator_kind": "human",
        "elicitation": "vote",
        "label": answer.label,
        "weight": 1.0,
        "replicate": 0,
        "status": answer.status,
        "rationale": answer.comment,
        "cost": 0.0,  # no call was made for it
        "created_at": answer.at,
        "origin": origin,
    }


def _read(folder: RunFolder) -> pa.Table:
    """All answers. A pulled dataset brings people's annotations in its own table: they are an origin like any other."""
    path = human_file(folder)
    if path.is_file():
        return pq.read_table(path, schema=HUMAN)
    annotations = folder.table("annotations")
    if not annotations.is_file():
        return HUMAN.empty_table()
    table = pq.read_table(annotations, filters=[("annotator_kind", "=", "human")], schema=ANNOTATIONS)
    return table.append_column("origin", pa.array(["pulled"] * table.num_rows, pa.string())).cast(HUMAN)


def submitted(folder: RunFolder) -> pa.Table:
    """The answers that count, as annotations (`tables.ANNOTATIONS`): submitted ones, of each person and item the latest, in the items' order of ids.

    Somebody may have answered an item in two places; two answers of one person are not two people.
    """
    table = _read(folder)
    table = table.filter(pc.equal(table["status"], SUBMITTED))
    order = pc.sort_indices(
        table, [("item_id", "ascending"), ("annotator_id", "ascending"), ("created_at", "descending")]
    )
    table = table.take(order)
    pairs = list(zip(table["item_id"].to_pylist(), table["annotator_id"].to_pylist(), strict=True))
    first = pa.array([i == 0 or pair != pairs[i - 1] for i, pair in enumerate(pairs)], pa.bool_())
    return table.filter(first).select(ANNOTATIONS.names).cast(ANNOTATIONS)


def with_people(batches: Iterable[pa.RecordBatch | pa.Table], folder: RunFolder) -> Iterator[pa.RecordBatch | pa.Table]:
    """The panel's annotations, then people's."""
    yield from batches
    if human_file(folder).is_file():
        people = submitted(folder)
        if people.num_rows:
            yield people


def merge(folder: RunFolder) -> int:
    """Write the run's annotations anew, with people's as they are now. Returns the number of rows."""
    path = folder.needs("annotations")
    if not human_file(folder).is_file():
        return int(pq.read_metadata(path).num_rows)
    with pq.ParquetFile(path) as file:
        return write_parquet(path, ANNOTATIONS, with_people(_simulated(file), folder))


def _simulated(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=20_000):
        simulated = batch.filter(pc.not_equal(batch.column("annotator_kind"), "human"))
        yield conformed(pa.Table.from_batches([simulated]), ANNOTATIONS)
