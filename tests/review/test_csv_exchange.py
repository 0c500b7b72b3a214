"""Items out as a table, people's answers back from one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dprm_data.core.errors import InputError
from dprm_data.review.cells import defused
from dprm_data.review.csv_exchange import export, import_answers
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm
from tests.review.helpers import items, make_run, random_labels


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", random_labels(12, 3, 6))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(rows: list[dict[str, Any]], who: str, label: str) -> list[dict[str, Any]]:
    return [row | {"annotator": who, "label": label} for row in rows]


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_out_and_back(run: Run, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"review{ending}"
    assert export(run, file, count=5).records == 5
    rows = read_csv(file) if ending == ".csv" else [json.loads(line) for line in file.read_text().splitlines()]
    texts = {row["item_id"]: row for row in pq.read_table(run.folder.table("items")).to_pylist()}
    for row in rows:
        assert row["response"] == texts[row["item_id"]]["completion"][0]["content"]
        assert texts[row["item_id"]]["prompt"][0]["content"] in row["prompt"]
        assert row["panel_says"] in run.space.names
        assert row["label"] == ""
    assert import_answers(run, [file])[0][1].submitted == 0  # nothing filled in yet
    filled = fill(rows, "Ann", run.space.names[1])
    filled[0]["label"] = run.space.labels[2].said.upper()  # words count as the name does
    if ending == ".csv":
        write_csv(file, filled)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in filled))
    ((name, stored),) = import_answers(run, [file])
    assert (name, stored.new, stored.submitted, stored.people) == (file.name, 5, 5, 1)
    assert import_answers(run, [file])[0][1].unchanged == 5
    human = pq.read_table(run.folder.table("annotations"), filters=[("annotator_kind", "=", "human")]).to_pylist()
    assert sorted(row["label"] for row in human) == sorted([run.space.names[2], *[run.space.names[1]] * 4])
    assert not any("Ann" in row["annotator_id"] for row in human)


def test_one_person_is_one_person_in_every_file(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "a.csv", count=4)
    rows = read_csv(tmp_path / "a.csv")
    one = write_csv(tmp_path / "one.csv", fill(rows[:2], "Ann", run.space.names[0]))
    two = write_csv(tmp_path / "two.csv", fill(rows[2:], " ann ", run.space.names[0]), delimiter=";")
    import_answers(run, [one, two])
    human = pq.read_table(run.folder.table("annotations"), filters=[("annotator_kind", "=", "human")])
    assert human.num_rows == 4
    assert len(set(human["annotator_id"].to_pylist())) == 1


def test_blind_and_harmless(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "blind.csv", count=3, blind=True)
    assert not [name for name in read_csv(tmp_path / "blind.csv")[0] if name.startswith("panel")]
    for text in ("=HYPERLINK(1)", "+1", "-1", "@x", "\tx"):
        assert defused(text) == f"'{text}"
    assert defused("2 - 1") == "2 - 1"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"item_id": "nothing"}, "row 2, column 'item_id': 'nothing' is not an item"),
        ({"label": "splendid"}, "row 2, column 'label': found 'splendid'"),
        ({"annotator": " "}, "row 2, column 'annotator': empty"),
        ({"status": "maybe"}, "row 2, column 'status': found 'maybe'"),
        ({"at": "yesterday"}, "row 2, column 'at': 'yesterday' is no time"),
    ],
)
def test_mistakes_are_shown_where_they_are(run: Run, tmp_path: Path, change: dict[str, str], told: str) -> None:
    row = {"item_id": items(1)[0].item_id, "annotator": "ann", "label": run.space.names[0], "status": "", "at": ""}
    file = write_csv(tmp_path / "said.csv", [row | change])
    with pytest.raises(InputError, match=told):
        import_answers(run, [file])
    assert not pq.read_table(run.folder.table("annotations"), filters=[("annotator_kind", "=", "human")]).num_rows


def test_more_mistakes(run: Run, tmp_path: Path) -> None:
    row = {"item_id": items(1)[0].item_id, "annotator": "ann", "label": run.space.names[0]}
    with pytest.raises(InputError, match=r"row 3: 'ann' has judged .* before, in row 2"):
        import_answers(run, [write_csv(tmp_path / "twice.csv", [row, row])])
    with pytest.raises(InputError, match="no column 'annotator'"):
        import_answers(run, [write_csv(tmp_path / "no.csv", [{"item_id": "x", "label": "y"}])])
    with pytest.raises(InputError, match="cannot be read"):
        import_answers(run, [tmp_path / "missing.csv"])
    (tmp_path / "bad.jsonl").write_text("{]\n")
    with pytest.raises(InputError, match="row 1: not JSON"):
        import_answers(run, [tmp_path / "bad.jsonl"])
    with pytest.raises(InputError, match=r"Name it \.csv or \.jsonl"):
        export(run, tmp_path / "review.xlsx")


def test_drafts_and_discarded(run: Run, tmp_path: Path) -> None:
    ids = [one.item_id for one in items(3)]
    rows = [
        {
            "item_id": ids[0],
            "annotator": "ann",
            "label": run.space.names[0],
            "status": "draft",
            "at": "2026-05-17T14:30:00+02:00",
        },
        {"item_id": ids[1], "annotator": "ann", "label": "", "status": "discarded", "at": ""},
        {"item_id": ids[2], "annotator": "ann", "label": run.space.names[0], "status": "submitted", "at": ""},
    ]
    stored = import_answers(run, [write_csv(tmp_path / "said.csv", rows)])[0][1]
    assert (stored.drafts, stored.discarded, stored.submitted) == (1, 1, 1)


def test_the_command(run: Run, tmp_path: Path) -> None:
    done = answer(
        dprm("review", "export", "run", "out.csv", "--records", 4, "--select", "random", "--json", cwd=tmp_path)
    )
    assert done["records"] == 4
    write_csv(tmp_path / "out.csv", fill(read_csv(tmp_path / "out.csv"), "ann", run.space.names[0]))
    said = dprm("review", "import", "run", "out.csv", cwd=tmp_path)
    assert "4 submitted answers by 1 people on 4 items" in said.stdout
    wrong = dprm("review", "import", "run", "nothing.csv", cwd=tmp_path)
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)
