"""Label spaces: the categories an annotator chooses from, and their geometry.

A label space is a list of labels. Each label has a reward (what an answer of that kind is worth) and, if the space has ordinal
*axes*, a level on each of them: the paper's space is helpfulness (3 levels) by harmlessness (2 levels), a plain 1-6 scale has one axis.
The *ground cost* is the K x K matrix of what it costs to move probability mass between labels.

Source of `hh6`: Table 1 of arXiv 2402.09764.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import LabelSpaceError
from dprm_data.core.resources import bundled_file, bundled_names, is_file
from dprm_data.core.text import did_you_mean
from dprm_data.core.yamlfile import read_model, validated
from dprm_data.labels.geometry import cheapest_detours, checked_cost


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(_Frozen):
    """One step of an axis. `word` is the single word with which a model answers it (the `logprobs` elicitation reads its probability)."""

    name: str = Field(min_length=1)
    word: str = ""
    description: str = ""

    @property
    def said(self) -> str:
        return self.word or self.name


class Axis(_Frozen):
    """An ordinal dimension of the space; its levels go from low to high.

    question: the beginning of a question that the levels' words complete: "Is the response" ... good, fair or bad?
    """

    name: str = Field(min_length=1)
    question: str = ""
    levels: tuple[Level, ...] = Field(min_length=2)


class Label(_Frozen):
    """One category. `levels` maps each axis to the label's level on it (by name)."""

    name: str = Field(min_length=1)
    words: str = ""
    description: str = ""
    reward: float = Field(allow_inf_nan=False)
    levels: dict[str, str] = Field(default_factory=dict)

    @property
    def said(self) -> str:
        return self.words or self.name


class LabelSpace(_Frozen):
    """K labels, their rewards, axes and ground cost.

    `axes` are in the order of the chain rule: the second axis is modelled given the first.
    `cost` is `rewards` (|r_i - r_j|), `axes` (steps on the grid, summed over the axes), or the matrix itself.
    """

    name: str = Field(min_length=1)
    description: str = ""
    axes: tuple[Axis, ...] = ()
    labels: tuple[Label, ...] = Field(min_length=2)
    cost: Literal["rewards", "axes"] | tuple[tuple[float, ...], ...] = "rewards"

    # -- sizes and arrays ---------------------------------------------------------------------------------------------

    @property
    def K(self) -> int:
        """The number of labels."""
        return len(self.labels)

    @property
    def names(self) -> list[str]:
        return [label.name for label in self.labels]

    @cached_property
    def rewards(self) -> Floats:
        """Rewards, shape (K,)."""
        return np.array([label.reward for label in self.labels], dtype=np.float64)

    @cached_property
    def level_index(self) -> Ints:
        """The level of every label on every axis, shape (K, number of axes), 0 = lowest."""
        position = [{level.name: i for i, level in enumerate(axis.levels)} for axis in self.axes]
        rows = [
            [index[label.levels[axis.name]] for axis, index in zip(self.axes, position, strict=True)]
            for label in self.labels
        ]
        return np.array(rows, dtype=np.int64).reshape(self.K, len(self.axes))

    @cached_property
    def ground_cost(self) -> Floats:
        """The ground cost, shape (K, K), in units of reward (`rewards`) or of steps (`axes`)."""
        if self.cost == "rewards":
            return np.asarray(np.abs(self.rewards[:, None] - self.rewards[None, :]))
        if self.cost == "axes":
            return np.asarray(
                np.abs(self.level_index[:, None, :] - self.level_index[None, :, :]).sum(axis=2), dtype=np.float64
            )
        return np.array(self.cost, dtype=np.float64)

    def triangle_violations(self, tolerance: float = 1e-9) -> list[str]:
        """The violations of the triangle inequality by the ground cost: a sentence each, the worst first.

        Transport under such a cost is still well defined, but it is not a metric, and losses that need one reject it.
        """
        c = self.ground_cost
        least, via = cheapest_detours(c)
        excess = c - least
        worst = [
            (excess[i, k], i, int(via[i, k]), k) for i, k in zip(*np.where(excess > tolerance), strict=True) if i < k
        ]
        return [
            f"{self.names[i]} to {self.names[k]} costs {c[i, k]:g}, but over {self.names[j]} only {c[i, j] + c[j, k]:g}"
            for _, i, j, k in sorted(worst, reverse=True)
        ]

    # -- names to numbers ---------------------------------------------------------------------------------------------

    @cached_property
    def _index(self) -> dict[str, int]:
        by_words = {label.said.casefold(): i for i, label in enumerate(self.labels)}
        return by_words | {label.name.casefold(): i for i, label in enumerate(self.labels)}

    def find(self, name: str) -> int | None:
        """The index of the label with this name or these words, ignoring case, or None."""
        return self._index.get(name.strip().casefold())

    @property
    def is_plain(self) -> bool:
        """Whether this is a plain scale of K steps (`ordinal`), whose labels nobody has named."""
        return self == LabelSpace.ordinal(self.K)

    # -- checks -------------------------------------------------------------------------------------------------------

    @model_validator(mode="after")
    def _consistent(self) -> LabelSpace:
        _distinct("label", [label.name for label in self.labels])
        _distinct("words of labels", [label.said for label in self.labels])
        _distinct("axis", [axis.name for axis in self.axes])
        for axis in self.axes:
            _distinct(f"level of axis {axis.name}", [level.name for level in axis.levels])
        for label in self.labels:
            _levels_fit(label, self.axes)
        if self.axes:
            _distinct("combination of levels", [str(sorted(label.levels.items())) for label in self.labels])
        if self.cost == "axes" and not self.axes:
            raise ValueError("cost: axes needs axes; this space has none (use rewards, or give the matrix)")
        if not isinstance(self.cost, str):
            _check_cost(np.array([list(row) for row in self.cost], dtype=object), self.K)
        return self

    # -- where spaces come from ---------------------------------------------------------------------------------------

    @classmethod
    def load(cls, reference: str | int | os.PathLike[str] | list[str] | dict[str, Any] | LabelSpace) -> LabelSpace:
        """Load a space from a bundled name, a number K (`ordinal(K)`), a list of names (`named`), a YAML file, or its content as a dict."""
        if isinstance(reference, LabelSpace):
            return reference
        if isinstance(reference, list):
            return cls.named(reference)
        if isinstance(reference, dict):
            return validated(reference, cls, LabelSpaceError, "label space")
        text = os.fspath(reference) if not isinstance(reference, int) else str(reference)
        if text.isdigit():
            return cls.ordinal(int(text))
        path = bundled_file("label_spaces", text) or Path(text)
        if not is_file(path):
            known = bundled_names("label_spaces")
            raise LabelSpaceError(
                f"no label space {text!r}{did_you_mean(text, known)}",
                hint=f"Give a bundled name ({', '.join(known)}), a number of levels, or a YAML file. There is no {path.absolute()}.",
            )
        return read_model(path, cls, LabelSpaceError, "a label space")

    @classmethod
    def named(cls, names: list[str]) -> LabelSpace:
        """A scale of these labels, from the worst to the best, with rewards 0 ... K-1."""
        content = {
            "name": f"{names[0]}-to-{names[-1]}" if names else "",
            "description": f"A scale from {names[0]} (worst) to {names[-1]} (best)." if names else "",
            "axes": [{"name": "scale", "levels": [{"name": name} for name in names]}],
            "labels": [{"name": name, "reward": i, "levels": {"scale": name}} for i, name in enumerate(names)],
        }
        return validated(content, cls, LabelSpaceError, "labels")

    @classmethod
    def ordinal(cls, levels: int) -> LabelSpace:
        """A plain scale of `levels` steps with rewards 1 ... levels."""
        if not 2 <= levels <= 1000:
            raise LabelSpaceError(f"an ordinal scale needs 2 to 1000 levels, found {levels}")
        names = [str(step + 1) for step in range(levels)]
        return cls(
            name=f"ordinal-{levels}",
            description=f"A scale from 1 (lowest) to {levels} (highest).",
            axes=(Axis(name="scale", levels=tuple(Level(name=name) for name in names)),),
            labels=tuple(Label(name=name, reward=float(name), levels={"scale": name}) for name in names),
        )


def _distinct(kind: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"{kind} {name!r} appears twice (upper and lower case count as the same)")
        seen.add(name.casefold())


def _levels_fit(label: Label, axes: tuple[Axis, ...]) -> None:
    known = {axis.name: [level.name for level in axis.levels] for axis in axes}
    for axis_name, level in label.levels.items():
        if axis_name not in known:
            raise ValueError(f"label {label.name!r} has a level on {axis_name!r}, which is not an axis of this space")
        if level not in known[axis_name]:
            allowed = ", ".join(known[axis_name])
            raise ValueError(
                f"label {label.name!r}: {level!r} is not a level of axis {axis_name!r} (allowed: {allowed})"
            )
    missing = [name for name in known if name not in label.levels]
    if missing:
        raise ValueError(f"label {label.name!r} has no level on axis {missing[0]!r}")


def _check_cost(matrix: NDArray[Any], K: int) -> None:
    if matrix.shape != (K, K):
        raise ValueError(f"the cost must be {K} rows of {K} numbers, one per label; found shape {matrix.shape}")
    checked_cost(matrix.astype(np.float64))
