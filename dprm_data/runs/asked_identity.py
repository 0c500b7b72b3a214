"""Who is asked, how, and which model answers, as hashes: two runs with equal ones differ in their items alone."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from dprm_data.runs.run import Run


@dataclass(frozen=True)
class AskedIdentity:
    """panel: the personas with their weights; prompt: what they are asked, with the labels; models: the names in requests, with the temperature."""

    panel: str
    prompt: str
    models: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"models": list(self.models)}

    def differs_in(self, other: dict[str, Any]) -> list[str]:
        """Which of the three another run's are different: its `as_dict`."""
        return [name for name, value in self.as_dict().items() if other.get(name) != value]


def asked_identity(run: Run) -> AskedIdentity:
    """The identity of what a run asks. Makes no call."""
    personas = [
        {"id": persona.id, "description": persona.description, "weight": persona.weight, "model": persona.model}
        for persona in run.panel.personas
    ]
    prompt = {
        "template": run.template.source,
        "labels": run.space.model_dump(mode="json"),
        "elicitation": run.work.elicitation.name,
        "rationale": run.recipe.rationale,
    }
    return AskedIdentity(
        _hash(personas),
        _hash(prompt),
        tuple(sorted(_model(run, id_, name) for id_, name in run.model_names().items())),
    )


def _model(run: Run, id_: str, name: str) -> str:
    temperature = next(entry.temperature for entry in run.recipe.entries if entry.id == id_)
    return name if temperature is None else f"{name} at temperature {temperature:g}"


def _hash(content: Any) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
