"""People's votes on texts as training data: the multi-rater sets of `benchmarks/reward_model.py`, with distributions by our own fit.

Each set is a long Parquet table (item_id, context, response, rater_id, label). The files are not part of the project.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dprm_data.ingest.vote_tables import read_votes
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import fit
from dprm_trainers.data.rows import Message, Rows

# ConvAbuse (Cercas Curry et al., EMNLP 2021): how abusive a person's turn to a chatbot is, five ordered levels. The rewards are ours: uneven on purpose, so that the
# cost from rewards is not the same as counting steps.
_CONVABUSE = [
    ("very strongly abusive", -3.0),
    ("strongly abusive", -1.5),
    ("mildly abusive", -0.5),
    ("ambiguous", 0.5),
    ("not abusive", 1.0),
]
# Polis (data by the Computational Democracy Project): votes on statements. Even steps: here `ot` and `wasserstein` are the same loss.
_POLIS = [("disagree", -1.0), ("pass", 0.0), ("agree", 1.0)]
# ChaosNLI (Nie et al., EMNLP 2020; CC BY-NC 4.0): does a hypothesis follow from a premise, 100 raters each.
_CHAOSNLI = [("contradiction", -1.0), ("neutral", 0.0), ("entailment", 1.0)]
SETS = {"convabuse": _CONVABUSE, "polis": _POLIS, "chaosnli": _CHAOSNLI}


def space_of(name: str) -> LabelSpace:
    return LabelSpace.load(
        {
            "name": name,
            "axes": [{"name": "scale", "levels": [{"name": label} for label, _ in SETS[name]]}],
            "labels": [{"name": label, "reward": r, "levels": {"scale": label}} for label, r in SETS[name]],
        }
    )


def rows_of(name: str, folder: Path, *, raw: bool = False) -> tuple[LabelSpace, Rows]:
    """All items of a set with their fitted distributions (beta prior learned across the items, targeted smoothing: the defaults of `dprm ratings fit`), or with
    the raw shares of their votes."""
    space, file = space_of(name), folder / f"{name}.parquet"
    fitted = fit(read_votes(file, space, duplicates="first"), space)
    columns = ["item_id", "context", "response"] + (["conversation"] if name == "polis" else [])
    seen = {row["item_id"]: row for row in pq.read_table(file, columns=columns).to_pylist()}
    items = [seen[item] for item in fitted.votes.item_ids]
    if name == "polis":
        prompts = [[{"role": "user", "content": f"What do you say about {row['context']}?"}] for row in items]
        completions = [[{"role": "assistant", "content": row["response"]}] for row in items]
        groups = np.array([row["conversation"] for row in items])
    else:
        prompts = [_turns(row["context"]) for row in items]
        completions = [_turns(row["response"]) for row in items]
        groups = _conversations([f"{row['context']}\n{row['response']}" for row in items])
    shares = fitted.votes.counts / fitted.votes.counts.sum(axis=1, keepdims=True)
    return space, Rows(prompts, completions, groups, shares if raw else fitted.distribution, fitted.evidence)


def folds(groups: np.ndarray, count: int) -> np.ndarray:
    """The fold (N,) of every row: whole groups, the largest first, each into the fold that is smallest so far (ties by a hash of the name)."""
    names, sizes = np.unique(groups, return_counts=True)
    order = sorted(
        zip(names, sizes, strict=True), key=lambda g: (-g[1], hashlib.sha256(str(g[0]).encode()).hexdigest())
    )
    filled, where = [0] * count, {}
    for name, size in order:
        fold = int(np.argmin(filled))
        where[name] = fold
        filled[fold] += size
    return np.array([where[group] for group in groups])


def _turns(text: str) -> list[Message]:
    """`AGENT: ...` and `USER: ...` lines as messages."""
    turns: list[Message] = []
    for line in text.splitlines():
        who, _, said = line.partition(": ")
        if who in ("AGENT", "USER") or not turns:
            turns.append({"role": "assistant" if who == "AGENT" else "user", "content": said or line})
        else:
            turns[-1]["content"] += "\n" + line
    return turns


def _conversations(texts: list[str]) -> np.ndarray:
    """Items of one conversation, as well as the texts tell: those that share two consecutive lines of at least 40 characters together."""
    parent = list(range(len(texts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, text in enumerate(texts):
        lines = text.splitlines()
        for pair in itertools.pairwise(lines):
            key = "\n".join(pair)
            if len(key) >= 40:
                parent[root(i)] = root(first.setdefault(key, i))
    return np.array([f"conversation-{root(i)}" for i in range(len(texts))])
