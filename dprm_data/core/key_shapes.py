"""What keys look like: the usual providers' formats, and the names under which secrets are kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# Title and expression. RE2 and `re` read them alike, so they have no lookaround.
_SHAPES = {
    "an AWS key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{20,}",
    "a Slack token": r"\bxox[a-z]-[A-Za-z0-9-]{10,}",
    "a Groq key": r"\bgsk_[A-Za-z0-9]{20,}",
    "an xAI key": r"\bxai-[A-Za-z0-9]{20,}",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "a private key": r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----",
}
SHAPE = "|".join(_SHAPES.values())
_BY_TITLE = [(title, re.compile(shape, re.ASCII)) for title, shape in _SHAPES.items()]
# Prefixes in small letters: XAI_API_KEY and HF_TOKEN are names of variables.
_PREFIX = re.compile(
    r"(?:sk|pk|rk|xai|gsk|hf|gh[pousr]|github_pat|glpat|npm|r8)_|(?:AKIA|ASIA)[A-Z0-9]{12,}$|AIza[\w-]{20,}$"
)

_HOLDS_SECRET = re.compile(r"key|token|secret|password|passwd|authorization|credential|cookie", re.IGNORECASE)
_NAMES_SECRET = re.compile(
    r"(?:[\w-]*[-_])?(?:api|auth|access|secret|private|client|bearer|subscription|session|refresh)[-_]?(?:key|token|secret)"
    r"|key|token|secret|sig|signature|(?:proxy-)?authorization|passw(?:or)?d|pwd|pass|credentials?|(?:set-)?cookie",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\s*(?:Bearer|Basic)\s+\S{8,}", re.IGNORECASE)


def find_key(text: str) -> str | None:
    """What kind of key the text holds ("an AWS key"); None if it holds none. Placeholders such as sk-xxxxxxxx are none."""
    for title, shape in _BY_TITLE:
        if any(_is_plausible(match[0]) for match in shape.finditer(text)):
            return title
    return None


def is_key(text: str) -> bool:
    """Whether the whole text is a key, rather than the name of the variable that holds one."""
    if _PREFIX.match(text) or find_key(text):
        return True
    digits = sum(character.isdigit() for character in text)
    return len(text) >= 24 and "_" not in text and digits >= 3


def may_hold_secret(name: str) -> bool:
    """Whether the value under this name may be a secret: to be masked, at no cost if it is none."""
    return bool(_HOLDS_SECRET.search(name)) and not name.endswith("tokens")


def secrets_in(value: Any, path: str = "") -> Iterator[str]:
    """The fields of nested settings that hold a key: by their name, or by what the value looks like."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            field = f"{path}.{name}" if path else str(name)
            if isinstance(inner, str) and len(inner) >= 4 and _NAMES_SECRET.fullmatch(str(name)):
                yield field
            else:
                yield from secrets_in(inner, field)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from secrets_in(inner, f"{path}[{i}]")
    elif isinstance(value, str) and (_BEARER.match(value) or find_key(value)):
        yield path


def secret_in_url(url: str) -> str | None:
    """Where an address holds a secret, in words; None if it holds none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None  # no address, and refused as that
    if "@" in parts.netloc:
        return "a user name or password"
    name = next((name for name, _ in parse_qsl(parts.query) if _NAMES_SECRET.fullmatch(name)), None)
    return f"a key (?{name}=)" if name else find_key(url)


def _is_plausible(key: str) -> bool:
    """Random, rather than a placeholder (sk-xxxx) or words (the class name sk-folding-cube-wrapper, xoxo-hugs-and-kisses)."""
    if key.isupper():
        return len(set(key)) >= 8
    body = re.split("[-_]", key, maxsplit=1)[-1]
    mixed = body.lower() != body or any(character.isdigit() for character in body)
    return len(set(body)) >= 6 and (mixed or any(len(part) >= 20 for part in re.split("[-_]", body)))
