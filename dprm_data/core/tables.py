"""The tables, in one place: every Parquet file this project writes has one of these Arrow schemas.

`SCHEMA_VERSION` rises when a column's meaning changes; every file's metadata holds it.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError

SCHEMA_VERSION = 1

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
FLOATS = pa.list_(pa.float32())


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind) for name, kind in fields], metadata={"dprm_schema_version": str(SCHEMA_VERSION)}
    )


ITEMS = _schema(
    ("item_id", pa.string()),  # a hash of prompt and response
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("group_id", pa.string()),  # the responses to one prompt
    ("role", pa.string()),  # chosen, rejected, or null where the source does not rank them
    ("source", pa.string()),  # file and row
    ("metadata", pa.string()),  # the row's other columns, JSON
    ("source_id", pa.string()),  # the source's own id of the row, as text; null where it has none
    # The messages as they came, where text does not say all: a JSON list with null for the others; null where there is none.
    ("prompt_original", pa.string()),
    ("completion_original", pa.string()),
    (
        "generator",
        pa.string(),
    ),  # the model that made the response, as the recipe names it; null where the source has it
)

RESPONSES = (
    _schema(  # what came of every response that a recipe generates; a call of several (spread) has a row for each
        ("group_id", pa.string()),  # of the prompt
        ("item_id", pa.string()),  # null where it is no item
        ("prompt", MESSAGES),
        ("response", pa.string()),  # null where there is none
        ("status", pa.string()),  # ok, or why it is no item
        ("reason", pa.string()),
        ("duplicate_of", pa.string()),  # the item that it equals, or nearly does
        ("model_id", pa.string()),  # as the recipe names it
        ("model", pa.string()),  # as the provider names what answered
        ("temperature", pa.float64()),  # null: the provider's own
        ("system", pa.string()),  # the recipe's system prompt
        ("principle", pa.string()),
        ("sample", pa.int32()),  # of this model at this temperature, from 0
        ("place", pa.int32()),  # among the responses of one call
        ("finish", pa.string()),  # how the answer ended: stop, length, refusal, content_filter
        ("input_tokens", pa.int64()),  # of a call of several responses: shared out over them, like its cost
        ("output_tokens", pa.int64()),
        ("cost", pa.float64()),  # dollars; null where the price is not known
        ("source", pa.string()),  # of the prompt
        ("source_id", pa.string()),
        ("call_key", pa.string()),
        ("created_at", pa.timestamp("us", tz="UTC")),
    )
)

DROPPED = _schema(  # rows of the source that are no item
    ("source", pa.string()),
    ("source_id", pa.string()),
    ("reason", pa.string()),  # duplicate, or why the row was refused
    ("item_id", pa.string()),  # of the item that a duplicate repeats
    ("kept_source", pa.string()),  # where that item came first
    ("kept_source_id", pa.string()),
)

PERSONAS = _schema(
    ("persona_id", pa.string()),
    ("name", pa.string()),
    ("description", pa.string()),
    ("attributes", pa.string()),  # JSON
    ("weight", pa.float64()),
)

ANNOTATIONS = _schema(
    ("item_id", pa.string()),
    ("annotator_id", pa.string()),
    ("annotator_kind", pa.string()),  # persona, human
    ("elicitation", pa.string()),  # choice, logprobs, distribution, vote
    ("label", pa.string()),  # the (most probable) label's name; null where there is none
    ("probs", FLOATS),  # over the labels, in the space's order; null where only a label was given
    ("weight", pa.float64()),
    ("replicate", pa.int32()),
    ("status", pa.string()),  # ok, or why there is no label
    ("reason", pa.string()),
    ("model", pa.string()),  # as the provider names what answered
    ("model_id", pa.string()),  # as the recipe names it: null for people
    ("prompt_version", pa.string()),
    ("rationale", pa.string()),
    ("call_key", pa.string()),  # of the last call that the label was read from
    ("cost", pa.float64()),  # dollars, all calls of this annotation; null where the price is not known
    ("estimated_calls", pa.int32()),  # whose tokens the server did not report: their cost is the most it can be
    ("reasoning_tokens", pa.int64()),  # of thought, in all calls of this annotation: part of the output that is billed
    ("created_at", pa.timestamp("us", tz="UTC")),
)

COMPARISONS = _schema(
    ("group_id", pa.string()),  # the prompt
    ("first_item_id", pa.string()),  # the responses, in the order in which they were shown
    ("second_item_id", pa.string()),
    ("annotator_id", pa.string()),
    ("annotator_kind", pa.string()),  # persona, human
    (
        "preference",
        pa.int8(),
    ),  # by how many steps the first is better; 0 for a tie, below 0 if the second is; null where there is none
    ("steps", pa.int8()),  # of an answer: 2 (-1, 1), 3 (-1, 0, 1), 5, 7 (-3 to 3)
    ("ordered", pa.bool_()),  # whether the order is known in which they were shown
    # Of the best and the worst of a set: the set that was shown, and the place of this comparison among those of one answer, from 0. What the answer cost is with the first of them.
    ("set_id", pa.string()),
    ("place", pa.int8()),
    ("step_probs", FLOATS),  # over the steps, from the second's side on, where the answer says more than one of them
    *[
        (name, ANNOTATIONS.field(name).type)
        for name in ("weight", "replicate", "status", "reason", "model", "model_id")
    ],
    *[(name, ANNOTATIONS.field(name).type) for name in ("prompt_version", "rationale", "call_key", "cost")],
    *[(name, ANNOTATIONS.field(name).type) for name in ("estimated_calls", "reasoning_tokens", "created_at")],
)

ORIGIN = ("source_id", "source", "metadata")  # by which a row is joined back to the source
ORIGINALS = ("prompt_original", "completion_original")

DISTRIBUTIONS = _schema(
    ("item_id", pa.string()),
    ("group_id", pa.string()),
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("label_distribution", FLOATS),  # what to train on
    ("votes", FLOATS),  # weighted label counts; an answer of probabilities counts as several votes
    ("alpha", FLOATS),  # one per fitted beta (or Dirichlet component); empty where the family has none
    ("beta", FLOATS),
    ("evidence", pa.float32()),  # votes counted, in effective annotators
    ("expected_reward", pa.float32()),  # mean reward over the population
    ("reward_std", pa.float32()),  # spread of the reward over the population
    ("reward_low", pa.float32()),  # 90 % credible interval of the expected reward
    ("reward_high", pa.float32()),
    ("reward_error", pa.float32()),  # posterior standard deviation of the expected reward
    ("entropy", pa.float32()),  # nats
    ("disagreement", pa.float32()),  # chance that two random people choose different labels
    *[(name, pa.string()) for name in (*ORIGIN, *ORIGINALS)],  # as in the items
)
FROM_ITEMS = ("group_id", "prompt", "completion", *ORIGIN, *ORIGINALS)  # what distributions repeat of the items

PREFERENCES = _schema(
    ("group_id", pa.string()),
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    (
        "margin",
        pa.float32(),
    ),  # expected reward of chosen minus that of rejected; in log odds of a comparison where nothing was rated
    ("probability", pa.float32()),  # that the population's expected reward of chosen is above that of rejected
    ("share", pa.float32()),  # of people who prefer chosen
    ("share_low", pa.float32()),  # its 90 % interval
    ("share_high", pa.float32()),
    ("tie", pa.float32()),  # share of people without a preference
    (
        "votes",
        pa.float32(),
    ),  # evidence of both responses, in effective annotators; whoever compares a response is half of one for it
    ("basis", pa.string()),  # ratings, comparisons, both
    ("chosen_distribution", FLOATS),
    ("rejected_distribution", FLOATS),
    *[(f"{side}_{name}", pa.string()) for name in ("item_id", *ORIGIN) for side in ("chosen", "rejected")],
    *[(f"{name}_original", pa.string()) for name in ("prompt", "chosen", "rejected")],  # as in the items
    *[(f"{side}_generator", pa.string()) for side in ("chosen", "rejected")],  # as in the items
)

UTILITIES = _schema(  # of the responses to prompts in which something was compared: by prompt, the best first
    ("item_id", pa.string()),
    ("group_id", pa.string()),
    # By comparisons and ratings together. Where no response to the prompt is rated, differences from their mean; in log odds of a comparison where nothing was rated at all.
    ("expected_reward", pa.float32()),
    ("reward_low", pa.float32()),
    ("reward_high", pa.float32()),
    ("reward_error", pa.float32()),  # beside the mean of the prompt
    ("evidence", pa.float32()),  # as in `votes` of the preferences
    ("probability", pa.float32()),  # against the next one of its prompt, as in the preferences; null for the last
    ("share", pa.float32()),
    ("tie", pa.float32()),
    ("basis", pa.string()),  # of the prompt: comparisons, both
)

GENERATORS = ("generator", "chosen_generator", "rejected_generator")
PREFERENCE_FIGURES = ("probability", "share", "share_low", "share_high", "tie", "votes", "basis")

SCHEMAS = {
    "items": ITEMS,
    "personas": PERSONAS,
    "annotations": ANNOTATIONS,
    "comparisons": COMPARISONS,
    "distributions": DISTRIBUTIONS,
    "preferences": PREFERENCES,
    "utilities": UTILITIES,
}
# Columns that older versions did not write; of `ORIGIN`, their items had all but the id.
_ADDED = frozenset(
    {"estimated_calls", "reasoning_tokens", "model_id", "source_id", "reward_error", *GENERATORS, *PREFERENCE_FIGURES}
    | {"set_id", "place", "step_probs"}
) | frozenset(f"{name}_original" for name in ("prompt", "completion", "chosen", "rejected"))


def original(column: str) -> str:
    """The column with the messages of this one as they came."""
    return f"{column}_original"


def damage(path: Path, schema: pa.Schema) -> str | None:
    """What is wrong with a table's file, read from its footer: it is cut off, it is no Parquet, a column is missing or has another type. None for a sound one."""
    try:
        found = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        return f"it is damaged or not a Parquet file ({error})" if path.stat().st_size else "the file is empty"
    for field in schema:
        if field.name not in found.names:
            if field.name not in _ADDED and (schema is ITEMS or not _is_origin(field.name)):
                return f"it has no column {field.name!r}"
        elif found.field(field.name).type != field.type:
            return f"its column {field.name!r} has the type {found.field(field.name).type}, not {field.type}"
    return None


def _is_origin(name: str) -> bool:
    return name.removeprefix("chosen_").removeprefix("rejected_") in ("item_id", *ORIGIN) and name != "item_id"


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the schema's columns; those that an older version did not write are null."""
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema)


def part(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """The schema of these columns alone."""
    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def make_folder(path: Path) -> None:
    """Make the folder and those above it. An `OSError` says which name is not a folder."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{error.filename} is a file, not a folder", str(path)) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` once the file is complete. An `OSError` names `path`."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.errno and str(error.filename or temporary) == str(
            temporary
        ):  # a failed write does not say of which file
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def asked_for(path: Path) -> Iterator[None]:
    """Around writing a file that the user named. Raises `DprmError` where it cannot be written."""
    try:
        yield
    except OSError as error:
        # PyArrow's words name the temporary file; ours say which name is not a folder (`make_folder`).
        ours = isinstance(error, NotADirectoryError) or not error.errno
        said = error.strerror if ours else os.strerror(error.errno or 0)
        raise DprmError(
            f"cannot write {path}: {said or error}",
            hint="Name a file in a folder that you may write to.",
        ) from error


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A Parquet writer whose file appears at `path` only once it is complete."""
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        yield writer


def write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch | pa.Table]) -> int:
    """Write the batches as they arrive. Returns the number of rows."""
    rows = 0
    with parquet_writer(path, schema) as writer:
        for batch in batches:
            writer.write(batch)
            rows += batch.num_rows
    return rows


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
