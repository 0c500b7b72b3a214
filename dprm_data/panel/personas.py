"""Personas and panels: the simulated annotators, and the weighted set of them that represents a population.

A panel's weights say how much of the population each persona represents. The panel's opinion of an item is the weighted mean of its
personas' opinions, sum(w_i v_i) / sum(w_i).

*Sampling personas.* `Panel.for_item` can draw n of the N personas for each item, with inclusion probabilities proportional to
the weights (pi_i = n w_i / sum(w); a persona for which that exceeds 1 is always asked, and the rest is divided among the others),
without replacement, by systematic sampling: the personas are placed on a line in random order, strata together, in intervals of length
pi_i, and those that contain one of the points u, u + 1, u + 2, ... with a random start u are drawn. Every draw has exactly n personas, every persona
is drawn with exactly pi_i, and every value of the first `stratify` attribute gets its share of n to within one (each further attribute is
balanced within the values of those before it). A drawn persona counts with weight proportional to
w_i / pi_i (Horvitz and Thompson), so that the mean over the draws is the whole panel's: votes stay unbiased. Where no persona is
certain to be asked, these weights are all 1.

The draw depends only on the seed, the item's id and the panel: neither on the order of the items nor on the draws for others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from dprm_data.core import tables
from dprm_data.core.errors import PanelError
from dprm_data.recipe.recipe import PanelConfig

Attribute = str | int | Annotated[float, Field(allow_inf_nan=False)]

# Inclusion probabilities are laid out in whole units of this fraction, so that sums are exact and equal on every machine.
_UNIT = 1 << 40


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Persona(_Frozen):
    """One simulated annotator.

    description: who this is, in the second person ("You are ..."), as the model reads it. attributes: free, for strata and reports.
    weight: how much of the population this persona represents, relative to the others of the panel.
    model: the id of the one model that answers as this persona, if the recipe has several (docs/juries.md).
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    name: str = ""
    description: Annotated[str, Field(pattern=r"\S")]
    attributes: dict[str, Attribute] = {}
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    model: str | None = None

    @model_serializer(mode="wrap")
    def _without_no_model(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A persona that names no model is what it was before there were several: hashes and files do not change."""
        return {name: value for name, value in whole(self).items() if name != "model" or value is not None}

    @property
    def said(self) -> str:
        """The name to display: the name, or the id if there is none."""
        return self.name or self.id


NEUTRAL = Persona(
    id="neutral",
    name="Neutral annotator",
    description=(
        "You are a neutral annotator. You have no background, taste or stake that matters here: "
        "you weigh every answer by what it says and by what it could do, and you say plainly what you find."
    ),
)


class Panel(_Frozen):
    """A weighted set of personas. `source` says where the weights come from, for cards and reports."""

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    source: str = ""
    personas: Annotated[tuple[Persona, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _distinct(self) -> Panel:
        seen: set[str] = set()
        for persona in self.personas:
            if persona.id.casefold() in seen:
                raise ValueError(
                    f"personas: the id {persona.id!r} appears twice (upper and lower case count as the same)"
                )
            seen.add(persona.id.casefold())
            if persona.id.casefold() == NEUTRAL.id and persona.description != NEUTRAL.description:
                raise ValueError(
                    f"personas: the id {persona.id!r} is reserved for the neutral annotator; choose another"
                )
        return self

    @property
    def attribute_names(self) -> list[str]:
        """The attributes that at least one persona has, in order of appearance."""
        return list(dict.fromkeys(name for persona in self.personas for name in persona.attributes))

    @classmethod
    def of_nobody(cls) -> Panel:
        """No persona: where people are the annotators."""
        return cls.model_construct(name="nobody", personas=())

    def to_yaml(self) -> str:
        """The panel as a file that `load_panel` reads."""
        content = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)

    def for_item(self, item_id: str, config: PanelConfig) -> list[Persona]:
        """The personas that judge this item, in the panel's order, with the weights by which their votes count.

        The weights' mean is 1: n personas give n votes. All of them, or a sample of `config.sample` (see the module).
        Raises PanelError if `config.stratify` names an attribute that no persona has.
        """
        sampler = self._sampler(config.sample, tuple(config.stratify))
        return sampler.draw(f"{config.seed}:{item_id}")

    def _sampler(self, sample: int | None, stratify: tuple[str, ...]) -> _Sampler:
        key = (sample, stratify)
        if key not in self._samplers:
            self._samplers[key] = _Sampler(self, min(sample or len(self.personas), len(self.personas)), stratify)
        return self._samplers[key]

    @cached_property
    def _samplers(self) -> dict[tuple[int | None, tuple[str, ...]], _Sampler]:
        return {}


class _Sampler:
    """Draws n personas of one panel. Everything that does not depend on the item is computed once."""

    def __init__(self, panel: Panel, n: int, stratify: Sequence[str]) -> None:
        _check_attributes(panel, stratify)
        weights = np.array([persona.weight for persona in panel.personas])
        inclusion = inclusion_probabilities(weights, n)
        count_as = weights / inclusion
        count_as = np.round(count_as * n / (count_as * inclusion).sum(), 12)  # so that equal weights are exactly 1
        self._personas = [
            p.model_copy(update={"weight": float(w)}) for p, w in zip(panel.personas, count_as, strict=True)
        ]
        self._n = n
        self._lengths = _whole_units(inclusion, n)
        self._strata = _strata(panel.personas, stratify)
        self._groups = [int(codes.max()) + 1 for codes in self._strata]

    def draw(self, key: str) -> list[Persona]:
        if self._n == len(self._personas):
            return list(self._personas)
        order, start = self._order(key)
        ends = np.cumsum(self._lengths[order])
        comb = start + _UNIT * np.arange(self._n, dtype=np.int64)
        taken = order[np.searchsorted(ends, comb, side="right")]
        return [self._personas[i] for i in sorted(taken.tolist())]

    def _order(self, key: str) -> tuple[NDArray[np.int64], int]:
        """A random order in which strata stay together, and the random start u."""
        size = len(self._personas)
        digest = hashlib.shake_128(key.encode()).digest(8 * (1 + size + sum(self._groups)))
        numbers = np.frombuffer(digest, dtype="<u8")
        sort_keys = [
            numbers[1 : 1 + size]
        ]  # the last key of lexsort counts most: persona, inner stratum, ..., outer stratum
        at = 1 + size
        for codes, groups in zip(self._strata, self._groups, strict=True):
            sort_keys.insert(1, numbers[at : at + groups][codes])
            at += groups
        return np.lexsort(sort_keys) if len(sort_keys) > 1 else np.argsort(sort_keys[0]), int(numbers[0]) % _UNIT


def inclusion_probabilities(weights: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The probability of each persona to be among the n drawn: proportional to its weight, at most 1, summing to n."""
    certain = np.zeros(len(weights), dtype=bool)
    while True:
        open_places = n - int(certain.sum())
        rest = weights[~certain].sum()
        chances = np.ones(len(weights))
        if open_places and rest > 0:
            chances[~certain] = open_places * (weights[~certain] / rest)
        too_many = (chances >= 1) & ~certain
        if not too_many.any():
            return chances
        certain |= too_many


def _whole_units(inclusion: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    lengths = np.floor(inclusion * _UNIT).astype(np.int64)
    below = np.flatnonzero(lengths < _UNIT)
    if below.size:  # what rounding loses (less than N units of 2^-40) goes to the longest piece that is not certain
        longest = below[lengths[below].argmax()]
        lengths[longest] += n * _UNIT - lengths.sum()
    return lengths


def _strata(personas: Sequence[Persona], stratify: Sequence[str]) -> list[NDArray[np.int64]]:
    """For each attribute, the stratum of each persona; strata of the second attribute are nested in those of the first."""
    levels = []
    for depth in range(1, len(stratify) + 1):
        values = [tuple(persona.attributes.get(name) for name in stratify[:depth]) for persona in personas]
        known = {value: code for code, value in enumerate(dict.fromkeys(values))}
        levels.append(np.array([known[value] for value in values], dtype=np.int64))
    return levels


def _check_attributes(panel: Panel, stratify: Sequence[str]) -> None:
    for name in stratify:
        if name not in panel.attribute_names:
            known = ", ".join(panel.attribute_names) or "none"
            raise PanelError(
                f"panel {panel.name!r}: stratify: no persona has the attribute {name!r}",
                hint=f"Attributes of this panel: {known}.",
            )


def panel_table(panel: Panel) -> pa.Table:
    """The panel as a table (`tables.PERSONAS`), with the panel's own weights."""
    columns: list[list[Any]] = [
        [persona.id for persona in panel.personas],
        [persona.said for persona in panel.personas],
        [persona.description for persona in panel.personas],
        [orjson.dumps(persona.attributes).decode() for persona in panel.personas],
        [persona.weight for persona in panel.personas],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, tables.PERSONAS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=tables.PERSONAS)
