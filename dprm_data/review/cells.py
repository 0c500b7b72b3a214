"""Cells that a spreadsheet would take for formulas: defused on export, restored on import.

A text that begins like a formula, whatever apostrophes precede that, gets one apostrophe more; `restored` takes it away. So any text comes back
unchanged, and no cell begins with a character that starts a formula.
"""

from __future__ import annotations

import re

_FORMULA = "'*[=+\\-@\t\r\n＝＋－＠]"  # as a spreadsheet reads it, wide forms included
_DANGEROUS, _DEFUSED = re.compile(_FORMULA), re.compile(f"'{_FORMULA}")


def defused(text: str) -> str:
    """The text as a cell that no spreadsheet evaluates."""
    return f"'{text}" if _DANGEROUS.match(text) else text


def restored(cell: str) -> str:
    """The text of a cell that `defused` wrote."""
    return cell[1:] if _DEFUSED.match(cell) else cell
