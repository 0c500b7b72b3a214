"""What rows of well-known datasets hold beside texts: records of responses (UltraFeedback), and how strongly one of two responses is preferred (HelpSteer2 and 3).

Sources: the cards of openbmb/UltraFeedback, nvidia/HelpSteer2 and nvidia/HelpSteer3 on the Hugging Face Hub. Both HelpSteers use one scale, from -3 (the first response is
much better) over 0 (about the same) to 3 (the second is much better).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dprm_data.ingest.items import Role
from dprm_data.ingest.messages import BadRow

PREFERENCES = ("overall_preference", "preference_strength")  # HelpSteer3's column, HelpSteer2's
_RESPONSES = ("response", "completion", "answer", "output")
_OF_MESSAGES = ("role", "from", "content", "value")


def opened(entry: Any, where: str) -> tuple[Any, dict[str, Any]]:
    """The response in an entry of a list of responses, and what else the entry says, such as its model and scores. Raises BadRow."""
    if not isinstance(entry, Mapping) or any(name in entry for name in _OF_MESSAGES):
        return entry, {}
    name = next((name for name in _RESPONSES if name in entry), None)
    if name is None:
        raise BadRow(f"{where} has no response (its fields: {', '.join(map(str, entry)) or 'none'})")
    if entry[name] is None:
        raise BadRow(f"{where}.{name} is null")
    return entry[name], {field: value for field, value in entry.items() if field != name}


def kept_of_entry(fields: Mapping[str, Any], keep: Sequence[str] | None) -> dict[str, Any]:
    """What becomes metadata of an entry's fields: all, or, where a recipe says which columns it keeps, the model alone."""
    return {name: value for name, value in fields.items() if keep is None or name == "model"}


def roles_of(row: Mapping[str, Any]) -> tuple[Role | None, Role | None]:
    """The roles of the first and the second response; none for a preference of 0, or without one. Raises BadRow."""
    column = next((name for name in PREFERENCES if row.get(name) not in (None, "")), None)
    if column is None:
        return None, None
    try:
        preference = float(row[column])
    except (TypeError, ValueError) as error:
        raise BadRow(f"{column} must be a number, found {row[column]!r}") from error
    if preference < 0:
        return "chosen", "rejected"
    return ("rejected", "chosen") if preference > 0 else (None, None)
