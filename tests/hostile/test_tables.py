"""Tables of a run folder that a crash, a disk or a stranger has damaged, and outputs that cannot be written: every command ends with words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dprm_data.cli import main
from tests.helpers import dprm, environ, write_recipe
from tests.servers.llm import LLMServer

pytestmark = pytest.mark.slow

TABLES = ["items", "personas", "annotations", "distributions", "preferences"]
COMMANDS = {
    "show": ["show", "RUN"],
    "item": ["show", "RUN", "--item", "0"],
    "personas": ["show", "RUN", "--personas"],
    "persona": ["show", "RUN", "--persona", "neutral"],
    "report": ["report", "RUN"],
    "fit": ["ratings", "fit", "RUN"],
    "agreement": ["ratings", "agreement", "RUN"],
    "groups": ["groups", "RUN", "--by", "age"],
    "export": ["review", "export", "RUN", "OUT.csv"],
    "update": ["ratings", "update", "RUN", "VOTES.csv", "--output", "OUT.parquet"],
}


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def other_types(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(pa.table({name: pa.nulls(table.num_rows, pa.int8()) for name in table.column_names}), path)


DAMAGES = [cut_off, empty, zeroed, other_columns, other_types]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests copy it."""
    folder = tmp_path_factory.mktemp("tables")
    with LLMServer() as server:
        done = dprm("run", write_recipe(folder, server.url), cwd=folder, OPENAI_API_KEY="sk-test")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def called(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command's exit code, in this process."""
    (folder / "VOTES.csv").write_text("item_id,annotator_id,label\n1,a,1\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["dprm", *(str(folder / "run") if word == "RUN" else word for word in arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("table", TABLES)
def test_a_damaged_table_is_named_with_the_command_that_writes_it(
    table: str,
    damage: Callable[[Path], None],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = run / "tables" / f"{table}.parquet"
    damage(damaged)
    broken = damaged.read_bytes()
    refused = 0
    for arguments in COMMANDS.values():
        code = called(arguments, run.parent, monkeypatch)
        said = capsys.readouterr().err
        assert "Traceback" not in said
        if code and str(damaged) in said:
            refused += 1
            assert f"dprm {'run' if table == 'items' else 'ratings fit'} {run}" in said
        if damaged.read_bytes() != broken:  # `fit` has written it again
            assert table not in ("items",)
            pq.read_table(damaged)
            damage(damaged)
    assert refused


@pytest.mark.parametrize("table", ["items", "personas", "annotations", "distributions"])
def test_damage_inside_a_table_is_named(
    table: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = run / "tables" / f"{table}.parquet"
    sound = bytearray(damaged.read_bytes())
    footer = int.from_bytes(sound[-8:-4], "little") + 8
    sound[4:-footer] = b"\xff" * (len(sound) - 4 - footer)
    damaged.write_bytes(sound)
    refused = 0
    for arguments in COMMANDS.values():
        code = called(arguments, run.parent, monkeypatch)
        refused += bool(code) and f"{damaged}: its contents are damaged" in capsys.readouterr().err
        damaged.write_bytes(sound)
    assert refused


@pytest.mark.parametrize("table", ["personas", "annotations", "distributions", "preferences"])
def test_fit_writes_damaged_tables_again(
    table: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = pq.read_table(run / "tables" / f"{table}.parquet")
    zeroed(run / "tables" / f"{table}.parquet")
    assert called(["ratings", "fit", "RUN"], run.parent, monkeypatch) == 0, capsys.readouterr().err
    assert pq.read_table(run / "tables" / f"{table}.parquet").equals(sound)


def test_a_run_reads_damaged_items_again_and_pays_for_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    items = folder / "run" / "tables" / "items.parquet"
    sound = pq.read_table(items)
    zeroed(items)
    done = dprm("run", folder / "recipe.yaml", "--output", folder / "run", cwd=folder, OPENAI_API_KEY="sk-test")
    assert done.returncode == 0, done.stderr  # the server is gone: every answer came from the ledger
    assert pq.read_table(items).equals(sound)


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_groups_reads_text_tables(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "item_id,annotator_id,label,sex",
        *(f"i{i},a{a},{(i + a) % 3},{'fm'[a % 2]}" for i in range(6) for a in range(6)),
    ]
    (tmp_path / f"votes{suffix}").write_text("\n".join(rows).replace(",", "\t" if suffix == ".tsv" else ",") + "\n")
    arguments = ["ratings", "groups", f"votes{suffix}", "--by", "sex", "--labels", "3"]
    assert called(arguments, tmp_path, monkeypatch) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"\xff\xfe,\n1,2\n",
        b"item_id,annotator_id,label\n\xff,\xff,1\n",
        b"item_id,annotator_id,label\n1,2\n",
    ],
)
@pytest.mark.parametrize("name", ["votes.csv", "votes.tsv", "votes.parquet", "votes.json"])
def test_groups_of_what_is_no_table_ends_with_words(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert called(["ratings", "groups", name, "--by", "sex", "--labels", "3"], tmp_path, monkeypatch) == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "report run --output full/report.html",
        "review export run --output full/items.csv",
        "ledger export run --output full/calls.parquet",
        "ratings fit run",
    ],
)
def test_a_full_disk_ends_with_words(command: str, run: Path) -> None:
    """A limit on the size of files stands for the full disk: it needs no rights."""
    (run.parent / "full").mkdir()
    before = {path: path.read_bytes() for path in (run / "tables").iterdir()}
    line = f"ulimit -f 0; trap '' XFSZ; exec {sys.executable} -m dprm_data.cli {command}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=run.parent, env=environ(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (1, 2) and done.stderr.startswith(("dprm: ", "collecting")), done.stderr
    assert "Traceback" not in done.stderr
    assert "File too large" in done.stderr or "cannot be written" in done.stderr  # the latter by the ledger
    assert not list((run.parent / "full").iterdir())
    assert {path: path.read_bytes() for path in (run / "tables").iterdir()} == before


OUTPUTS = [
    "show run",
    "show run --json",
    "show run --personas",
    "labels show hh6",
    "panel list --json",
    "ratings agreement run",
]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", OUTPUTS)
def test_a_full_output_ends_with_words(command: str, run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "dprm_data.cli", *command.split()], cwd=run.parent, env=environ(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "dprm: cannot write the output: No space left on device",
    )
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_closed_pipe_ends_quietly(command: str, run: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "dprm_data.cli", *command.split()], cwd=run.parent, env=environ(), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)  # fmt: skip
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_stderr_ends_no_run(run: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "dprm_data.cli", "ratings", "fit", "run", "--json"], cwd=run.parent, env=environ(), stdout=subprocess.PIPE, stderr=full, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 0 and '"summary"' in done.stdout
