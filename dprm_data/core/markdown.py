"""Texts from elsewhere in Markdown: shown as they are, never read as Markdown or HTML."""

from __future__ import annotations

import re

from dprm_data.core.text import visible

_SPECIAL = re.compile(r"[\\`*_\[\]|~$]")
_BLOCK = re.compile(r"^(?:[#>+=:-]|\d+[.)](?=\s|$))")  # at the beginning: a heading, a quote, a list
# What GitHub's dialect makes a link of without brackets: addresses, and e-mail.
_ADDRESS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{0,20}:/|www\.|mailto:|xmpp:)[^\s`<>]+|[\w.+-]{1,64}@[\w.-]+", re.IGNORECASE
)


def as_text(value: object) -> str:
    """Text of one line, for a paragraph or a cell of a table. Addresses become code, so that no renderer makes them links."""
    line = " ".join(visible(str(value)).split())
    parts, at = [], 0
    for match in _ADDRESS.finditer(line):
        parts += [_escaped(line[at : match.start()]), as_code(match[0])]
        at = match.end()
    text = "".join([*parts, _escaped(line[at:])])
    return _BLOCK.sub(lambda match: match[0][:-1] + "\\" + match[0][-1], text)


def as_code(value: object) -> str:
    """A code span of one line, whatever is in the text."""
    line = " ".join(visible(str(value)).split())
    if not line:
        return ""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    marks, pad = "`" * (longest + 1), " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{marks}{pad}{line}{pad}{marks}".replace("|", "\\|")


def fence(source: str) -> str:
    """A fence longer than any in the text, so that the text cannot close it."""
    longest = max((len(run) for run in re.findall("~+", source)), default=0)
    return "~" * max(6, longest + 1)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(lambda match: "\\" + match[0], text.replace("&", "&amp;").replace("<", "&lt;"))
