"""Terminal views of what makes a panel's ratings differ: components as bars, agreement, models."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from dprm_data.core.format import money, number, percent
from dprm_data.preference.model_agreement import ModelPair
from dprm_data.preference.variance_components import Component, Likeness, VarianceComponents
from dprm_data.runs.panel_variance import ModelVotes, PanelVariance
from dprm_data.terminal.comparison_view import estimate, signed
from dprm_data.terminal.table import table

_WIDTH = 24  # characters of the bar of all


def variance_view(found: PanelVariance) -> RenderableType:
    """Components, agreement by what two votes share, models."""
    parts: list[RenderableType] = [_components(found.components)]
    if found.components.likeness:
        parts += [Text(), _likeness(found.components.likeness)]
    parts += [Text(), _models(found.models)]
    if found.pairs:
        parts += [Text(), _pairs(found.pairs)]
    return Group(*parts)


def _components(found: VarianceComponents) -> RenderableType:
    shown = table("spread of ratings", "share", f"{percent(found.level)} interval", "", left=("",))
    for part in found.components:
        shown.add_row(_name(part), percent(part.share.value), _ends(part), _bar(part.share.value))
    return shown


def _name(part: Component) -> str:
    return f"{part.name} (with {', '.join(part.includes)})" if part.includes else part.name


def _ends(part: Component) -> str:
    return "–" if part.share.low is None else f"{percent(part.share.low)} … {percent(part.share.high)}"


def _bar(share: float | None) -> Text:
    return Text("█" * round((share or 0.0) * _WIDTH), style="cyan")


def _likeness(lines: Sequence[Likeness]) -> RenderableType:
    shown = table("two votes on one item, from", "agreement beyond chance", "same label", "pairs")
    for line in lines:
        shown.add_row(line.said, estimate(line.alpha), estimate(line.same_label, percent), f"{line.pairs:,}")
    return shown


def _models(lines: Sequence[ModelVotes]) -> RenderableType:
    shown = table("model", "votes", "with a label", "mean reward", "cost", "per 1,000 votes")
    for line in lines:
        shown.add_row(
            line.model or "not said",
            f"{line.annotations:,}",
            percent(line.ok / max(line.annotations, 1)),
            number(line.mean_reward, 2, sign=True),
            money(line.cost, "not known"),
            money(line.cost_of_thousand, "not known"),
        )
    return shown


def _pairs(pairs: Sequence[ModelPair]) -> RenderableType:
    shown = table("model against model", "reward", "agreement", "distance", "of one model's halves")
    for pair in pairs:
        shown.add_row(
            f"{pair.models[0]} – {pair.models[1]}",
            estimate(pair.reward_difference, signed),
            estimate(pair.alpha),
            estimate(pair.distance),
            estimate(pair.floor),
        )
    return shown
