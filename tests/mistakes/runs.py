"""Mistakes with run folders, ledgers, reviews, publications, trainings and evaluations."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from tests.mistakes.mistake import Mistake

_UNSHARED = {"HF_TOKEN": "hf_test", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_DISABLE_XET": "1"}


def _cut(name: str) -> object:
    def cut(at: Path) -> None:
        file = at / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return cut


def _without(name: str) -> object:
    def remove(at: Path) -> None:
        target = at / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return remove


def _other_recipe(at: Path) -> None:
    recipe = yaml.safe_load((at / "recipe.yaml").read_text())
    (at / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"labels": 5}))


RUNS = [
    Mistake("The run folder is not there.", "show runs/my-run", ("runs/my-run", "dprm run")),
    Mistake("The recipe is given in place of the run folder.", "show recipe.yaml", ("recipe.yaml", "run")),
    Mistake("A folder that is no run.", "status run/tables", ("run/tables",)),
    Mistake("A table was deleted.", "show run", ("distributions", "dprm fit run"), before=_without("run/tables/distributions.parquet")),
    Mistake("A table is cut short.", "export run --to csv", ("distributions.parquet", "dprm fit run"), before=_cut("run/tables/distributions.parquet")),
    Mistake("The annotations are damaged.", "fit run", ("annotations.parquet", "dprm run"), before=_cut("run/tables/annotations.parquet")),
    Mistake("The manifest is damaged.", "show run", ("manifest.json",), before=_cut("run/manifest.json")),
    Mistake("No item begins like that.", "show run --item zzzz", ("zzzz", "dprm")),
    Mistake("No annotator has this id.", "show run --persona grandma", ("grandma", "--personas")),
    Mistake("A fit that there is not.", "fit run --family gauss", ("gauss", "beta")),
    Mistake("The run folder is a file.", "run recipe.yaml", ("pairs.jsonl", "output"), recipe={"output": "pairs.jsonl"}),
    Mistake("The ledger was deleted: nothing shows what is paid.", "ledger check run", ("ledger",), before=_without("run/ledger.sqlite")),
    Mistake("The ledger is a file that is none.", "run recipe.yaml", ("pairs.jsonl", "ledger"), recipe={"ledger": "pairs.jsonl", "output": "new"}, code=1),
    Mistake("The ledger is damaged.", "ledger check run", ("ledger.sqlite",), before=lambda at: (at / "run/ledger.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000), code=1),
    Mistake("A ledger's server that does not answer.", "run recipe.yaml", ("127.0.0.1", "ledger"), recipe={"ledger": "postgresql://ann@127.0.0.1:9/dprm", "output": "new"}, code=1),
    Mistake("An export of the ledger to a place that cannot be written.", "ledger export run pairs.jsonl/calls.parquet", ("pairs.jsonl/calls.parquet",), code=1),
    Mistake("A report to a place that cannot be written.", "report run --out pairs.jsonl/report.html", ("pairs.jsonl/report.html",), code=1),
    Mistake("A recipe to a place that cannot be written.", "init pairs.jsonl/recipe.yaml", ("pairs.jsonl/recipe.yaml",), code=1),
    Mistake("An export without its format.", "export run", ("--to",)),
    Mistake("An export to a file of another kind.", "export run --out labels.docx", (".docx", "csv")),
    Mistake("Groups by an attribute that the personas lack.", "groups run --by shoe_size", ("shoe_size",)),
]

REVIEWS = [
    Mistake("A sheet of answers that is not there.", "review import run answers.csv", ("answers.csv",)),
    Mistake("A sheet without the column of answers.", "review import run answers.csv", ("answers.csv", "label"), files={"answers.csv": "item_id,annotator\na,ann\n"}),
    Mistake("Answers about items of another run.", "review import run answers.csv", ("answers.csv", "item"), files={"answers.csv": "item_id,annotator,label\nffff,ann,helpful and harmless\n"}),
    Mistake("A comparison before anybody has answered.", "review compare run", ("run", "review")),
    Mistake("Items are asked for by id, and none is given.", "review export run sheet.csv --select ids", ("--id",)),
    Mistake("Argilla without its key.", "review push run --workspace team --dataset check", ("ARGILLA_API_",)),
]

HUB = [
    Mistake("A repository without an owner.", "publish run --repo labels", ("labels", "owner/name")),
    Mistake("Publishing without a token.", "publish run --repo acme/labels", ("HF_TOKEN",), environment={"HF_HOME": "no-home"}, code=1),
    Mistake("Public without a licence.", "publish run --repo acme/labels --public", ("--license", "--personal-data")),
    Mistake("A folder that is no run.", "publish run/tables --repo acme/labels", ("run/tables",)),
    Mistake("A folder that is there already is pulled into.", "pull acme/labels run", ("run", "there already"), environment=_UNSHARED),
]

TRAINING = [
    Mistake("The data is not there.", "train reward --data runs/none --model base", ("runs/none",)),
    Mistake("The data is a table of something else.", "train reward --data ratings.parquet --model base", ("ratings.parquet",), files={"ratings.parquet": b"PAR1"}),
    Mistake("The base model's folder is not there.", "train reward --data run --model ./base", ("./base", "no such folder")),
    Mistake("The base model's folder holds no model.", "train reward --data run --model run/tables", ("run/tables",)),
    Mistake("A loss that there is not.", "train reward --data run --model smollm2-135m --objective wasserstien", ("wasserstien", "ot")),
    Mistake("A setting that there is not.", "train reward --data run --model smollm2-135m --set learning_rte=1e-4", ("learning_rte", "learning_rate")),
    Mistake("A reward model that is not there.", "eval reward -m models/none --data run", ("models/none",)),
    Mistake("A run folder is given as the reward model.", "eval reward -m run --data run", ("run",)),
    Mistake("There is nothing to evaluate on.", "eval reward -m run", ("--data", "--pairs")),
    Mistake("A policy's folder that holds no model.", "eval policy --policy run/tables --prompts run", ("run/tables", "no model")),
    Mistake("Responses are compared without a judge.", "eval policy --prompts run --out responses", ("--policy",)),
    Mistake("A reward model is served that is none.", "serve-reward run", ("run",)),
]
