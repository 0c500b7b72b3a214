"""Simulated crowds, and panels with a known fault, that answer through the public door: the prompt says what people think of an item, and the panel reads it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import norm

from dprm_data import FunctionProvider
from dprm_data.providers.request import Answer, Request, Usage

LEVELS = 5
RECIPE = {
    "name": "team",
    "labels": LEVELS,
    "elicitation": "choice",
    "provider": {"model": "known"},
    "limits": {"concurrency": 64},
}


def panel(personas: int, **attributes: list[str]) -> dict[str, object]:
    return {
        "use": {
            "name": "team",
            "personas": [
                {
                    "id": f"p{i}",
                    "description": f"You are persona number {i}.",
                    "attributes": {name: values[i % len(values)] for name, values in attributes.items()},
                }
                for i in range(personas)
            ],
        }
    }


def labels_of(position: np.ndarray, spread: float, uniform: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """A label 0 … 4 for uniform numbers: a normal opinion around a position on the scale from 1 to 5, cut at the half steps."""
    return np.clip(np.rint(position + spread * norm.ppf(uniform)), 1, LEVELS).astype(int) - 1


def write_crowd(
    path: Path, *, items: int, raters: int, each: int, seed: int = 0, groups: dict[str, float] | None = None
) -> np.ndarray:  # type: ignore[type-arg]
    """A long table: every item judged by `each` of the raters; groups: how far the people of each lie from the item's position, times its sign. Returns the positions."""
    rng = np.random.default_rng(seed)
    position = np.clip(rng.normal(3.0, 0.8, items), 1.0, 5.0)
    sign = rng.choice([-1, 1], items)
    names = list(groups or {})
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["prompt", "response", "rater_id", "label", "team"])
        for i in range(items):
            for r in rng.choice(raters, each, replace=False):
                team = names[r % len(names)] if names else ""
                shift = (groups or {}).get(team, 0.0) * sign[i]
                label = labels_of(np.array(position[i] + shift), 0.9, rng.random())
                out.writerow(
                    [f"Prompt {i // 2}", f"Answer {i}: [{position[i]:.6f} {sign[i]}]", f"r{r}", int(label) + 1, team]
                )
    return position


Opinion = Callable[[float, int, int, float], float]


def judge(answer: Opinion, *, shift: float = 0.0) -> FunctionProvider:
    """A model that knows what people think. answer(position, sign, persona, uniform) -> the label, 1 … 5, that a persona gives (-1: the neutral annotator). Asked for a
    distribution, it says people's, moved by `shift`."""

    def said(request: Request) -> str:
        text = "\n".join(str(message["content"]) for message in request.messages)
        position, sign = re.findall(r"\[([\d.]+) (-?1)\]", text)[-1]
        fields = request.params.get("schema", {}).get("properties", {})
        if len(fields) == LEVELS:
            edges = np.array([-np.inf, 1.5, 2.5, 3.5, 4.5, np.inf])
            shares = np.diff(norm.cdf((edges - float(position) - shift) / 0.9))
            return json.dumps(dict(zip(sorted(fields), (100 * shares).tolist(), strict=True)))
        found = re.search(r"persona number (\d+)", text)
        digest = hashlib.sha256(text.encode()).digest()
        uniform = (int.from_bytes(digest[:6], "big") + 0.5) / 2**48
        label = answer(float(position), int(sign), int(found.group(1)) if found else -1, uniform)
        return json.dumps({"label": str(round(label))})

    def complete(request: Request) -> Answer:
        text = said(request)
        read = sum(len(str(message["content"])) for message in request.messages) // 4
        return Answer(text, "stop", Usage(read, len(text) // 4), "known")

    return FunctionProvider(complete, model="known")
