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
    Mistake("The run folder does not exist.", "show runs/my-run", ("runs/my-run", "dprm run")),
    Mistake("The recipe is given instead of the run folder.", "show recipe.yaml", ("recipe.yaml", "run")),
    Mistake("A folder that is not a run folder.", "status run/tables", ("run/tables",)),
    Mistake(
        "A table was deleted.",
        "show run",
        ("distributions", "dprm ratings fit run"),
        before=_without("run/tables/distributions.parquet"),
    ),
    Mistake(
        "A table is truncated.",
        "export run --to csv",
        ("distributions.parquet", "dprm ratings fit run"),
        before=_cut("run/tables/distributions.parquet"),
    ),
    Mistake("The manifest is damaged.", "show run", ("manifest.json",), before=_cut("run/manifest.json")),
    Mistake("No item begins like that.", "show run --item zzzz", ("zzzz", "dprm")),
    Mistake("No annotator has this id.", "show run --persona grandma", ("grandma", "kind_neighbour")),
    Mistake("An unknown family of distributions.", "ratings fit run --family gauss", ("gauss", "beta")),
    Mistake(
        "The run folder is a file.",
        "run recipe.yaml",
        ("pairs.jsonl", "output"),
        recipe={"output": "pairs.jsonl"},
        code=1,
    ),
    Mistake(
        "The ledger was deleted.",
        "ledger check run",
        ("ledger", "run folder"),
        before=_without("run/ledger.sqlite"),
        code=1,
    ),
    Mistake(
        "The ledger is a file of another kind.",
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
        "An unknown kind of database.",
        "run recipe.yaml",
        ("ledger", "postgresql"),
        recipe={"ledger": "mysql://ann@localhost/dprm", "output": "new"},
    ),
    Mistake(
        "An export of the ledger to a path that cannot be written.",
        "ledger export run --output pairs.jsonl/calls.parquet",
        ("pairs.jsonl/calls.parquet",),
        code=1,
    ),
    Mistake(
        "A report to a path that cannot be written.",
        "report run --output pairs.jsonl/report.html",
        ("pairs.jsonl/report.html",),
        code=1,
    ),
    Mistake(
        "A recipe at a path that cannot be written.",
        "init pairs.jsonl/recipe.yaml",
        ("pairs.jsonl/recipe.yaml",),
        code=1,
    ),
    Mistake(
        "An export of the ledger to an unsupported format.",
        "ledger export run --output calls.csv",
        ("calls.csv", ".parquet"),
    ),
    Mistake("`ledger settle` with nothing to settle.", "ledger settle run --billed 0", ("run",)),
    Mistake("An unknown command.", "anotate recipe.yaml", ("anotate", "dprm run --no-fit")),
    Mistake("An unknown option.", "run recipe.yaml --max_cost 5", ("--max-cost",)),
    Mistake("An option without its value.", "ratings fit run --family", ("--family",)),
    Mistake(
        "A panel is raked to a file of margins that does not exist.",
        "panel rake small --margins margins.yaml --output new.yaml",
        ("margins.yaml",),
    ),
    Mistake(
        "A panel is raked by an attribute that it lacks.",
        "panel rake small --margins margins.yaml --output new.yaml",
        ("shoe", "they have: age, outlook"),
        files={"margins.yaml": "shoe: {large: 0.5, small: 0.5}\n"},
    ),
    Mistake("Models of an unknown provider.", "models list opneai", ("opneai", "'openai'")),
    Mistake("An export without a format.", "export run", ("--to",)),
    Mistake("An export to an unsupported format.", "export run --output labels.docx", (".docx", "csv")),
    Mistake("Groups by an attribute that the personas lack.", "ratings groups run --by shoe_size", ("shoe_size",)),
]

REVIEWS = [
    Mistake("A sheet of answers that does not exist.", "review import run answers.csv", ("answers.csv",)),
    Mistake(
        "A sheet without the column for answers.",
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
    Mistake("A sheet in an unsupported format.", "review export run --output sheet.pdf", ("sheet.pdf", ".csv")),
    Mistake("A comparison before anybody has answered.", "review compare run", ("run", "dprm review import"), code=1),
    Mistake(
        "Items are selected by id, but no id is given.", "review export run --output sheet.csv --select ids", ("--id",)
    ),
    Mistake(
        "Argilla without a key.",
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
    Mistake("A test share above 1.", "publish run --repo acme/labels --test 1.5", ("publish: test", "1.5")),
    Mistake(
        "`dprm pull` with a web address.",
        "pull https://huggingface.co/datasets/acme/labels new",
        ("huggingface.co", "owner/name"),
        code=1,
    ),
    Mistake("A folder that is not a run folder.", "publish run/tables --repo acme/labels", ("run/tables",)),
    Mistake(
        "`dprm pull` into an existing folder.",
        "pull acme/labels run",
        ("run", "already exists"),
        environment=_UNSHARED,
    ),
]

TRAINING = [
    Mistake("The data does not exist.", "train reward --data ./runs/none --model base", ("./runs/none", "run folder")),
    Mistake(
        "The base model's folder does not exist.",
        "train reward --data run --model ./base",
        ("./base", "no such folder"),
    ),
    Mistake("The base model's folder holds no model.", "train reward --data run --model run/tables", ("run/tables",)),
    Mistake(
        "An unknown loss.",
        "train reward --data run --model smollm2-135m --objective wasserstien",
        ("wasserstien", "ot"),
    ),
    Mistake(
        "An unknown setting.",
        "train reward --data run --model smollm2-135m --set learning_rte=1e-4",
        ("learning_rte", "learning_rate"),
    ),
    Mistake(
        "A reward model that does not exist.",
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
    Mistake("`dprm serve` with a folder that is not a reward model.", "serve -m run/tables", ("run/tables",)),
]
