"""Format numbers for the terminal, cards, reports and charts. A missing value (None or NaN) is a dash."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

MISSING = "–"


def count(value: float | None) -> str:
    """Format a whole number with thousands separators: 1,440."""
    return MISSING if value is None or math.isnan(value) else f"{value:,.0f}"


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Format a number with fixed decimals, and with its sign if `sign`. Never -0.00."""
    if value is None or math.isnan(value):
        return MISSING
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def percent(share: float | None, digits: int = 0, *, sign: bool = False) -> str:
    """Format a share of 1 in percent. With no digits, one is added if rounding would turn a small share into 0% or a large one into 100%."""
    if share is None or math.isnan(share):
        return MISSING
    if digits == 0 and (0 < abs(share) < 0.005 or 0.995 < abs(share) < 1):
        digits = 1
    return f"{number(100 * share, digits, sign=sign)}%"


def money(dollars: float | None, unknown: str = "cost not known") -> str:
    """Format dollars to cents, or to a hundredth of a cent below one dollar."""
    if dollars is None or math.isnan(dollars):
        return unknown
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.4f}"


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: 7.1 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def size(length: float) -> str:
    """Format a number of bytes: 999 B, 15.7 kB."""
    if length < 1000:
        return f"{length:.0f} B"
    for unit in ("kB", "MB", "GB"):
        length /= 1000
        if length < 999.95:
            return f"{length:.1f} {unit}"
    return f"{length / 1000:,.1f} TB"


def day(timestamp: float) -> str:
    """Format a Unix timestamp as a UTC date."""
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return MISSING


def typographic(text: str) -> str:
    """Replace the hyphen of a formatted number by a minus sign, for HTML and SVG."""
    return text.replace("-", "−")


def minus_signs(text: str) -> str:
    """Replace the hyphen before each number of a sentence by a minus sign; words keep theirs."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)
