"""Heads of groups on people's votes, beside the population's head, the mean of all heads and the group's constant.

    python benchmarks/reward_groups.py FOLDER [--sets convabuse polis] [--items 500] [--objective ot+0.1*ce] [--seed 0]

FOLDER holds convabuse.parquet and polis.parquet, long tables of votes (item_id, context, response, rater_id, label, K). Neither names an attribute
of its raters. ConvAbuse: each of the 8 raters is a group. Polis: voters with 8 votes or more on training statements are in thirds by their mean label there,
seldom, medium and often: those who agree more. The statements that are held out do not decide who is in which group.

SmolLM2-135M, frozen, mean pooling, at most 160 tokens; 35 % of the prompts (Polis: statements) are held out, 12 % validate. Prints the tables of
`dprm eval reward --group all`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dprm_data.core.tables import DISTRIBUTIONS
from dprm_data.ingest.vote_tables import read_votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_trainers.data.rows import load_data
from dprm_trainers.evaluation.group_evaluation import evaluate_groups
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.reward_trainer import train_reward

SHARES = {"test": 0.35, "validation": 0.12}
COLUMNS = {"columns": {"annotator_id": "rater_id"}, "base": 0}
LEAST = 8  # votes on training statements, of a voter of Polis in a group


def write_distributions(votes: pd.DataFrame, name: str, table: Path, out: Path) -> None:
    """Write the fitted distribution of every item, as `dprm ratings fit` does."""
    found = fit(
        read_votes(table, LabelSpace.load(int(votes.K.iloc[0])), **COLUMNS), LabelSpace.load(int(votes.K.iloc[0]))
    )
    texts = votes.drop_duplicates("item_id").set_index("item_id")
    rows: list[dict[str, Any]] = [
        {
            "item_id": item,
            "group_id": item if name == "polis" else None,
            "prompt": [{"role": "user", "content": texts.context[item]}],
            "completion": [{"role": "assistant", "content": texts.response[item]}],
            "label_distribution": found.distribution[i].tolist(),
            "evidence": float(found.evidence[i]),
            "votes": found.votes.counts[i].tolist(),
        }
        for i, item in enumerate(found.votes.item_ids)
    ]
    schema = pa.schema([DISTRIBUTIONS.field(column) for column in DISTRIBUTIONS.names if column in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)


def thirds(votes: pd.DataFrame, train: set[str]) -> pd.Series:
    """The group of every vote's voter, by the mean label on the training statements."""
    seen = votes[votes.item_id.isin(train)].groupby("rater_id").label.agg(["mean", "size"])
    rank = seen[seen["size"] >= LEAST]["mean"].rank(pct=True)
    kind = pd.Series(np.where(rank < 1 / 3, "seldom", np.where(rank < 2 / 3, "medium", "often")), index=rank.index)
    return votes.rater_id.map(kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*", default=["convabuse", "polis"])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--objective", default="ot+0.1*ce")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.sets:
        votes = pd.read_parquet(arguments.folder / f"{name}.parquet")
        votes["label"] = votes.label.astype(int)
        votes = votes[
            votes.item_id.isin(votes.item_id.drop_duplicates().sample(frac=1, random_state=0).head(arguments.items))
        ]
        K = int(votes.K.iloc[0])
        with tempfile.TemporaryDirectory() as folder:
            data, table = Path(folder) / "data.parquet", Path(folder) / "votes.parquet"
            votes.to_parquet(table)
            write_distributions(votes, name, table, data)
            splits = load_data(data, labels=K, **SHARES).splits
            train = set(splits["train"].items.tolist())
            votes["group"] = thirds(votes, train) if name == "polis" else votes.rater_id
            votes.to_parquet(table)
            given = {"path": str(table), **COLUMNS}
            config = RewardConfig.of(
                data=str(data), votes=given, labels=K, model="smollm2-135m", freeze="backbone", pooling="mean", group_heads="group",
                output=f"{folder}/model", objective=arguments.objective, max_length=160, overlong="truncate", seed=arguments.seed, precision="fp32", **SHARES,
            )  # fmt: skip
            model = RewardModel.load(str(train_reward(config).output))
            found = evaluate_groups({name: model}, str(data), votes=given, labels=K)
        print(f"\n{len(train)} responses to train on, {found.rows} held out\n\n{found.markdown()}", flush=True)


if __name__ == "__main__":
    main()
