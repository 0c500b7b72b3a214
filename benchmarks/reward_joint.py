"""What pairs add to few distributions: one model trained on both, beside the few alone and beside distributions for all, on people's votes.

    python benchmarks/reward_joint.py FOLDER --model MODEL [--sets polis chaosnli] [--seeds 3] [--kept reward_joint.jsonl]

FOLDER, MODEL and the splits are those of `benchmarks/reward_defaults.py`. A quarter of the training responses keep their distributions; each of the others is
in a pair with a random one of them (in polis, of the same conversation), with the share of people who prefer the first: of two people who judge one response each.
No comparison was asked for; the votes imply it. A pair's question is worded otherwise than a row's, as the trainer leaves out pairs on prompts that are held out.

Rows: `ce` on the quarter, with the pairs by `ordinal` and by `utility`, and `ce` on all. The last two columns are the paired difference to the quarter alone.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from people import folds
from reward_defaults import (
    Kept,
    base_model,
    data_of,
    errors,
    mean_errors,
    paired,
    standard_error,
    trained,
    training_parser,
)

from dprm_data.core.arrays import Ints
from dprm_data.labels.space import LabelSpace
from dprm_trainers.data.rows import Rows, TrainingData, preference_pairs
from dprm_trainers.reward.rivals import TEXT, by_text

# The question that a row and that a pair asks.
WORDS = {
    "polis": ("What do you say about {}?", "People were asked about {}."),
    "chaosnli": ("Does the second sentence follow from the first?", "The second sentence may follow from the first."),
}


def asked(rows: Rows, name: str, subjects: list[str]) -> Rows:
    """The rows with the set's question as the prompt; of chaosnli with both sentences as the response."""
    prompts = [[{"role": "user", "content": WORDS[name][0].format(subject)}] for subject in subjects]
    completions = rows.completions
    if name == "chaosnli":
        both = [
            " ".join(turn["content"] for turn in [*p, *c]) for p, c in zip(rows.prompts, rows.completions, strict=True)
        ]
        completions = [[{"role": "assistant", "content": text}] for text in both]
    return replace(rows, prompts=prompts, completions=completions)


def subjects_of(name: str, rows: Rows) -> list[str]:
    """What each row's conversation is about; nothing in chaosnli."""
    if name != "polis":
        return [""] * len(rows)
    return [
        str(prompt[0]["content"]).removeprefix("What do you say about ").removesuffix("?") for prompt in rows.prompts
    ]


def partners(subjects: list[str], seed: int) -> Ints:
    """A random other row of the same subject for each (P, 2)."""
    rng = np.random.default_rng(seed)
    found = []
    for subject in sorted(set(subjects)):
        at = np.flatnonzero(np.array(subjects) == subject)
        order = rng.permutation(at)
        found += list(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True)) if len(at) > 1 else []
    return np.array(found, dtype=np.int64)


def write_pairs(file: Path, name: str, rows: Rows, subjects: list[str], space: LabelSpace) -> int:
    """Pairs with their shares as a Parquet file. Returns their number."""
    better = 0.5 * (1 + np.sign(space.rewards[:, None] - space.rewards[None, :]))
    content: list[dict[str, Any]] = []
    for i, j in partners(subjects, 0).tolist():
        share = float(rows.target[i] @ better @ rows.target[j])
        question = [{"role": "user", "content": WORDS[name][1].format(subjects[i])}]
        content.append(
            {"prompt": question, "chosen": rows.completions[i], "rejected": rows.completions[j], "share": share}
        )
    pq.write_table(pa.Table.from_pylist(content), file)
    return len(content)


def main() -> None:
    parser = training_parser(__doc__, kept="reward_joint.jsonl", objectives=[])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", nargs="*", default=list(WORDS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kept = Kept(arguments.kept)
    more = dict(pair.split("=", 1) for pair in arguments.more)
    for name in arguments.sets:
        data = data_of(name, arguments.folder)
        subjects = {split: subjects_of(name, part) for split, part in data.splits.items()}
        parts = {split: asked(part, name, subjects[split]) for split, part in data.splits.items()}
        train = parts["train"]
        few = folds(np.array([f"row-{i}" for i in range(len(train))]), 4) == 0
        rest = np.flatnonzero(~few)
        whole = TrainingData(data.space, parts, data.how, name)
        quarter = TrainingData(data.space, parts | {"train": train.take(np.flatnonzero(few))}, data.how, name)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pairs.parquet"
            count = write_pairs(file, name, train.take(rest), [subjects["train"][i] for i in rest.tolist()], data.space)
            joint = {"pair_data": str(file), "test": 0.0, "validation": 0.001}
            ways: dict[str, tuple[TrainingData, dict[str, Any]]] = {
                f"{few.sum()} rows": (quarter, {"objective": "ce"}),
                f"{few.sum()} rows, {count} pairs by ordinal": (quarter, {"objective": "ce+ordinal", **joint}),
                f"{few.sum()} rows, {count} pairs by utility": (quarter, {"objective": "ce+utility", **joint}),
                f"{len(train)} rows": (whole, {"objective": "ce"}),
            }
            predictions, minutes = {}, {}
            for way, (rows, settings) in ways.items():
                given = {"model": base_model(arguments.model), **settings, **more}
                found = []
                for seed in range(arguments.seeds):
                    key = [name, arguments.model, way, settings["objective"], more, seed]
                    found.append(kept.get(key, lambda: trained(rows, given | {"seed": seed})))  # noqa: B023
                predictions[way] = [np.array(one["p"]) for one in found]
                minutes[way] = float(np.mean([one["cpu_minutes"] for one in found]))
        report(name, whole, quarter, predictions, minutes)


def report(
    name: str, whole: TrainingData, quarter: TrainingData, predictions: dict[str, list[Any]], minutes: dict[str, float]
) -> None:
    """The table of a set; TF-IDF on both numbers of rows is in it."""
    test, space = whole.split("test"), whole.space
    pairs = preference_pairs(test, space.rewards, within="any")
    for data in (quarter, whole):
        text = by_text(data.split("train"), test)
        assert not isinstance(text, str), text
        predictions[f"{TEXT}, {len(data.split('train'))} rows"] = [text]
    found = {way: mean_errors(seeds, test, space, pairs) for way, seeds in predictions.items()}
    base = next(iter(predictions))
    groups = {figure: at for figure, (_, at) in errors(predictions[base][0], test, space, pairs).items()}
    print(f"\n**{name}**, {len(test)} responses held out\n\n| trained on | RPS | NLL | pairs | less the quarter alone: RPS | NLL | CPU minutes |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|")
    for way, values in found.items():
        cells = [
            f"{values[figure].mean():.4f} ± {standard_error(values[figure], at):.4f}" for figure, at in groups.items()
        ]
        less = [
            "–" if way == base else paired(values[figure] - found[base][figure], groups[figure])
            for figure in ("RPS", "NLL")
        ]
        spent = f"{minutes[way]:.1f}" if way in minutes else "–"
        print("| " + " | ".join([way, *cells, *less, spent]) + " |", flush=True)


if __name__ == "__main__":
    main()
