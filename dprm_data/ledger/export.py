"""Export a ledger's calls for other programs, as Parquet or JSON Lines. Memory does not grow with the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.ledger.ledger import reply_of
from dprm_data.ledger.store import CALL, CallRow, LedgerStore

_CHUNK = 5000


def export_calls(store: LedgerStore, file: Path) -> int:
    """Write all calls to a .parquet or .jsonl file, in the order in which they were recorded. Returns their number.

    The file appears once it is complete. key: hexadecimal; logprobs: (token, natural logarithm) pairs, null if none were requested; cost:
    dollars, null if the price is unknown; estimated: whether the token counts are; reasoning_tokens: of the output, null for none; created_at: seconds since 1970; checksum: hexadecimal, null in rows
    of earlier versions. Raises `InputError` for
    any other kind of file.
    """
    if file.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"{file}: calls are exported to a .parquet or .jsonl file")
    with store.snapshot() as select:
        calls = map(CallRow._make, select(f"SELECT {', '.join(CALL)} FROM {store.relation('calls')} ORDER BY id"))
        rows = map(_exported, calls)
        return _parquet(rows, file) if file.suffix == ".parquet" else _lines(rows, file)


def _exported(row: CallRow) -> dict[str, Any]:
    logprobs = reply_of(row).top_logprobs
    pairs = None if logprobs is None else [{"token": token, "logprob": logprob} for token, logprob in logprobs]
    checksum = row.checksum and row.checksum.hex()
    return row._asdict() | {
        "key": row.key.hex(),
        "logprobs": pairs,
        "estimated": bool(row.estimated),
        "checksum": checksum,
    }


def _parquet(rows: Iterator[dict[str, Any]], file: Path) -> int:
    import pyarrow as pa

    from dprm_data.core.tables import write_parquet

    logprobs = pa.list_(pa.struct([("token", pa.string()), ("logprob", pa.float64())]))
    whole = dict.fromkeys(
        ("attempt", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
        pa.int64(),
    )
    kinds = (
        whole
        | dict.fromkeys(("cost", "latency", "created_at"), pa.float64())
        | {"logprobs": logprobs, "estimated": pa.bool_()}
    )
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in CALL])

    def batches() -> Iterator[pa.RecordBatch]:
        while some := list(itertools.islice(rows, _CHUNK)):
            yield pa.RecordBatch.from_pylist(some, schema=schema)

    return write_parquet(file, schema, batches())


def _lines(rows: Iterator[dict[str, Any]], file: Path) -> int:
    import orjson

    from dprm_data.core.tables import whole_file

    count = 0
    with whole_file(file) as temporary, temporary.open("wb") as out:
        for row in rows:
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count
