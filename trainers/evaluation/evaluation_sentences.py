"""What an evaluation of reward models says in a sentence per model: which rivals it beats, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dprm_data.core.format import number
from dprm_data.labels.statistics import Interval
from dprm_data.runs.verdict_line import Line
from dprm_trainers.reward.rivals import CONSTANT, Comparison


def verdict_lines(models: Sequence[str], comparisons: Iterable[Comparison]) -> list[Line]:
    """A line per model. One that leaves a rival unbeaten is a concern."""
    found = list(comparisons)
    return [_line(model, [each for each in found if each.model == model]) for model in models]


def short_names(models: Iterable[str]) -> dict[str, str]:
    """Models by the last part of their path, where that tells them apart."""
    names = list(models)
    last = [Path(name).name or name for name in names]
    return {name: short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)}


def _line(model: str, compared: Sequence[Comparison]) -> Line:
    if not compared:
        return Line(model, "No rival to compare with.", "There are no pairs, or no other rows to learn from.", True)
    beaten = [_rival(each) for each in compared if each.beaten]
    rest = [_rival(each) for each in compared if each.verb == "does not beat"]
    worse = [_rival(each) for each in compared if each.verb == "is worse than"]
    parts = [f"beats {_and(beaten)}"] if beaten else []
    parts += [f"{'does not beat' if len(rest) < 2 else 'beats neither'} {_and(rest, 'and' if len(rest) < 2 else 'nor')}"] if rest else []  # fmt: skip
    parts += [f"is worse than {_and(worse)}"] if worse else []
    sentence = ", but ".join(parts) if beaten else " and ".join(parts)
    detail = f"{_capital(compared[0].measure)} {number(compared[0].own)}. "
    detail += " ".join(
        f"{_capital(_rival(each))}: {number(each.other)}, difference {_between(each.difference)}." for each in compared
    )
    return Line(model, f"{_capital(sentence)}.", detail, bool(rest or worse))


def _rival(comparison: Comparison) -> str:
    return "the constant" if comparison.rival == CONSTANT else comparison.rival


def _between(interval: Interval) -> str:
    if interval.value is None:
        return "not known"
    value, low, high = (_signed(each) for each in (interval.value, interval.low, interval.high))
    return value if interval.low is None else f"{value} ({low} to {high})"


def _signed(value: float | None) -> str:
    """To four digits: most differences are small."""
    return number(value, 4, sign=bool(value and round(value, 4)))


def _and(names: Sequence[str], word: str = "and") -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
