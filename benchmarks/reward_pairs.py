"""Reward models trained on preference pairs alone, by loss, beside the longer response and TF-IDF.

    python benchmarks/reward_pairs.py PATH/TO/hh_rlhf.parquet --model minilm [--objectives ordinal utility bt] [--seeds 1] [--set max_length=192]

The file has the columns prompt, chosen, rejected, subset and group_id; here, 1,399 pairs of the test split of Anthropic's HH-RLHF. A quarter of
the groups is held out. `ordinal` and `utility` train distributions over five levels, `bt` a scalar. Data, model, loss and seed are given, and what --set
names; the defaults of `dprm train reward` choose the rest. TF-IDF is a logistic regression on the difference of the two responses' words.

Accuracy on the held-out pairs, in all and by subset; ± is the standard error of the mean over groups. Every training is written to --kept and not run again.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from people import folds
from reward_defaults import Kept, base_model, standard_error, training_parser

from dprm_data.core.arrays import Floats
from dprm_data.preference.pairs import outcomes
from dprm_trainers.data.training_pairs import PairRows, load_pairs
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward
from dprm_trainers.reward.rivals import LONGER, lengths

TEXT = "TF-IDF + logistic regression"
Sides = tuple[Floats, Floats]


def split(file: Path, folder: Path) -> tuple[Path, Path, list[str]]:
    """The pairs to train on and those held out, as files, and the subset of every pair held out."""
    rows = pq.read_table(file).to_pylist()
    held = folds(np.array([str(row["group_id"]) for row in rows]), 4) == 0
    places = []
    for name, chosen in (("train", ~held), ("test", held)):
        part = [row for row, taken in zip(rows, chosen, strict=True) if taken]
        places.append(folder / f"{name}.jsonl")
        places[-1].write_text("".join(json.dumps(row) + "\n" for row in part))
    return places[0], places[1], [str(row["subset"]) for row in part]


def by_words(train: PairRows, test: PairRows) -> Sides:
    """The scores of the chosen and of the rejected responses: a linear map of words and pairs of words, fitted so that their differences
    tell which was chosen."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegressionCV

    def texts(sides: list[Any]) -> list[str]:
        return ["\n".join(turn["content"] for turn in side) for side in sides]

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(
        texts(train.chosen) + texts(train.rejected)
    )
    x = words.transform(texts(train.chosen)) - words.transform(texts(train.rejected))
    sign = np.where(np.arange(len(train)) % 2, 1, -1)  # half of the pairs the other way round
    fitted = LogisticRegressionCV(Cs=8, cv=5, max_iter=1000, fit_intercept=False).fit(x.multiply(sign[:, None]), sign)
    return tuple(words.transform(texts(side)) @ fitted.coef_[0] for side in (test.chosen, test.rejected))


def trained(train: Path, test: PairRows, settings: dict[str, Any]) -> dict[str, Any]:
    """Rewards of the held-out responses by a model that is trained with these settings, and how long it took."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        config = RewardConfig.of(data=str(train), labels=5, test=0, output=f"{folder}/model", **settings)
        used = time.process_time()
        model = RewardModel.load(str(train_reward(config, said.append).output))
        spent = (time.process_time() - used) / 60
        scores = [model.judge(test.prompts, side).reward.tolist() for side in (test.chosen, test.rejected)]
    told = [line for line in said if line.startswith(("chosen", "epoch", "on "))]
    return {"scores": scores, "cpu_minutes": spent, "said": told}


def line(name: str, found: list[Sides], test: PairRows, subsets: np.ndarray, minutes: float | None) -> str:
    """A row of the table: the accuracy, the mean over seeds."""
    P = len(test)
    places = np.arange(2 * P).reshape(2, P).T
    right = np.mean([outcomes(np.concatenate(sides), places) for sides in found], axis=0)
    shown = f"{right.mean():.3f} ± {standard_error(right, test.groups):.3f}"
    parts = [f"{right[subsets == subset].mean():.3f}" for subset in np.unique(subsets)]
    return "| " + " | ".join([name, shown, *parts, "–" if minutes is None else f"{minutes:.1f}"]) + " |"


def main() -> None:
    parser = training_parser(__doc__, kept="reward_pairs.jsonl", objectives=["ordinal", "utility", "bt"])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kept = Kept(arguments.kept)
    more = dict(pair.split("=", 1) for pair in arguments.more)
    with tempfile.TemporaryDirectory() as folder:
        train, held, named = split(arguments.file, Path(folder))
        everything = {"test": 0.0, "validation": 0.0}
        rows, test = (load_pairs(str(place), **everything)["train"] for place in (train, held))
        subsets = np.array(named)
        table = [line(LONGER, [(lengths(test.chosen), lengths(test.rejected))], test, subsets, None)]
        table.append(line(TEXT, [by_words(rows, test)], test, subsets, None))
        for objective in arguments.objectives:
            runs = []
            for seed in range(arguments.seeds):
                settings = {"objective": objective, "seed": seed, **more}
                given = settings | {"model": base_model(arguments.model)}
                runs.append(kept.get([arguments.model, settings], functools.partial(trained, train, test, given)))
            print("\n".join(runs[0]["said"]), flush=True)
            scores = [(np.array(run["scores"][0]), np.array(run["scores"][1])) for run in runs]
            minutes = float(np.mean([run["cpu_minutes"] for run in runs]))
            table.append(line(f"{arguments.model}, `{objective}`", scores, test, subsets, minutes))
    print(f"\n{len(rows):,} pairs to train on, {len(test)} held out\n")
    print("| " + " | ".join(["", "accuracy", *np.unique(subsets), "CPU minutes"]) + " |")
    print("|---" + "|---:" * (2 + len(np.unique(subsets))) + "|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
