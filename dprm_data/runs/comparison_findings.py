"""What the fit of a run's comparisons found, as figures for the manifest and in sentences: the order effect, and annotators who only look at the place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.format import percent
from dprm_data.preference.contradictions import BY_CHANCE, circular_triples
from dprm_data.runs.comparison_table import Compared

_Z90 = 1.6449
_FEWEST = 8  # comparisons in which somebody chose a side
_NEARLY_ALWAYS = 0.8  # the interval of the share for one place is above it
_NAMED = 5  # annotators in a sentence
_KINDS = {"persona": ("persona", "personas"), "human": ("person", "people")}


def comparison_record(compared: Compared) -> dict[str, Any]:
    """What the manifest says of the comparisons."""
    data, learned = compared.data, compared.fit.learned
    kind = data.kind[data.annotator]
    people = {name: len(np.unique(data.annotator[kind == i])) for i, name in enumerate(compared.kinds)}
    return {
        "comparisons": len(data),
        "answers": len(np.unique(data.replies)),  # fewer, where sets were asked about
        "annotators": people,
        "steps": list(learned.scales),
        "spread": learned.spread,  # variance of utilities within a prompt, in log odds
        "correlation": learned.correlation,  # of one annotator's answers about a pair
        "slope": learned.reward.slope if learned.reward else None,  # reward per unit of utility
        "order": {name: effect for i, name in enumerate(compared.kinds) if (effect := _order_effect(compared, i))},
        "places": _places(compared),
        "contradictions": asdict(circular_triples(data)),
    }


def _order_effect(compared: Compared, kind: int) -> dict[str, float] | None:
    """The order effect of a kind of annotators, with 90 % intervals: in log odds, and as the share of choices for the first of two equal responses. None if the order is not known."""
    order = compared.fit.learned.order
    if not np.isfinite(order.error[kind]):
        return None
    ends = order.mean[kind] + np.array([0.0, -_Z90, _Z90]) * order.error[kind]
    first, tie = compared.fit.scale.preferred(ends)
    share = first / (1 - tie)
    return dict(zip(("effect", "low", "high"), map(float, ends), strict=True)) | dict(
        zip(("share", "share_low", "share_high"), map(float, share), strict=True)
    )


def _places(compared: Compared) -> list[dict[str, Any]]:
    """Annotators who nearly always choose one place: the share of their choices for the first, with its 90 % interval (Wilson's)."""
    data = compared.data
    chose = (data.answer != 0) & data.ordered[data.annotator]
    size = len(data.kind)
    total = np.bincount(data.annotator[chose], minlength=size)
    first = np.bincount(data.annotator[chose & (data.answer > 0)], minlength=size)
    independent = np.bincount(data.annotator[chose], 1 / data.noise[chose], minlength=size) / np.maximum(total, 1)
    low, high = _wilson(first * independent, total * independent)
    found = np.flatnonzero((total >= _FEWEST) & ((low > _NEARLY_ALWAYS) | (high < 1 - _NEARLY_ALWAYS)))
    return [
        {
            "annotator": compared.annotators[i],
            "kind": compared.kinds[data.kind[i]],
            "chose": int(total[i]),
            "first": int(first[i]),
            "share_low": float(low[i]),
            "share_high": float(high[i]),
        }
        for i in found
    ]


def _wilson(successes: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Wilson's interval for a share, (A,) each."""
    n = np.maximum(total, 1)
    p, z2 = successes / n, _Z90**2
    centre, half = p + z2 / (2 * n), _Z90 * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return np.asarray((centre - half) / (1 + z2 / n)), np.asarray((centre + half) / (1 + z2 / n))


def comparison_sentences(manifest: Mapping[str, Any]) -> list[str]:
    """What the manifest's record says, in sentences; none in a run without comparisons."""
    found = (manifest.get("preferences") or {}).get("compared")
    if not found:
        return []
    by = " and ".join(f"{count:,} {_said(kind, count)}" for kind, count in found["annotators"].items() if count)
    answers = found.get("answers", found["comparisons"])  # earlier versions did not say
    sets = f", from {answers:,} answers that name the best and the worst," if answers < found["comparisons"] else ""
    sentences = [f"{found['comparisons']:,} comparisons by {by}{sets} count."]
    for kind, effect in found["order"].items():
        interval = f"{percent(effect['share_low'])}–{percent(effect['share_high'])}"
        what = "beyond chance, and taken out" if effect["low"] > 0 or effect["high"] < 0 else "no more than chance"
        sentences.append(
            f"Order effect: of two equal responses {_said(kind, 2)} choose the one shown first in {percent(effect['share'])} of their choices ({interval}), {what}."
        )
    against = found.get("contradictions", {})  # older versions did not count them
    if against.get("circular"):
        sentences.append(
            f"Contradictions: in {against['circular']:,} of {against['triples']:,} triples of responses ({percent(against['circular'] / against['triples'])}) the answers go round in a circle "
            f"(A over B, B over C, C over A), which no order explains; of answers at random, {percent(BY_CHANCE)} would."
        )
    for each in found["places"][:_NAMED]:
        first = 2 * each["first"] >= each["chose"]
        times = each["first"] if first else each["chose"] - each["first"]
        low, high = each["share_low"], each["share_high"]
        low, high = (low, high) if first else (1 - high, 1 - low)
        sentences.append(
            f"{each['annotator']} chose the {'first' if first else 'second'} in {times:,} of {each['chose']:,} comparisons "
            f"({percent(low)}–{percent(high)}), whatever was shown there: these answers hardly count."
        )
    if len(found["places"]) > _NAMED:
        sentences.append(f"{len(found['places']) - _NAMED:,} more annotators nearly always chose one place.")
    return sentences


def _said(kind: str, count: int) -> str:
    """The noun of a kind of annotators: personas, people, personas played by a model."""
    name, _, model = kind.partition(": ")
    return _KINDS[name][count != 1] + (f" played by {model}" if model else "")
