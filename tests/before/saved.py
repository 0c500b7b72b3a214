"""What an earlier version left, in `data/`: packed by the scripts that made it, unpacked by the tests that read it.

A packed folder names neither the place where it was made nor the double's port: @FOLDER@ and @DOUBLE@ stand for them. The tests use the
public door only (the command, and the names of `import dprm_data`), so that no renaming inside the packages touches them.
"""

from __future__ import annotations

import atexit
import json
import lzma
import math
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.helpers import environ

DATA = Path(__file__).parent / "data"
NOWHERE = "http://127.0.0.1:9"
TABLES = {
    "items": ("item_id",),
    "personas": ("persona_id",),
    "annotations": ("item_id", "annotator_id", "replicate"),
    "distributions": ("item_id",),
    "preferences": ("prompt", "chosen", "rejected"),
}
_TEXTS = {".yaml", ".json", ".jsonl", ".md", ".csv"}
_LEFT_OUT = shutil.ignore_patterns("*.lock", ".lock", "*.sqlite-wal", "*.sqlite-shm", "report.html", "progress.html")

# A process that runs commands one after the other: importing takes longer than most of them.
_COMMANDS = """
import contextlib, io, json, os, runpy, sys
for line in sys.stdin:
    folder, arguments = json.loads(line)
    os.chdir(folder)
    sys.argv = ["dprm", *arguments]
    out, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            runpy.run_module("dprm_data.cli", run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
    print(json.dumps([code, out.getvalue(), errors.getvalue()]), flush=True)
"""


def pack(folder: Path, name: str, url: str = NOWHERE) -> Path:
    """Keep a folder in `data/` under this name, in place of what is there. Ledgers are compressed."""
    shutil.rmtree(DATA / name, ignore_errors=True)
    packed = _copy(folder, DATA / name, {str(folder): "@FOLDER@", url: "@DOUBLE@"})
    for file in packed.rglob("*.sqlite"):
        file.with_suffix(".sqlite.xz").write_bytes(lzma.compress(file.read_bytes(), preset=9))
        file.unlink()
    return packed


def unpack(name: str, to: Path, url: str = NOWHERE) -> Path:
    """A copy of a packed folder, for a double at `url`."""
    unpacked = _copy(
        DATA / name, to, {"@FOLDER@": str(to), "@DOUBLE@": url, "@LOCALHOST@": url.replace("127.0.0.1", "localhost")}
    )
    for file in unpacked.rglob("*.sqlite.xz"):
        file.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
        file.unlink()
    return unpacked


def _copy(source: Path, to: Path, words: dict[str, str]) -> Path:
    shutil.copytree(source, to, ignore=_LEFT_OUT, dirs_exist_ok=True)
    for file in to.rglob("*"):
        if file.suffix in _TEXTS:
            text = file.read_text(encoding="utf-8")
            for word, replacement in words.items():
                text = text.replace(word, replacement)
            file.write_text(text, encoding="utf-8")
    return to


def dprm_each(commands: Sequence[Sequence[object]], *, cwd: Path, **environment: str) -> list[str]:
    """What each of these commands says on stdout; all of them must succeed."""
    process = _started(tuple(sorted(environment.items())))
    assert process.stdin and process.stdout
    said = []
    for command in commands:
        process.stdin.write(json.dumps([str(cwd), [str(word) for word in command]]) + "\n")
        process.stdin.flush()
        code, out, errors = json.loads(process.stdout.readline())
        assert code == 0, f"{command}: {errors}"
        said.append(out)
    return said


@cache
def _started(environment: tuple[tuple[str, str], ...]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMANDS],
        env=environ(**dict(environment)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.kill)
    return process


# -- what is compared -------------------------------------------------------------------------------------------------


def rows(run: Path, table: str) -> dict[str, dict[str, Any]]:
    """A table's rows by what identifies them."""
    found = pq.read_table(run / "tables" / f"{table}.parquet").to_pylist()
    named = {str([row[key] for key in TABLES[table]]): row for row in found}
    assert len(named) == len(found)
    return named


def assert_holds(new: Any, old: Any, where: str = "", *, within: float = 1e-6) -> None:
    """Whatever the old version said, the new one says as well, numbers to within rounding. It may say more: new columns, new fields."""
    if isinstance(old, dict):
        assert isinstance(new, dict), where
        assert old.keys() <= new.keys(), f"{where}: {sorted(old.keys() - new.keys())} missing"
        for name, value in old.items():
            assert_holds(new[name], value, f"{where}.{name}", within=within)
    elif isinstance(old, list):
        assert isinstance(new, list) and len(new) == len(old), f"{where}: {new} is not {old}"
        for i, value in enumerate(old):
            assert_holds(new[i], value, f"{where}[{i}]", within=within)
    elif isinstance(old, float):
        assert new is not None and math.isclose(new, old, rel_tol=within, abs_tol=within), (
            f"{where}: {new} is not {old}"
        )
    elif where.endswith(".cost") and old is None:
        pass  # a call that was rejected costs nothing, which older versions did not know
    else:
        assert new == old, f"{where}: {new!r} is not {old!r}"


def assert_same_tables(new: Path, old: Path, tables: Sequence[str] = tuple(TABLES)) -> None:
    """The same rows; of each, at least the old columns."""
    for table in tables:
        if (old / "tables" / f"{table}.parquet").exists():
            there, was = rows(new, table), rows(old, table)
            assert there.keys() == was.keys(), table
            assert_holds(there, was, table)


def call_keys(ledger: Path) -> list[str]:
    """The keys of all calls in a ledger's file, as it is on disk."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        return sorted(key.hex() for (key,) in db.execute("SELECT DISTINCT key FROM calls"))
