"""Charts as hand-written SVG: cards and reports need only a few shapes.

Every text is escaped. A chart is either a file of its own (`picture`, with background and colours, for a card) or part of a page, whose style
sheet colours the classes used here: `ink` and `dim` (text), `rule` (lines of the frame), `bar` and `line` (marks).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.format import number, percent, typographic
from dprm_data.core.text import one_line, visible

# From the best reward to the worst; safe for red-green colour blindness, and readable on white and on black.
_STOPS = ("#0f766e", "#54a79c", "#b9c7bd", "#e3ac72", "#b5472f")
_HEAT = ("#e8edf2", "#7fb2ae", "#0f766e")
WIDTH = 760
_STYLE = """text{font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.paper{fill:#ffffff;stroke:#d8dee4}.ink{fill:#1f2328}.dim{fill:#59636e}.rule{stroke:#d1d9e0}.bar{fill:#0f766e}.line{stroke:#0f766e;fill:none}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117;stroke:#30363d}.ink{fill:#e6edf3}.dim{fill:#9198a1}.rule{stroke:#3d444d}.bar{fill:#54a79c}.line{stroke:#54a79c}}"""


def escape(text: str) -> str:
    """Text for XML, which has no place for control characters and lone surrogates: they become visible symbols."""
    return escape_html(visible(text))


def label_colours(rewards: Floats) -> list[str]:
    """A colour per label by its reward (K,), from teal (best) through grey to rust (worst)."""
    order = np.argsort(-rewards, kind="stable")
    colours = [""] * len(rewards)
    for rank, label in enumerate(order):
        colours[int(label)] = blend(_STOPS, rank / max(len(rewards) - 1, 1))
    return colours


def heat(value: float) -> str:
    """The colour of a share from 0 to 1."""
    return blend(_HEAT, min(max(value, 0.0), 1.0))


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast on this colour."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#101418"


def blend(stops: Sequence[str], at: float) -> str:
    """A colour between the stops, `at` from 0 to 1."""
    place = at * (len(stops) - 1)
    i = min(int(place), len(stops) - 2)
    low, high = stops[i], stops[i + 1]
    mixed = [round(_part(low, c) + (place - i) * (_part(high, c) - _part(low, c))) for c in (1, 3, 5)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _part(colour: str, at: int) -> int:
    return int(colour[at : at + 2], 16)


def picture(title: str, body: str, height: float) -> str:
    """A chart as a file of its own, with a title."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height + 56:.0f}" viewBox="0 0 {WIDTH} {height + 56:.0f}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<rect class="paper" x=".5" y=".5" width="{WIDTH - 1}" height="{height + 55:.0f}" rx="8"/>'
        f'<text class="ink" x="20" y="30" style="font-weight:600;font-size:15px">{escape(title)}</text>'
        f'<g transform="translate(20 46)">{body}</g></svg>\n'
    )


def text(x: float, y: float, content: str, kind: str = "ink", anchor: str = "start", size: int = 13) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="font-size:{size}px">{escape(content)}</text>'


def figure(value: float) -> str:
    """A number beside an axis, to two digits."""
    return typographic(f"{value:.2g}")


def histogram(values: Floats, low: float, high: float, width: float, height: float, label: str) -> str:
    """A histogram of the values between `low` and `high`, with the mean marked."""
    bins = min(40, max(8, int(np.sqrt(len(values) or 1)) * 2))
    counts, edges = np.histogram(values, bins=bins, range=(low, high if high > low else low + 1))
    most = max(int(counts.max(initial=0)), 1)
    plot = height - 40
    step = width / bins
    parts = [f'<line class="rule" x1="0" x2="{width:.1f}" y1="{plot:.1f}" y2="{plot:.1f}"/>']
    for i, count in enumerate(counts.tolist()):
        if count:
            tall = max(count / most * (plot - 18), 1.5)
            parts.append(
                f'<rect class="bar" x="{i * step + 1:.1f}" y="{plot - tall:.1f}" width="{max(step - 2, 1):.1f}" height="{tall:.1f}" rx="1.5">'
                f"<title>{edges[i]:.2f} to {edges[i + 1]:.2f}: {count:,}</title></rect>"
            )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(text(share * width, plot + 16, figure(low + share * (high - low)), "dim", anchor, 12))
    parts.append(text(width / 2, plot + 34, label, "dim", "middle", 12))
    if len(values):
        at = (float(values.mean()) - low) / ((high - low) or 1) * width
        anchor = "end" if at > width * 0.8 else "start"
        parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{plot:.1f}" style="stroke:#b5472f;stroke-width:2;stroke-dasharray:4 3"/>'
        )
        parts.append(
            text(
                at + (-6 if anchor == "end" else 6),
                11,
                typographic(f"mean {number(float(values.mean()), 2)}"),
                "ink",
                anchor,
                12,
            )
        )
    return "".join(parts)


def stacked(shares: Sequence[float], colours: Sequence[str], x: float, y: float, width: float, height: float) -> str:
    """A distribution as one bar."""
    parts, at = [], x
    for share, colour in zip(shares, colours, strict=True):
        wide = share * width
        if wide > 0.4:
            parts.append(
                f'<rect x="{at:.1f}" y="{y:.1f}" width="{max(wide - 1, 0.4):.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
        at += wide
    return "".join(parts)


def legend(names: Sequence[str], colours: Sequence[str], width: float) -> tuple[str, float]:
    """A legend, wrapped at this width. Returns the drawing and its height."""
    parts, x, y = [], 0.0, 12.0
    for name, colour in zip(names, colours, strict=True):
        wide = 24 + 7.2 * len(name)
        if x and x + wide > width:
            x, y = 0.0, y + 20
        parts.append(f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(text(x + 17, y, name, "dim", size=12))
        x += wide + 10
    return "".join(parts), y + 10


def bars(rows: Sequence[tuple[str, float, str]], width: float) -> tuple[str, float]:
    """Horizontal bars: (name, value, caption)."""
    most = max([value for _, value, _ in rows], default=0.0) or 1.0
    parts = []
    for i, (name, value, caption) in enumerate(rows):
        y = i * 24.0
        wide = value / most * (width - 320)
        parts.append(text(190, y + 14, one_line(name, 28), "ink", "end"))
        parts.append(f'<rect class="bar" x="200" y="{y + 2:.1f}" width="{max(wide, 1):.1f}" height="16" rx="2"/>')
        parts.append(text(206 + wide, y + 14, caption, "dim", size=12))
    return "".join(parts), len(rows) * 24.0


def bars_with_intervals(rows: Sequence[tuple[str, float, float, float, str]], width: float) -> tuple[str, float]:
    """Horizontal bars with the ends of their intervals: (name, value, low, high, caption), none below 0."""
    most = max([high for _, _, _, high, _ in rows], default=0.0) or 1.0
    parts = []
    for i, (name, value, low, high, caption) in enumerate(rows):
        y = i * 28.0
        mark, left, right = (200 + share / most * (width - 400) for share in (value, low, high))
        parts.append(text(190, y + 16, one_line(name, 28), "ink", "end"))
        parts.append(f'<rect class="bar" x="200" y="{y + 3:.1f}" width="{max(mark - 200, 1):.1f}" height="18" rx="2"/>')
        for x1, x2, y1, y2 in ((left, right, 12, 12), (left, left, 7, 17), (right, right, 7, 17)):
            parts.append(
                f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y + y1:.1f}" y2="{y + y2:.1f}" style="stroke:#b5472f;stroke-width:2"/>'
            )
        parts.append(text(right + 8, y + 16, caption, "dim", size=12))
    return "".join(parts), len(rows) * 28.0


def matrix(values: Floats, names: Sequence[str], width: float) -> tuple[str, float]:
    """A square matrix of shares, with names on the left and numbers in the cells if there is room."""
    n = len(names)
    side = min(44.0, (width - 200) / max(n, 1))
    parts = []
    for i, name in enumerate(names):
        parts.append(text(190, i * side + side / 2 + 5, one_line(name, 28), "ink", "end", 13 if side > 14 else 8))
        for j in range(n):
            value = float(values[i, j])
            if np.isnan(value):
                continue
            x, y = 200 + j * side, i * side
            colour = heat(value)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{side - 1:.1f}" height="{side - 1:.1f}" fill="{colour}">'
                f"<title>{escape(name)} and {escape(names[j])}: {percent(value)}</title></rect>"
            )
            if side >= 30:
                parts.append(
                    f'<text x="{x + side / 2:.1f}" y="{y + side / 2 + 4:.1f}" text-anchor="middle" '
                    f'style="font-size:11px;fill:{ink_on(colour)}">{value * 100:.0f}</text>'
                )
    return "".join(parts), n * side
