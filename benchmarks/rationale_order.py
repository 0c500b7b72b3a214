"""Does a reason narrow the spread of labels, and does it matter whether it comes before the label or after it?

    python -m benchmarks.rationale_order --model FILE.gguf           30 items x 8 personas x 2 replicates, three ways
    python -m benchmarks.rationale_order --url http://localhost:8000/v1 --model NAME --items 100

The same items and personas are asked without a reason (`none`), with the reason after the label (`after`: rationale: true) and before it
(`before`: prompt: choice). Printed for each way, in units of reward and of their own variances:

    labels      how many labels are used, and the entropy of their distribution, in nats
    items       variance between the items' means
    personas    variance between personas within an item, without the noise of replicates
    noise       variance between replicates of the same question

A collapse shows as fewer labels, less entropy and a smaller variance between personas. Intervals are bootstrapped over items.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WAYS: dict[str, dict[str, Any]] = {
    "none": {},
    "after": {"rationale": True},
    "before": {"rationale": True, "prompt": "choice"},
}
MEASURES = ("labels", "entropy", "items", "personas", "noise")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="", help="a GGUF file, or with --url a model's name; default: the bundled model"
    )
    parser.add_argument("--url", help="a server that speaks OpenAI's language; default: the model is served here")
    parser.add_argument("--source", type=Path, default=ROOT / "examples/quickstart/pairs.jsonl", help="a file of items")
    parser.add_argument("--items", type=int, default=30)
    parser.add_argument("--personas", type=int, default=8)
    parser.add_argument("--replicates", type=int, default=2)
    parser.add_argument("--labels", default="ordinal5")
    parser.add_argument("--panel", default="paper")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, help="where the runs are kept, to go on from; default: nowhere")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        found = {way: measured(annotated(way, folder, given), given) for way in WAYS}
    if given.json:
        print(json.dumps(found))
    else:
        show(found)
    return found


def annotated(way: str, folder: Path, given: argparse.Namespace) -> Any:
    """The annotations of one way of asking, as columns: item, persona, replicate, reward (NaN without a label)."""
    from dprm_data import run
    from dprm_data.labels.space import LabelSpace

    provider: dict[str, Any] = {"name": "local", "temperature": given.temperature}
    if given.model:
        provider["model"] = given.model
    if given.url:
        provider |= {"name": "openai", "base_url": given.url, "price": {"input": 0, "output": 0}}
    recipe = WAYS[way] | {
        "name": f"rationale-{way}",
        "source": {"path": str(given.source.absolute()), "limit": given.items},
        "labels": given.labels,
        "panel": {"use": given.panel, "sample": given.personas},
        "replicates": given.replicates,
        "provider": provider,
        "output": str(folder / way),
    }
    result = run(recipe)
    rewards = {label.name: label.reward for label in LabelSpace.load(given.labels).labels}
    table = pq.read_table(result.folder.table("annotations")).to_pylist()
    return [
        (row["item_id"], row["annotator_id"], row["replicate"], rewards.get(row["label"] or "", math.nan))
        for row in table
    ]


def measured(rows: list[tuple[str, str, int, float]], given: argparse.Namespace) -> dict[str, Any]:
    """Each measure with its 90 % interval, bootstrapped over items; and the share of answers without a label."""
    items = sorted({row[0] for row in rows})
    cells: dict[str, dict[str, list[float]]] = {item: {} for item in items}
    for item, persona, _, reward in rows:
        if not math.isnan(reward):
            cells[item].setdefault(persona, []).append(reward)
    full = [list(cells[item].values()) for item in items if cells[item]]
    drawn = np.random.default_rng(0).integers(len(full), size=(400, len(full)))
    resampled = [spread([full[i] for i in draw]) for draw in drawn]
    values = spread(full)
    found: dict[str, Any] = {
        name: [values[name], *np.nanquantile([each[name] for each in resampled], [0.05, 0.95]).tolist()]
        for name in MEASURES
    }
    return found | {"unread": sum(math.isnan(row[3]) for row in rows) / len(rows), "annotations": len(rows)}


def spread(items: list[list[list[float]]]) -> dict[str, float]:
    """The measures of items, each a list of personas, each a list of its replicates' rewards."""
    flat = [reward for item in items for persona in item for reward in persona]
    counts = np.unique(flat, return_counts=True)[1]
    shares = counts / counts.sum()
    repeated = [persona for item in items for persona in item if len(persona) > 1]
    noise = float(np.mean([np.var(persona, ddof=1) for persona in repeated])) if repeated else math.nan
    means = [[float(np.mean(persona)) for persona in item] for item in items if len(item) > 1]
    per = float(np.mean([1 / len(persona) for item in items for persona in item]))
    between = float(np.mean([np.var(item, ddof=1) for item in means])) if means else math.nan
    return {
        "labels": float(len(counts)),
        "entropy": float(-(shares * np.log(shares)).sum()),
        "items": float(np.var([np.mean([np.mean(persona) for persona in item]) for item in items], ddof=1))
        if len(items) > 1
        else math.nan,
        "personas": between - (0.0 if math.isnan(noise) else noise * per),
        "noise": noise,
    }


def show(found: dict[str, Any]) -> None:
    print(f"{'':8}" + "".join(f"{name:>24}" for name in MEASURES) + f"{'unread':>9}")
    for way, values in found.items():
        cells = "".join(
            f"{v[0]:>10.3f} ({v[1]:.3f} – {v[2]:.3f})".rjust(24) for v in (values[name] for name in MEASURES)
        )
        print(f"{way:8}{cells}{values['unread']:>9.1%}")


if __name__ == "__main__":
    main()
