"""Bars: a distribution as a row of blocks, in colour or in shades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

WIDTH = 24  # characters of a distribution's bar
_SHADES = "█▓▒░╱·"  # best to worst, where there is no colour
_GOOD, _BAD = (46, 160, 67), (207, 34, 46)


def bar(distribution: Sequence[float], rewards: Sequence[float], width: int = WIDTH) -> Bar:
    """A distribution as a bar of blocks, the best label first; every character is 1/width of the mass (largest remainders)."""
    best_first = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    exact = [distribution[i] * width for i in best_first]
    blocks = [int(share) for share in exact]
    for at in sorted(range(len(exact)), key=lambda at: blocks[at] - exact[at])[: width - sum(blocks)]:
        blocks[at] += 1
    return Bar([(_shade(rewards, i), colour(rewards, i), count) for i, count in zip(best_first, blocks, strict=True)])


class Bar:
    """Pieces of a bar: full blocks in colour, or a shade for each label where there is no colour."""

    def __init__(self, pieces: Sequence[tuple[str, str, int]]) -> None:
        self._pieces = pieces

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield self.text(coloured=console.color_system is not None)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = sum(count for _, _, count in self._pieces)
        return Measurement(width, width)

    def text(self, *, coloured: bool) -> Text:
        text = Text(no_wrap=True)
        for shade, colour, count in self._pieces:
            text.append(("█" if coloured else shade) * count, style=colour)
        return text


def _rank(rewards: Sequence[float], i: int) -> int:
    """0 for the least reward; ties in reward still differ."""
    return sorted(range(len(rewards)), key=lambda at: (rewards[at], -at)).index(i)


def _shade(rewards: Sequence[float], i: int) -> str:
    return _SHADES[(len(rewards) - 1 - _rank(rewards, i)) % len(_SHADES)]


def colour(rewards: Sequence[float], i: int) -> str:
    """From red (the least reward) to green (the most), by rank."""
    share = _rank(rewards, i) / max(1, len(rewards) - 1)
    red, green, blue = (round(bad + share * (good - bad)) for bad, good in zip(_BAD, _GOOD, strict=True))
    middle = 1 - abs(2 * share - 1)  # a yellow middle instead of a muddy one
    return f"rgb({min(255, round(red + 90 * middle))},{min(255, round(green + 70 * middle))},{blue})"
