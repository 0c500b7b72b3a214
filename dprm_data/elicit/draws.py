"""Draws: which model answers a prompt, how often, at which temperature, and what it is told beside the prompt.

Everything is a function of the prompt's id and of the options' own words, never of their place in a list or their number: each option gets a
hash together with the prompt, and the options are taken in the order of their hashes, round and round. So a further response is one more draw,
and a further model (temperature, principle) takes over some draws and changes no other (rendezvous hashing, Thaler & Ravishankar 1998).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dprm_data.recipe.generate_config import GenerateConfig


@dataclass(frozen=True, slots=True)
class Draw:
    """One call for responses to a prompt. sample: of this model at this temperature, from 0; count: responses asked for."""

    model_id: str
    temperature: float | None
    sample: int
    system: str = ""
    principle: str = ""
    count: int = 1


def draws(config: GenerateConfig, prompt_id: str) -> list[Draw]:
    """All calls for a prompt: by model in the recipe's order, then by temperature and sample."""
    found = list(_drawn(config, prompt_id))
    place = {model.id: i for i, model in enumerate(config.models)}
    return sorted(found, key=lambda each: (place[each.model_id], each.temperature or 0.0, each.sample))


def calls_per_prompt(config: GenerateConfig) -> int:
    """How many calls are made for a prompt."""
    return math.ceil(config.per_prompt / _together(config))


def _together(config: GenerateConfig) -> int:
    return config.per_call if config.strategy == "spread" else 1


def _drawn(config: GenerateConfig, prompt_id: str) -> Iterator[Draw]:
    seed = (config.seed, prompt_id)
    together = _together(config)
    models = _ranked([model.id for model in config.models], *seed, "model")
    own = {model.id: model.temperature for model in config.models}
    temperatures = {
        id_: [own[id_]] if own[id_] is not None else _ranked(config.temperatures, *seed, id_) or [None] for id_ in own
    }
    answers: Counter[str] = Counter()
    samples: Counter[tuple[str, float | None]] = Counter()
    for call, begin in enumerate(range(0, config.per_prompt, together)):
        id_ = models[call % len(models)]
        temperature = temperatures[id_][answers[id_] % len(temperatures[id_])]
        sample = samples[id_, temperature]
        answers[id_] += 1
        samples[id_, temperature] += 1
        this = (*seed, id_, temperature, sample)
        yield Draw(
            model_id=id_,
            temperature=temperature,
            sample=sample,
            system=_one_of(config.system, *this, "system"),
            principle=_one_of(config.principles, *this, "principle"),
            count=min(together, config.per_prompt - begin),
        )


def _one_of(options: Sequence[str], *seed: Any) -> str:
    return _ranked(options, *seed)[0] if options else ""


def _ranked(options: Sequence[Any], *seed: Any) -> list[Any]:
    """The options in the order of their hashes."""
    return sorted(options, key=lambda option: hashlib.sha256(repr((*seed, option)).encode()).digest())
