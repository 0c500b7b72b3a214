"""Numbers as people read them, on the terminal, in cards, reports and charts. What is missing (None or NaN) is a dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime

MISSING = "–"


def count(value: float | None) -> str:
    """A whole number with thousands separators: 1,440."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.0f}"


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number with a fixed number of decimals, and with its sign if `sign`; it is never -0.00."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def percent(share: float | None, digits: int = 0, *, sign: bool = False) -> str:
    """A share of 1 in percent; with no digits, one is added where rounding would make almost nothing 0% or almost all 100%."""
    if share is None or math.isnan(share):
        return MISSING
    if digits == 0 and (0 < abs(share) < 0.005 or 0.995 < abs(share) < 1):
        digits = 1
    return f"{number(100 * share, digits, sign=sign)}%"


def money(dollars: float | None, unknown: str = "cost not known") -> str:
    """Dollars: in cents, or to a hundredth of a cent below one dollar."""
    if dollars is None or math.isnan(dollars):
        return unknown
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def duration(seconds: float) -> str:
    """A duration in its two largest units: 7.1 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(length: float) -> str:
    """A number of bytes: 999 B, 15.7 kB."""
    if length < 1000:
        return f"{length:.0f} B"
    for unit in ("kB", "MB", "GB"):
        length /= 1000
        if length < 999.95:
            return f"{length:.1f} {unit}"
    return f"{length / 1000:,.1f} TB"


def day(timestamp: float) -> str:
    """The UTC date of a time in seconds since 1970."""
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return MISSING


def typographic(text: str) -> str:
    """A formatted number with a minus sign instead of a hyphen, for HTML and SVG."""
    return text.replace("-", "−")
