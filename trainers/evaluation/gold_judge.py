"""Whether a judge can be the gold one: it must not be the proxy, and the reader must know what is behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dprm_data.core.format import percent
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.evaluation.judges import Verdict
from dprm_trainers.evaluation.policy_responses import absolute
from dprm_trainers.reward.reward_card import simulated_share


def check_gold(gold: str, proxies: Sequence[str]) -> None:
    """Raises `TrainingError` if there is no proxy, or if the gold judge is one."""
    if not proxies:
        raise TrainingError(
            "--gold needs a proxy to compare with", hint="Give the reward model that was optimised: --judge FOLDER."
        )
    if absolute(gold) in map(absolute, proxies):
        raise TrainingError(
            f"{gold} cannot be both the proxy (--judge) and the gold judge (--gold): gold would never fall",
            hint="Give a judge that had no part in the optimisation: a model of other labels, or a run.",
        )


def caveats(gold: Verdict, proxies: Sequence[Verdict]) -> list[str]:
    """What a reader must know before trusting the gold judge."""
    found = ["the intervals of the curves cover the choice of prompts, not the errors of the gold judge"]
    labels, simulated = _labels_of(gold.judge), simulated_behind(gold.judge)
    if simulated:
        found.append(
            f"the gold judge {gold.judge} is simulated: {percent(simulated)} of its labels are by language models, not people"
        )
    elif simulated is None:
        found.append(f"it is not known whether people or language models labelled for the gold judge {gold.judge}")
    for proxy in proxies:
        if np.array_equal(gold.reward, proxy.reward):
            found.append(
                f"the gold judge gives every response the reward of {proxy.judge}: as one model, they show nothing"
            )
        elif labels and labels == _labels_of(proxy.judge):
            found.append(
                f"the gold judge has the same labels behind it as {proxy.judge}: it shares their errors, and falls less"
            )
    return found


def simulated_behind(judge: str) -> float | None:
    """The share of language models' labels among those behind a judge; None if unknown."""
    labels = _labels_of(judge)
    return simulated_share(labels) if labels else None


def _labels_of(judge: str) -> Path | None:
    """The run, or other data, with the labels behind a judge; None if unknown."""
    if is_run_folder(judge):
        return Path(judge).resolve()
    config = Path(judge) / "config.json"
    if not config.is_file():
        return None
    source = (json.loads(config.read_text(encoding="utf-8")).get("dprm") or {}).get("trained_on")
    return Path(source).resolve() if source else None
