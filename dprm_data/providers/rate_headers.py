"""What the headers of a reply say about the provider's limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST_WAIT = 86_400.0  # seconds: a provider that asks for more means "not today", or nothing
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def remaining(headers: Mapping[str, str], unit: str) -> tuple[float | None, float | None]:
    """The amount left of a unit and the seconds until its reset, from OpenAI's or Anthropic's headers; None if they do not say."""
    for remaining, reset in (
        (f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}"),
        (f"anthropic-ratelimit-{unit}-remaining", f"anthropic-ratelimit-{unit}-reset"),
    ):
        if remaining in headers:
            return _finite(headers[remaining]), seconds_until(headers.get(reset, ""))
    return None, None


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def seconds_until(text: str) -> float | None:
    """Seconds from now, from `12ms`, `1m30s`, `2.5` (seconds) or an RFC 3339 time; None for anything else."""
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
        return seconds if math.isfinite(seconds) else None
    if (number := _finite(text)) is not None:
        return max(0.0, number)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else None
