"""What the variance components of a panel say, in plain sentences: for the terminal, the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dprm_data.core.format import percent
from dprm_data.labels.space import LabelSpace
from dprm_data.labels.statistics import Interval
from dprm_data.preference.variance_components import Effect, VarianceComponents
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.panel_variance import PanelVariance, panel_variance


def spread_sentence(components: VarianceComponents) -> str:
    """The shares of the spread: "Spread of ratings: item 41%, persona 8%, item × persona 12%, replicate noise 39%."."""
    if components.total is None:
        return "Spread of ratings: too few to tell."
    if components.total == 0:
        return "Spread of ratings: none, all of them are alike."
    shares = ", ".join(f"{part.name} {percent(part.share.value)}" for part in components.components)
    return f"Spread of ratings: {shares}."


def persona_sentence(components: VarianceComponents) -> str | None:
    """Personas against noise; None where the panel has one persona or nothing varies."""
    effect = components.effect("persona")
    if effect is None or effect.share.value is None:
        return None
    moved = f"Personas explain {_between(effect.share)} of the spread"
    noise = components.noise
    if noise is None:
        if effect.beyond_noise:
            return (
                f"{moved} by their own severity alone. Replicate noise was not measured: no question was asked twice."
            )
        return f"{moved} by their own severity, which is not beyond chance. Replicate noise was not measured: no question was asked twice."
    against = f"{moved}, replicates {_between(noise.share)}"
    if not effect.beyond_noise:
        return f"{against}: this panel's personas do not move the answers beyond noise."
    if (effect.variance.value or 0.0) < (noise.variance.value or 0.0):
        return f"{against}: personas move the answers, but less than asking the same persona again does."
    return f"{against}: personas move the answers more than asking again does."


def model_sentence(components: VarianceComponents) -> str | None:
    """What the models do; None where there is one."""
    effect = components.effect("model")
    if effect is None or effect.share.value is None:
        return None
    end = "" if effect.beyond_noise else ", no more than chance would give"
    return f"Models explain {_between(effect.share)} of the spread{end}."


def warns(components: VarianceComponents) -> bool:
    """Whether the personas are not above the noise, and the noise was measured."""
    effect: Effect | None = components.effect("persona")
    return components.noise is not None and effect is not None and not effect.beyond_noise and bool(components.total)


def sentences(components: VarianceComponents) -> list[str]:
    """All that is worth saying, the shares first."""
    said = (spread_sentence(components), persona_sentence(components), model_sentence(components))
    return [sentence for sentence in said if sentence]


def _between(share: Interval) -> str:
    if share.low is None:
        return percent(share.value)
    return f"{percent(share.value)} ({percent(share.low)} to {percent(share.high)})"


def variance_record(folder: RunFolder, space: LabelSpace) -> dict[str, Any] | None:
    """The panel's variance with its sentences, as a run's manifest keeps it; None without a panel."""
    found = panel_variance(folder, space)
    return found.as_dict() | {"sentences": sentences(found.components)} if found else None


def recorded_variance(manifest: Mapping[str, Any]) -> PanelVariance | None:
    """The panel's variance in a manifest; None if there is none, or if it was edited and no longer valid."""
    try:
        return TypeAdapter(PanelVariance).validate_python(manifest.get("variance"))
    except ValidationError:
        return None


def recorded_sentences(manifest: Mapping[str, Any]) -> list[str]:
    """The sentences in a manifest; none in one that an older version wrote, or that somebody else has changed."""
    record = manifest.get("variance")
    found = record.get("sentences") if isinstance(record, dict) else None
    return [sentence for sentence in found if isinstance(sentence, str)] if isinstance(found, list) else []
