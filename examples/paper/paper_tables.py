"""What the example says in the end: table.md and table.json, with samples, beside the pictures that training and evaluation drew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pyarrow.parquet as pq

from dprm_data.core.tables import write_text
from dprm_trainers.evaluation.policy_responses import read_responses

SHOWN = 6  # held-out prompts among the samples


def write_tables(out: Path, names: list[str]) -> None:
    """Gather the figures of a finished run. names: of the reward models."""
    stages = _json(out / "stages.json")["stages"]
    trained = {name: _json(out / "policies" / name / "dprm_ppo.json")["figures"] for name in names}
    evaluation = _json(out / "evaluation" / "evaluation.json")
    content = {
        "rewards": _json(out / "reward-evaluation" / "evaluation.json"),
        "ppo": trained,
        "policies": evaluation,
        "stages": stages,
    }
    write_text(out / "table.json", json.dumps(content, indent=2) + "\n")
    parts = [
        "## What the panel says of the responses it was shown",
        _origins(out / "panel" / "tables"),
        "## Reward models on responses to held-out prompts of the panel",
        _plain((out / "reward-evaluation" / "evaluation.md").read_text(encoding="utf-8"), out),
        "## PPO, each on its own reward model",
        _training(trained),
        "## Policies on held-out prompts",
        _plain((out / "evaluation" / "evaluation.md").read_text(encoding="utf-8"), out),
        "## What the policies say",
        _samples(out),
        "## Time",
        _time(stages),
    ]
    write_text(out / "table.md", "\n\n".join(part.strip() for part in parts) + "\n")
    _pictures(out, names)


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _plain(markdown: str, out: Path) -> str:
    """Without the folder's name before everything in it."""
    return markdown.replace(f"{out}/rewards/", "").replace(f"{out}/judge", "held-out panel").replace("### ", "#### ")


def _origins(tables: Path) -> str:
    """The mean expected reward of the responses by where they come from."""
    items = pq.read_table(tables / "items.parquet", columns=["item_id", "metadata"]).to_pylist()
    origin = {row["item_id"]: json.loads(row["metadata"])["origin"] for row in items}
    rewards: dict[str, list[float]] = {}
    for row in pq.read_table(tables / "distributions.parquet", columns=["item_id", "expected_reward"]).to_pylist():
        rewards.setdefault(origin[row["item_id"]], []).append(row["expected_reward"])
    rows = [[name, f"{fmean(found):.3f}", f"{pstdev(found):.3f}", str(len(found))] for name, found in rewards.items()]
    return _table(["", "expected reward", "standard deviation", "responses"], rows)


def _training(trained: dict[str, dict[str, Any]]) -> str:
    heads = ["reward, first", "reward, last", "KL, nats", "entropy", "tokens", "steps"]
    keys = ["reward_first", "reward_last", "kl_last", "entropy_last", "length_last", "steps"]
    rows = [[name, *[f"{found[key]:.3g}" for key in keys]] for name, found in trained.items()]
    return _table(["", *heads], rows) + "\n\nMeans over the first and the last tenth of the steps."


def _samples(out: Path) -> str:
    said: dict[str, dict[str, str]] = {}
    for row in read_responses(out / "evaluation"):
        if row.sample == 0:
            said.setdefault(row.prompt[-1]["content"], {})[row.policy] = " ".join(row.shown.split())
    first = list(said.items())[:SHOWN]
    policies = list(first[0][1])
    rows = [[prompt, *[found.get(name, "") for name in policies]] for prompt, found in first]
    return _table(["", *policies], rows, rule="---")


def _time(stages: dict[str, dict[str, float]]) -> str:
    rows = [[name, f"{spent['seconds']:.0f}", f"{spent['cpu_seconds']:.0f}"] for name, spent in stages.items()]
    total = [sum(spent[key] for spent in stages.values()) for key in ("seconds", "cpu_seconds")]
    return _table(["", "seconds", "of processors"], [*rows, ["all", *[f"{value:.0f}" for value in total]]])


def _table(heads: list[str], rows: list[list[str]], rule: str = "---:") -> str:
    lines = [heads, ["---", *[rule] * (len(heads) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _pictures(out: Path, names: list[str]) -> None:
    """The curves of every training and the comparison, side by side in one folder."""
    (out / "pictures").mkdir(exist_ok=True)
    shutil.copy(out / "evaluation" / "evaluation.svg", out / "pictures" / "policies.svg")
    for name in names:
        for drawn in sorted((out / "policies" / name).glob("*.svg")):
            shutil.copy(drawn, out / "pictures" / f"{name}-{drawn.name}")
