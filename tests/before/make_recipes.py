"""Makes `data/recipes`: recipes in which every key is set, what they say and what they are planned to be. python -m tests.before.make_recipes"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from dprm_data import Recipe
from tests.before.make_keys import FLAT, PANEL
from tests.before.saved import dprm_each, pack

PRICE = {"input": 1.0, "output": 4.0, "cached": 0.5, "cache_write": 1.25}
COMMON: dict[str, Any] = {
    "labels": FLAT,
    "replicates": 2,
    "max_reasks": 1,
    "seed": 5,
    "fit": {
        "family": "dirichlet",
        "smoothing": {"kind": "targeted", "threshold": 0.9, "epsilon": 0.1},
        "interval": 0.8,
        "human_weight": 2.0,
    },
    "publish": {
        "test": 0.2, "validation": 0.1, "seed": 3, "license": "mit", "language": ["en"], "sources": ["our own questions"],
    },
    "budget": {"max_cost": 2.5, "allow_unknown_price": False},
    "limits": {
        "concurrency": 8, "rpm": 600, "tpm": 90000, "attempts": 4, "give_up_after": 60, "lease": 12, "poll_every": 5,
    },
}  # fmt: skip
SOURCE = {
    "path": "table.csv",
    "columns": {"prompt": "question", "response": "answer"},
    "keep": ["topic", "part"],
    "limit": 6,
    "split_column": "part",
}
PROVIDER = {
    "temperature": 0.3, "top_p": 0.8, "max_tokens": 70, "seed": 9, "timeout": 30, "structured": "json_object",
    "extra": {"service_tier": "flex"}, "price": PRICE,
}  # fmt: skip
PLANNED: dict[str, dict[str, Any]] = {
    "direct": COMMON | {
        "source": SOURCE,
        "panel": {"use": PANEL, "sample": 2, "stratify": ["age"], "seed": 4},
        "elicitation": "choice",
        "prompt": "choice",
        "rationale": True,
        "prior": {"strength": "auto"},
        "mode": "direct",
        "engine": "direct",
        "ray": {"actors": 2},
        "early_stop": {"within": 0.4, "measure": "wasserstein", "first": 2, "step": 1, "pilot": 20},
        "provider": {"name": "openai", "model": "a-model", "base_url": "http://127.0.0.1:7/v1", "api_key_env": "A_KEY", **PROVIDER},
        "output": "out",
        "ledger": "calls.sqlite",
    },
    "fleet": COMMON | {
        "source": SOURCE,
        "panel": "small",
        "elicitation": "distribution",
        "provider": {
            "name": "openai",
            "model": "a-model",
            "price": PRICE,
            "endpoints": [
                {"base_url": "http://127.0.0.1:7/v1", "api_key_env": "A_KEY", "weight": 2, "concurrency": 3, "rpm": 60, "tpm": 9000},
                {"base_url": "http://127.0.0.1:8/v1"},
            ],
        },
    },
    "batch": COMMON | {"source": SOURCE, "panel": "small", "mode": "batch", "provider": {"name": "anthropic", "model": "a-model", "price": PRICE}},
    "logprobs": {"source": SOURCE, "labels": 3, "panel": "small", "elicitation": "logprobs", "provider": {"name": "openai", "model": "a-model", "price": PRICE}},
}  # fmt: skip
READ: dict[str, dict[str, Any]] = {  # what only a cluster or the Hub could plan
    "ray": COMMON | {
        "source": {"dataset": "acme/questions", "config": "main", "split": "test", "revision": "v1"},
        "engine": "ray",
        "ray": {"address": "auto", "actors": [2, 6], "cpus": 0.5, "batch_size": 32, "runtime_env": {"pip": ["orjson"]}},
        "ledger": "postgresql://user@127.0.0.1/ledger",
        "provider": {"name": "local", "model": ""},
    },
}  # fmt: skip


def plan_command(name: str) -> list[object]:
    return ["plan", f"{name}.yaml", "--output", f"planned-{name}", "--json"]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="before-"))
    rows = ["question,answer,topic,part"] + [f"What is {i}?,It is {i}.,numbers,train" for i in range(8)]
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    for name, recipe in (PLANNED | READ).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name} | recipe, sort_keys=False))
        said = Recipe.load(folder / f"{name}.yaml").model_dump(mode="json")
        (folder / f"{name}.said.json").write_text(json.dumps(said) + "\n")
    for name in PLANNED:
        (folder / f"{name}.plan.json").write_text(dprm_each([plan_command(name)], cwd=folder)[0])
        shutil.rmtree(folder / f"planned-{name}")
    pack(folder, "recipes")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
