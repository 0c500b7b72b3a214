"""Mistakes with run folders, ledgers, reviews, publications, trainings and evaluations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from tests.mistakes.mistake import Mistake

_UNSHARED = {"HF_TOKEN": "hf_test", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_XET": "1"}


def _cut(name: str) -> Callable[[Path], object]:
    def cut(at: Path) -> None:
        file = at / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return cut


def _without(name: str) -> Callable[[Path], object]:
    def remove(at: Path) -> None:
        target = at / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return remove


def _first_item(at: Path) -> None:
    """Put the id of an item into the sheet."""
    item = pq.read_table(at / "run/tables/items.parquet")["item_id"][0].as_py()
    sheet = at / "answers.csv"
    sheet.write_text(sheet.read_text().replace("ITEM", item))


RUNS = [
    Mistake("The run folder is not there.", "show runs/my-run", ("runs/my-run", "dprm run")),
    Mistake("The recipe is given in place of the run folder.", "show recipe.yaml", ("recipe.yaml", "run")),
    Mistake("A folder that is no run.", "status run/tables", ("run/tables",)),
    Mistake(
        "A table was deleted.",
        "show run",
        ("distributions", "dprm ratings fit run"),
        before=_without("run/tables/distributions.parquet"),
    ),
    Mistake(
        "A table is cut short.",
        "export run --to csv",
        ("distributions.parquet", "dprm ratings fit run"),
        before=_cut("run/tables/distributions.parquet"),
    ),
    Mistake("The manifest is damaged.", "show run", ("manifest.json",), before=_cut("run/manifest.json")),
    Mistake("No item begins like that.", "show run --item zzzz", ("zzzz", "dprm")),
    Mistake("No annotator has this id.", "show run --persona grandma", ("grandma", "kind_neighbour")),
    Mistake("A fit that there is not.", "ratings fit run --family gauss", ("gauss", "beta")),
    Mistake(
        "The run folder is a file.",
        "run recipe.yaml",
        ("pairs.jsonl", "output"),
        recipe={"output": "pairs.jsonl"},
        code=1,
    ),
    Mistake(
        "The ledger was deleted: nothing shows what is paid.",
        "ledger check run",
        ("ledger", "run folder"),
        before=_without("run/ledger.sqlite"),
        code=1,
    ),
    Mistake(
        "The ledger is a file that is none.",
        "run recipe.yaml",
        ("pairs.jsonl", "ledger"),
        recipe={"ledger": "pairs.jsonl", "output": "new"},
        code=1,
    ),
    Mistake(
        "The ledger is damaged.",
        "ledger check run",
        ("ledger.sqlite",),
        before=lambda at: (at / "run/ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000),
        code=1,
    ),
    Mistake(
        "A database of a kind that there is not.",
        "run recipe.yaml",
        ("ledger", "postgresql"),
        recipe={"ledger": "mysql://ann@localhost/dprm", "output": "new"},
    ),
    Mistake(
        "An export of the ledger to a place that cannot be written.",
        "ledger export run pairs.jsonl/calls.parquet",
        ("pairs.jsonl/calls.parquet",),
        code=1,
    ),
    Mistake(
        "A report to a place that cannot be written.",
        "report run --output pairs.jsonl/report.html",
        ("pairs.jsonl/report.html",),
        code=1,
    ),
    Mistake(
        "A recipe to a place that cannot be written.",
        "init pairs.jsonl/recipe.yaml",
        ("pairs.jsonl/recipe.yaml",),
        code=1,
    ),
    Mistake(
        "An export of the ledger to another kind of file.", "ledger export run calls.csv", ("calls.csv", ".parquet")
    ),
    Mistake("Held money is settled where none is held.", "ledger settle run --billed 0", ("run",)),
    Mistake("A command that there is not.", "anotate recipe.yaml", ("anotate", "dprm run --no-fit")),
    Mistake("An option that there is not.", "run recipe.yaml --max_cost 5", ("--max-cost",)),
    Mistake("An option without its value.", "ratings fit run --family", ("--family",)),
    Mistake(
        "A panel is raked to margins that are not there.",
        "panel rake small --margins margins.yaml --output new.yaml",
        ("margins.yaml",),
    ),
    Mistake(
        "A panel is raked by an attribute that it lacks.",
        "panel rake small --margins margins.yaml --output new.yaml",
        ("shoe", "they have: age, outlook"),
        files={"margins.yaml": "shoe: {large: 0.5, small: 0.5}\n"},
    ),
    Mistake("Models of a provider that there is not.", "models opneai", ("opneai", "'openai'")),
    Mistake("An export without its format.", "export run", ("--to",)),
    Mistake("An export to a file of another kind.", "export run --output labels.docx", (".docx", "csv")),
    Mistake("Groups by an attribute that the personas lack.", "ratings groups run --by shoe_size", ("shoe_size",)),
]

REVIEWS = [
    Mistake("A sheet of answers that is not there.", "review import run answers.csv", ("answers.csv",)),
    Mistake(
        "A sheet without the column of answers.",
        "review import run answers.csv",
        ("answers.csv", "label"),
        files={"answers.csv": "item_id,annotator\na,ann\n"},
    ),
    Mistake(
        "Answers about items of another run.",
        "review import run answers.csv",
        ("answers.csv", "item"),
        files={"answers.csv": "item_id,annotator,label\nffff,ann,helpful and harmless\n"},
    ),
    Mistake(
        "A label that the scale does not have.",
        "review import run answers.csv",
        ("answers.csv", "row 2", "superb", "allowed"),
        files={"answers.csv": "item_id,annotator,label\nITEM,ann,superb\n"},
        before=_first_item,
    ),
    Mistake("A sheet of a kind that is not read.", "review export run sheet.pdf", ("sheet.pdf", ".csv")),
    Mistake("A comparison before anybody has answered.", "review compare run", ("run", "dprm review import"), code=1),
    Mistake("Items are asked for by id, and none is given.", "review export run sheet.csv --select ids", ("--id",)),
    Mistake(
        "Argilla without its key.",
        "review push run --workspace team --dataset check",
        ("ARGILLA_API_KEY", "ARGILLA_API_URL"),
        code=1,
    ),
]

HUB = [
    Mistake("A repository without an owner.", "publish run --repo labels", ("labels", "owner/name"), code=1),
    Mistake(
        "Publishing without a token.",
        "publish run --repo acme/labels",
        ("HF_TOKEN",),
        environment={"HF_HOME": "no-home"},
        code=1,
    ),
    Mistake(
        "Public without a licence.", "publish run --repo acme/labels --public", ("--license", "--personal-data"), code=1
    ),
    Mistake(
        "A licence that the Hub does not know.",
        "publish run --repo acme/labels --license cc-by",
        ("cc-by", "did you mean 'cc-by-4.0'?"),
        code=1,
    ),
    Mistake(
        "A share of tests that is more than all.", "publish run --repo acme/labels --test 1.5", ("publish: test", "1.5")
    ),
    Mistake(
        "A web address is pulled.",
        "pull https://huggingface.co/datasets/acme/labels new",
        ("huggingface.co", "owner/name"),
        code=1,
    ),
    Mistake("A folder that is no run.", "publish run/tables --repo acme/labels", ("run/tables",)),
    Mistake(
        "A folder that is there already is pulled into.",
        "pull acme/labels run",
        ("run", "there already"),
        environment=_UNSHARED,
    ),
]

TRAINING = [
    Mistake("The data is not there.", "train reward --data ./runs/none --model base", ("./runs/none", "run folder")),
    Mistake(
        "The base model's folder is not there.", "train reward --data run --model ./base", ("./base", "no such folder")
    ),
    Mistake("The base model's folder holds no model.", "train reward --data run --model run/tables", ("run/tables",)),
    Mistake(
        "A loss that there is not.",
        "train reward --data run --model smollm2-135m --objective wasserstien",
        ("wasserstien", "ot"),
    ),
    Mistake(
        "A setting that there is not.",
        "train reward --data run --model smollm2-135m --set learning_rte=1e-4",
        ("learning_rte", "learning_rate"),
    ),
    Mistake(
        "A reward model that is not there.",
        "eval reward -m ./models/none --data run",
        ("./models/none", "model's folder"),
    ),
    Mistake("A run folder is given as the reward model.", "eval reward -m run --data run", ("run",)),
    Mistake("There is nothing to evaluate on.", "eval reward -m run", ("--data", "--pairs")),
    Mistake(
        "A policy's folder that holds no model.",
        "eval policy --policy run/tables --prompts run",
        ("run/tables", "no model"),
    ),
    Mistake("Responses are compared without a judge.", "eval policy --prompts run --output responses", ("--policy",)),
    Mistake("A reward model is served that is none.", "serve-reward -m run/tables", ("run/tables",)),
]
