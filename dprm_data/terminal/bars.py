"""Bars: a distribution or a share as a row of blocks, in colour or in shades."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

WIDTH = 24  # characters of a distribution's bar
_SHADES = "█▓▒░╱·"  # best to worst, without colour
_GOOD, _BAD = (46, 160, 67), (207, 34, 46)


def bar(distribution: Sequence[float], rewards: Sequence[float], width: int = WIDTH) -> Bar:
    """A distribution as a bar of `width` blocks, the best label first, rounded by largest remainders."""
    best_first = sorted(range(len(rewards)), key=lambda i: -rewards[i])
    exact = [distribution[i] * width for i in best_first]
    blocks = [int(share) for share in exact]
    for at in sorted(range(len(exact)), key=lambda at: blocks[at] - exact[at])[: width - sum(blocks)]:
        blocks[at] += 1
    return Bar([(_shade(rewards, i), colour(rewards, i), count) for i, count in zip(best_first, blocks, strict=True)])


def share_bar(share: float, rewards: Sequence[float], i: int, width: int = 30) -> Text:
    """The share of label i as a bar in its colour; all of it is `width` blocks."""
    return Text("█" * round(share * width), style=colour(rewards, i))


class Bar:
    """Segments of a bar, each a (shade, colour, length): full blocks in colour, or the shade on a terminal without colours."""

    def __init__(self, segments: Sequence[tuple[str, str, int]]) -> None:
        self._segments = segments

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield self.text(coloured=console.color_system is not None)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = sum(length for _, _, length in self._segments)
        return Measurement(width, width)

    def text(self, *, coloured: bool) -> Text:
        text = Text(no_wrap=True)
        for shade, colour, length in self._segments:
            text.append(("█" if coloured else shade) * length, style=colour)
        return text


def colour(rewards: Sequence[float], i: int) -> str:
    """The colour of label i by the rank of its reward: red (least) to green (most)."""
    share = _rank(rewards, i) / max(1, len(rewards) - 1)
    red, green, blue = (round(bad + share * (good - bad)) for bad, good in zip(_BAD, _GOOD, strict=True))
    middle = 1 - abs(2 * share - 1)  # a yellow middle instead of a muddy one
    return f"rgb({min(255, round(red + 90 * middle))},{min(255, round(green + 70 * middle))},{blue})"


def _rank(rewards: Sequence[float], i: int) -> int:
    """0 for the least reward; labels with equal rewards have different ranks."""
    return sorted(range(len(rewards)), key=lambda at: (rewards[at], -at)).index(i)


def _shade(rewards: Sequence[float], i: int) -> str:
    return _SHADES[(len(rewards) - 1 - _rank(rewards, i)) % len(_SHADES)]
