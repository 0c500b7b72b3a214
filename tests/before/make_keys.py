"""Makes `data/keys`: recipes of many kinds, the keys of their calls and what was sent. python -m tests.before.make_keys"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.before.make_runs import SPACE, WORDS, anthropic, openai
from tests.before.saved import DATA, call_keys, dprm_each, pack, unpack
from tests.helpers import write_rows
from tests.servers.llm import LLMServer

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Is a tomato a fruit? Über {{ x }} \"quoted\""}, {"role": "assistant", "content": "Yes."}]},
    {
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "Name a river."},
            {"role": "assistant", "content": "Which continent?"},
            {"role": "user", "content": "Any."},
            {"role": "assistant", "content": "The Nile.\n\nIt is long."},
        ]
    },
    {"messages": [{"role": "user", "content": "Hello [[fault:unparsable]]"}, {"role": "assistant", "content": "Hello!"}]},
]  # fmt: skip
FLAT = {
    "name": "flat",
    "labels": [
        {"name": "useful", "reward": 1, "description": "it helps"},
        {"name": "useless", "words": "of no use", "reward": 0},
        {"name": "odd", "words": "odd", "reward": 0.25},
    ],
    "cost": [[0, 1, 2], [1, 0, 1], [2, 1, 0]],
}
PANEL = {
    "name": "own",
    "personas": [
        {"id": "cook", "name": "Cook", "description": "You cook.", "attributes": {"age": 41}, "weight": 2},
        {"id": "stranger", "name": "", "description": "You are new here."},
        {"id": "baker", "name": "Baker", "description": "You bake.", "attributes": {"age": 30}},
    ],
}
PROMPT = """{% block system %}Rate: {% for label in labels %}{{ label.name }} ({{ label.words }}) {% endfor %}{% endblock %}
{% block item %}{{ fence }} {{ prompt[-1].content }} {{ response }} {{ fence }}{% endblock %}
{% block persona %}{{ persona.name }} {{ persona.attributes }}: {% for option in options %}{{ option.words }};{% endfor %}{% endblock %}
"""
EXTRA = {"service_tier": "flex", "metadata": {"project": "test"}}
FLEET = [{"base_url": "@DOUBLE@/v1", "weight": 2}, {"base_url": "@LOCALHOST@/v1", "rpm": 6000, "concurrency": 4}]
RECIPES: dict[str, dict[str, Any]] = {
    "choice": {"provider": openai()},
    "choice-anthropic": {"provider": anthropic()},
    "choice-no-axes": {"provider": openai(), "labels": FLAT},
    "choice-parameters": {"provider": openai(temperature=0.5, top_p=0.9, seed=11, max_tokens=50, extra=EXTRA), "seed": 7},
    "choice-json-object": {"provider": openai(structured="json_object"), "labels": 5},
    "choice-unstructured": {"provider": openai(structured="none"), "labels": "ordinal6", "max_reasks": 0},
    "choice-unstructured-anthropic": {"provider": anthropic(structured="none", max_tokens=99), "labels": "ordinal5"},
    "choice-replicates": {"provider": openai(), "replicates": 3, "labels": 3},
    "choice-prior": {"provider": openai(), "prior": {"strength": "auto"}},
    "choice-prior-anthropic": {"provider": anthropic(extra={"service_tier": "auto"}), "prior": {"strength": 3}},
    "choice-batch": {"provider": openai(), "mode": "batch", "limits": {"poll_every": 0.05}},
    "choice-batch-anthropic": {"provider": anthropic(), "mode": "batch", "limits": {"poll_every": 0.05}},
    "choice-fleet": {"provider": {"name": "openai", "model": "gpt-4o-mini", "endpoints": FLEET}},
    "choice-own-prompt": {"provider": openai(), "prompt": "own.jinja", "labels": FLAT, "panel": "own.yaml"},
    "choice-sampled": {"provider": openai(), "panel": {"use": "demographic-1", "sample": 3, "stratify": ["sex"], "seed": 2}},
    "rationale": {"provider": openai(), "rationale": True, "prompt": "choice"},  # before, that was the default
    "rationale-anthropic": {"provider": anthropic(), "rationale": True, "prompt": "choice", "labels": 4},
    "distribution": {"provider": openai(), "elicitation": "distribution"},
    "distribution-anthropic": {"provider": anthropic(), "elicitation": "distribution", "labels": FLAT},
    "logprobs": {"provider": openai(), "elicitation": "logprobs", "labels": SPACE},
    "logprobs-no-axes": {"provider": openai(seed=1), "elicitation": "logprobs", "labels": FLAT, "seed": 3},
}  # fmt: skip


class Listener:
    """A double that keeps a hash of all that it is sent, whatever the order of its fields."""

    def __init__(self) -> None:
        self.server = LLMServer(words=(*WORDS, " useful", " of", " odd"), batch_seconds=0.0)
        self.server.says = self._listen
        self._sent: list[str] = []

    def _listen(self, request: dict[str, Any]) -> str | None:
        canonical = json.dumps(request, sort_keys=True)
        self._sent.append(hashlib.sha256(canonical.encode()).hexdigest()[:16])
        if "schema" in canonical or "logprobs" in request:
            return None
        return json.dumps({"label": re.findall(r'Answer with one of: \\"(.+?)\\"', canonical)[-1]})

    def sent(self) -> list[str]:
        """What was sent since the last time, sorted."""
        found, self._sent = sorted(self._sent), []
        return found


def annotate(folder: Path, listener: Listener, name: str) -> dict[str, list[str]]:
    """Run one of the recipes in the unpacked folder: its calls' keys and what was sent."""
    dprm_each([["annotate", f"{name}.yaml", "--output", name, "--quiet"]], cwd=folder)
    return {"keys": call_keys(folder / name / "ledger.sqlite"), "sent": listener.sent()}


def main() -> None:
    staged = Path(tempfile.mkdtemp(prefix="before-"))
    write_rows(staged / "rows.jsonl", ROWS)
    (staged / "own.jinja").write_text(PROMPT)
    (staged / "own.yaml").write_text(yaml.safe_dump(PANEL))
    for name, recipe in RECIPES.items():
        content = {"name": name, "source": {"path": "rows.jsonl"}, "panel": {"use": PANEL}} | recipe
        (staged / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    pack(staged, "keys")
    listener = Listener()
    work = staged / "work"
    with listener.server as server:
        unpack("keys", work, server.url)
        found = {name: annotate(work, listener, name) for name in RECIPES}
    (DATA / "keys/keys.json").write_text(json.dumps(found, indent=0) + "\n")
    shutil.rmtree(staged)


if __name__ == "__main__":
    main()
