"""Checksums of a ledger's rows: a row that was changed after it was written no longer matches its own.

They reveal failing disks, broken copies and careless edits, not a forger: whoever can write rows can compute checksums.
"""

from __future__ import annotations

import hashlib

import orjson

from dprm_data.ledger.store import CallRow, FailureRow

# The store assigns the attempt when it commits; gaps between attempts are found without a checksum. Thoughts are not covered so that versions
# that do not know their column can check the rows of this one.
_NOT_COVERED = frozenset({"attempt", "checksum", "reasoning_tokens"})


def checksum_of(row: CallRow | FailureRow) -> bytes:
    """The checksum of a row's content: 8 bytes of BLAKE2b over its columns, by name, as JSON.

    Columns without a value are left out, so that columns added later do not change the checksums of older rows.
    """
    content = {
        name: value
        for name, value in zip(row._fields, row, strict=True)
        if value is not None and name not in _NOT_COVERED
    }
    return hashlib.blake2b(orjson.dumps(content, default=bytes.hex), digest_size=8).digest()
