"""How people's answers are kept, and how they join the run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core.tables import ANNOTATIONS
from dprm_data.pipeline import stages
from dprm_data.review.answer_ledger import human_file
from dprm_data.review.human_annotations import (
    DISCARDED,
    DRAFT,
    SUBMITTED,
    Answer,
    merge,
    pseudonym,
    store,
    submitted,
)
from dprm_data.runs.run import Run
from tests.helpers import answer, dprm, write_recipe
from tests.review.helpers import AT, annotation_table, answers_from, items, make_run, random_labels
from tests.servers.llm import LLMServer


def people_rows(run: Run) -> list[dict[str, Any]]:
    return pq.read_table(run.folder.table("annotations"), filters=[("annotator_kind", "=", "human")]).to_pylist()


def test_a_person_has_one_pseudonym_per_run(tmp_path: Path) -> None:
    run, other = (make_run(tmp_path / name, random_labels(2, 2, 6)) for name in ("a", "b"))
    name = pseudonym(run.folder, "alice@example.com")
    assert name == pseudonym(run.folder, "alice@example.com")
    assert name != pseudonym(run.folder, "bob@example.com")
    assert name != pseudonym(other.folder, "alice@example.com")
    assert (run.folder.path / "review" / "salt").stat().st_mode & 0o077 == 0


def test_only_submitted_answers_count_and_the_latest_of_a_person(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", random_labels(4, 2, 6))
    item, names = items(4)[0].item_id, run.space.names
    store(
        run.folder,
        "argilla:1",
        [Answer(item, "person-a", names[0], SUBMITTED, None, AT), Answer(item, "person-b", names[1], DRAFT, None, AT)],
    )
    store(
        run.folder,
        "file:x",
        [
            Answer(item, "person-a", names[2], SUBMITTED, "again", AT + timedelta(days=1)),
            Answer(item, "person-c", None, DISCARDED, None, AT),
        ],
    )
    table = submitted(run.folder)
    assert table.schema.equals(ANNOTATIONS)
    assert [(row["annotator_id"], row["label"]) for row in table.to_pylist()] == [("person-a", names[2])]
    assert pq.read_metadata(human_file(run.folder)).num_rows == 4
    before = run.folder.table("annotations").read_bytes()
    assert merge(run.folder) == 4 * 2 + 1
    merged = run.folder.table("annotations").read_bytes()
    assert merged != before
    merge(run.folder)
    assert run.folder.table("annotations").read_bytes() == merged
    gone = store(run.folder, "file:x", [])
    assert (gone.withdrawn, gone.submitted) == (2, 0)
    assert [row["label"] for row in submitted(run.folder).to_pylist()] == [names[0]]


def test_people_of_a_pulled_dataset_stay(tmp_path: Path) -> None:
    """Its annotations are all there is of them: they become an origin like any other."""
    from dprm_data.core.tables import write_parquet

    run = make_run(tmp_path / "run", random_labels(3, 2, 6))
    table = pq.read_table(run.folder.table("annotations"))
    human = annotation_table(np.array([[1], [2], [3]]), run.space.names, [one.item_id for one in items(3)])
    human = human.set_column(2, "annotator_kind", [["human"] * 3]).cast(ANNOTATIONS)
    write_parquet(run.folder.table("annotations"), ANNOTATIONS, [table, human])
    assert stages.collect(run) == 9
    answers_from(run, np.array([[0], [0], [0]]))
    assert len(people_rows(run)) == 6
    assert stages.collect(run) == 12


def test_the_ledger_writes_annotations_anew_and_people_stay(double: LLMServer, tmp_path: Path) -> None:
    """From the command: a run by a double, people's answers from a table, and what every later command makes of them."""
    recipe = write_recipe(tmp_path, double.url, fit={"human_weight": 3})
    environment = {"OPENAI_API_KEY": "sk-test"}
    assert dprm("run", recipe, "-q", cwd=tmp_path, **environment).returncode == 0
    run = Run.open(tmp_path / "run")
    item = pq.read_table(run.folder.table("items"))["item_id"][0].as_py()
    (tmp_path / "said.csv").write_text(f"item_id,annotator,label\n{item},ann,{run.space.names[5]}\n")
    imported = answer(dprm("review", "import", "run", "said.csv", "--json", cwd=tmp_path))
    assert imported["imported"][0]["submitted"] == 1
    assert len(people_rows(run)) == 1
    for command in (("fit", "run", "-q"), ("run", recipe, "-q")):
        done = dprm(*command, cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        assert [row["label"] for row in people_rows(run)] == [run.space.names[5]]
    summary = answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]
    assert summary["human"] == 1
    row = next(r for r in pq.read_table(run.folder.table("distributions")).to_pylist() if r["item_id"] == item)
    assert row["votes"][5] >= 3
    assert run.folder.read_manifest()["fit"]["human_weight"] == 3
    assert "were given by people" in run.folder.card_file.read_text()
    assert "(person)" in dprm("show", "run", "--item", item, cwd=tmp_path).stdout
