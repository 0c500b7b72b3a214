"""How a real instruct model judges real pairs: by choice, by log-probabilities and by a stated distribution, neutral and with personas.

    python benchmarks/real_model.py PATH/TO/hh_rlhf.parquet --model FILE.gguf [--pairs 60] [--personas 3] [--replicates 2]
        [--folder FOLDER] [--out FILE.md] [--only NAME ...]

The file has the columns prompt, chosen, rejected and subset. Pairs: half of them from harmless-base and half from helpful-base; of a seeded
sample of ten times as many, the ones with the shortest conversations (prompt and both responses, in characters), so that a small machine gets
through. Labels: ordinal5. Rivals: "the longer response", and the bundled model by log-probabilities.

Every measurement is a run in --folder with its own ledger: what was interrupted goes on where it was, and CPU seconds add up. One model is in
memory at a time. ± is a 95 % interval over pairs, ties counting half.

    accuracy    pairs in which the response that people chose has the higher mean reward
    variance    of the reward of one answer, by choice: what the item, the persona, the persona's view of this item and mere repetition
                make of it (balanced ANOVA; `repetition` is what two replicates differ by)
    position    share of answers (of the probability, for logprobs) at each place of the list that the answers were shown in
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dprm_data import RunResult, run
from dprm_data.elicit.elicitation import Prefix
from dprm_data.ingest.items import Item
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import NEUTRAL
from dprm_data.runs.run import Progress, Run

SUBSETS = ("harmless-base", "helpful-base")
SEED = 0


@dataclass(frozen=True)
class Measurement:
    """One run. personas: how many of the bundled panel `paper`; 0 for the neutral annotator."""

    name: str
    model: str
    elicitation: str
    personas: int = 0
    replicates: int = 1


def measurements(model: str, personas: int, replicates: int) -> list[Measurement]:
    """The cheapest first."""
    found = [Measurement("bundled-logprobs", "", "logprobs")]
    if model:
        found += [
            Measurement("logprobs", model, "logprobs"),
            Measurement("choice", model, "choice"),
            Measurement("distribution", model, "distribution"),
            Measurement("logprobs-personas", model, "logprobs", personas),
        ]
    return [*found, Measurement("choice-personas", model, "choice", personas, replicates)]


def pairs(data: Path, count: int) -> list[dict[str, Any]]:
    """The pairs to be judged, by the rule above."""
    table = pq.read_table(data, columns=["prompt", "chosen", "rejected", "subset"]).to_pylist()
    found = []
    for subset in SUBSETS:
        rows = [row for row in table if row["subset"] == subset]
        rows = random.Random(SEED).sample(rows, min(len(rows), 10 * math.ceil(count / len(SUBSETS))))
        rows.sort(key=lambda row: sum(len(row[name]) for name in ("prompt", "chosen", "rejected")))
        found += rows[: math.ceil(count / len(SUBSETS))]
    return found[:count]


class Said(Progress):
    """What a run says, and how far it is, on stderr."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0

    def say(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

    def update(self, counters: Any) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 30
            self.say(f"{counters.calls:,} calls, {counters.items:,} of {counters.total_items:,} items")


def measure(what: Measurement, rows: list[dict[str, Any]], folder: Path) -> RunResult:
    """Run it, or what is missing of it."""
    panel = load_panel("paper").personas[: what.personas] or [NEUTRAL]
    recipe = {
        "name": what.name,
        "labels": "ordinal5",
        "panel": {
            "use": {"name": what.name, "personas": [persona.model_dump(mode="json") for persona in panel]},
        },
        "elicitation": what.elicitation,
        "replicates": what.replicates,
        # Answers are drawn as the model means them: at 0, replicates would be copies.
        "provider": {"name": "local", "model": what.model, "temperature": 1.0},
    }
    return run(recipe, source=rows, output=folder / what.name, progress=Said(what.name))


# -- what comes of it ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """A run's annotations. rewards: (item, persona, replicate) -> reward of the answer; ok, all: annotations with a label, and all."""

    run: Run
    rewards: dict[tuple[str, str, int], float]
    items: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    ok: int
    all: int
    calls: int


def answers(result: RunResult) -> Answers:
    opened = Run.open(result.folder.path)
    values = dict(zip(opened.space.names, opened.space.rewards.tolist(), strict=True))
    rows = pq.read_table(result.folder.needs("annotations")).to_pylist()
    good = [row for row in rows if row["status"] == "ok"]
    rewards = {}
    for row in good:
        soft = float(np.dot(row["probs"], opened.space.rewards)) if row["probs"] else values[row["label"]]
        rewards[row["item_id"], row["annotator_id"], row["replicate"]] = soft
    items = {row["item_id"]: row for row in pq.read_table(result.folder.needs("items")).to_pylist()}
    with opened.ledger(readonly=True) as ledger:
        calls = ledger.counts()["calls"]
    return Answers(opened, rewards, items, good, len(good), len(rows), calls)


def accuracy(found: Answers, subset: str | None = None) -> str:
    by_item: dict[str, list[float]] = {}
    for (item, _, _), reward in found.rewards.items():
        by_item.setdefault(item, []).append(reward)
    means = {item: float(np.mean(rewards)) for item, rewards in by_item.items()}
    return share(_scores(found.items, subset, lambda item: means.get(item["item_id"])))


def longer(items: Mapping[str, dict[str, Any]], subset: str | None = None) -> str:
    return share(_scores(items, subset, lambda item: len(item["completion"][-1]["content"])))


def _scores(
    items: Mapping[str, dict[str, Any]], subset: str | None, value: Callable[[dict[str, Any]], float | None]
) -> list[float]:
    """1 for every pair in the right order, 0 for the wrong one, a half for a tie."""
    sides: dict[str, dict[str, float | None]] = {}
    for item in items.values():
        if subset is None or json.loads(item["metadata"] or "{}").get("subset") == subset:
            sides.setdefault(item["group_id"], {})[item["role"]] = value(item)
    margins = [
        side["chosen"] - side["rejected"]
        for side in sides.values()
        if side.get("chosen") is not None and side.get("rejected") is not None  # type: ignore[operator]
    ]
    return [0.5 if abs(margin) < 1e-9 else float(margin > 0) for margin in margins]


def share(scores: list[float]) -> str:
    if not scores:
        return "–"
    half = 1.96 * float(np.std(scores, ddof=1)) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
    return f"{np.mean(scores):.2f} ± {half:.2f}"


def components(found: Answers, personas: int, replicates: int) -> dict[str, float] | None:
    """Variance components of items × personas × replicates, over the items with all their answers."""
    people = sorted({who for _, who, _ in found.rewards})
    items = sorted({item for item, _, _ in found.rewards})
    cube = np.array(
        [[[found.rewards.get((i, p, r), math.nan) for r in range(replicates)] for p in people] for i in items]
    )
    cube = cube[~np.isnan(cube).any(axis=(1, 2))]
    n = len(cube)
    if n < 2 or personas < 2 or replicates < 2:
        return None
    cell, item, person, mean = cube.mean(2), cube.mean((1, 2)), cube.mean((0, 2)), cube.mean()
    within = float(((cube - cell[..., None]) ** 2).sum() / (n * personas * (replicates - 1)))
    crossed = cell - item[:, None] - person[None, :] + mean
    ms_crossed = replicates * float((crossed**2).sum()) / ((n - 1) * (personas - 1))
    ms_item = personas * replicates * float(((item - mean) ** 2).sum()) / (n - 1)
    ms_person = n * replicates * float(((person - mean) ** 2).sum()) / (personas - 1)
    return {
        "item": (ms_item - ms_crossed) / (personas * replicates),
        "persona": (ms_person - ms_crossed) / (n * replicates),
        "persona × item": (ms_crossed - within) / replicates,
        "repetition": within,
    }


def positions(found: Answers) -> list[float]:
    """The share of answers, or of their probability, at each place of the list."""
    work = found.run.work
    personas = {persona.id: persona for persona in found.run.panel.personas}
    places = np.zeros(found.run.space.K)
    for row in found.rows:
        item = Item(row["item_id"], (), (), "", None, "", {})
        who = personas.get(row["annotator_id"])
        if who is None:  # the population of a stated distribution
            continue
        order = list(work.elicitation.task(Prefix(item, "", ""), who, row["replicate"]).questions[0].order)
        probs = row["probs"] or np.eye(found.run.space.K)[found.run.space.names.index(row["label"])]
        places += np.asarray(probs)[order]
    return (places / max(1e-9, places.sum())).tolist()


def report(done: dict[str, tuple[Measurement, Answers, float]]) -> list[str]:
    """The tables, in Markdown."""
    items = next(iter(done.values()))[1].items
    lines = [
        f"{len(items) // 2} pairs of HH-RLHF ({' and '.join(SUBSETS)}), labels ordinal5.",
        "",
        "| | annotations with a label | accuracy | harmless | helpful | answers at each place of the list | calls | CPU s |",
        "|---|---|---|---|---|---|---|---|",
        f"| the longer response | | {longer(items)} | {longer(items, SUBSETS[0])} | {longer(items, SUBSETS[1])} | | | |",
    ]
    for what, found, seconds in done.values():
        who = f"{what.personas} personas" if what.personas else "neutral"
        again = f" × {what.replicates}" if what.replicates > 1 else ""
        model = found.run.work.elicitation.model.split("@")[0]
        places = " ".join(f".{round(100 * place):02}" for place in positions(found))
        cells = [accuracy(found), *(accuracy(found, subset) for subset in SUBSETS)]
        lines.append(
            f"| {model}, {what.elicitation}, {who}{again} | {found.ok:,} of {found.all:,} | {' | '.join(cells)} | {places} | "
            f"{found.calls:,} | {seconds:,.0f} |"
        )
    for what, found, _ in done.values():
        if parts := components(found, what.personas, what.replicates):
            total = sum(max(0.0, part) for part in parts.values()) or 1.0
            lines += ["", f"Variance of one answer's reward ({what.elicitation}, {what.personas} personas × {what.replicates}):", ""]  # fmt: skip
            lines += ["| " + " | ".join(parts) + " |", "|" + "---|" * len(parts)]
            lines += ["| " + " | ".join(f"{part:.3f} ({max(0.0, part) / total:.0%})" for part in parts.values()) + " |"]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--model", default="", help="a GGUF file, or one on the Hub (org/repo:Q4_K_M); default: the bundled one alone"
    )
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--personas", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the runs are kept, to go on later; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a file for the tables, beside stdout")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these measurements only")
    arguments = parser.parse_args()
    rows = pairs(arguments.data, arguments.pairs)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="real-model-"))
    folder.mkdir(parents=True, exist_ok=True)
    seconds_file = folder / "cpu_seconds.json"
    seconds: dict[str, float] = json.loads(seconds_file.read_text()) if seconds_file.exists() else {}
    done = {}
    for what in measurements(arguments.model, arguments.personas, arguments.replicates):
        if arguments.only and what.name not in arguments.only:
            continue
        began = time.process_time()
        try:
            result = measure(what, rows, folder)
        finally:  # the model computes in this process
            seconds[what.name] = seconds.get(what.name, 0.0) + time.process_time() - began
            seconds_file.write_text(json.dumps(seconds))
        done[what.name] = (what, answers(result), seconds[what.name])
        text = "\n".join(report(done)) + "\n"
        if arguments.out:
            arguments.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
