"""What a model can do, as data: whether it reasons before it answers, how its effort is said, what it refuses.

`capabilities.yaml` has the facts and their sources. A recipe changes them for its model (`provider: {capabilities: {...}}`). A model that
the table does not know is asked as it is, and learned from its first answers (`learning`, and the engine's client).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.yamlfile import read_yaml
from dprm_data.providers.dialect import Structured

NO_THOUGHTS = "none"  # the effort at which a model that can reason does not
_ANY = "*"
_TABLE = Path(__file__).with_name("capabilities.yaml")

Way = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Capabilities:
    """What a model can do, at one effort.

    known: the table or the recipe says so; reasons: whether it can think before it answers; efforts: how hard it can be made to think,
    lowest first (empty where it cannot be told); effort: the one at which it is asked, None where none is said; reasoning_tokens: tokens of
    thought it usually spends on one answer; thought_room: output tokens to add to an answer's limit for thoughts; logprobs: whether it gives
    log-probabilities, None where that is not known; refuses: parameters it refuses at this effort; structured: the strictest structured
    output it has, None for the provider's; way: fields of a request's body for each effort.
    """

    known: bool = False
    reasons: bool = False
    efforts: tuple[str, ...] = ()
    effort: str | None = None
    reasoning_tokens: float = 0.0
    thought_room: int = 0
    logprobs: bool | None = None
    refuses: frozenset[str] = frozenset()
    structured: Structured | None = None
    way: Way = field(default_factory=dict)

    @property
    def thinks(self) -> bool:
        """Whether it reasons at this effort."""
        return self.reasons and self.effort != NO_THOUGHTS

    @property
    def said(self) -> dict[str, Any]:
        """The fields of a request's body that say the effort; none where none is said."""
        if self.effort is None:
            return {}
        fields = self.way.get(self.effort, self.way.get(_ANY, {}))
        return {name: _filled(value, self.effort) for name, value in fields.items()}

    def thinking(self) -> Capabilities:
        """The same model, found to think although the table does not say so: with room for thoughts."""
        if self.thought_room:
            return self
        return replace(self, reasons=True, thought_room=_table()["rooms"]["unsaid"])


UNKNOWN = Capabilities()


def capabilities_of(
    family: str, model: str, override: Mapping[str, Any] | None = None, *, effort: str | None = None
) -> Capabilities:
    """What the model can do at this provider.

    family: the provider's registered name. override: facts that a recipe gives, by the keys of the table's entries. effort: the one at which
    it is asked; default: its lowest. An effort is not checked here: one that the model lacks is said all the same.
    Raises `InputError` for a way of saying efforts that the table lacks.
    """
    entry = _entry(family, model)
    facts = dict(entry or {}) | {name: value for name, value in (override or {}).items() if value is not None}
    if not facts:
        return UNKNOWN if effort is None else _made(False, {"say": _server(family, "reasoning_effort")}, effort)
    if "say" not in (override or {}) and facts.get("say"):
        facts["say"] = _server(family, facts["say"])
    return _made(True, facts, effort)


def effort_in(extra: Mapping[str, Any]) -> str | None:
    """The effort that a recipe's `extra` says in a provider's own words."""
    for effort in (extra.get("reasoning_effort"), *(_inner(extra, name) for name in ("reasoning", "output_config"))):
        if isinstance(effort, str):
            return effort
    return None


def _inner(extra: Mapping[str, Any], name: str) -> Any:
    value = extra.get(name)
    return value.get("effort") if isinstance(value, Mapping) else None


def _server(family: str, way: Any) -> Any:
    return _table()["servers"].get(family, way)


def _made(known: bool, facts: Mapping[str, Any], effort: str | None) -> Capabilities:
    efforts = tuple(facts.get("efforts") or ())
    reasons = bool(facts.get("reasons", bool(efforts)))
    at = effort or (efforts[0] if reasons and efforts else None)
    is_lowest = effort is None or not efforts or effort == efforts[0]
    thinks = (reasons or effort is not None) and at != NO_THOUGHTS
    rooms = _table()["rooms"]
    usual = facts.get("reasoning_tokens") if is_lowest else None
    room = facts.get("thought_room")
    return Capabilities(
        known=known,
        reasons=reasons,
        efforts=efforts,
        effort=at,
        # At a higher effort a quarter of the room is a guess as good as any, until answers are there.
        reasoning_tokens=0.0 if not thinks else float(rooms.get(at, rooms["unsaid"]) / 4 if usual is None else usual),
        thought_room=0 if not thinks else int(rooms.get(at or "unsaid", rooms["unsaid"]) if room is None else room),
        logprobs=facts.get("logprobs"),
        refuses=frozenset(facts.get("refuses") or ()) if thinks or not reasons else frozenset(),
        structured=facts.get("structured"),
        way=_way(facts.get("say")),
    )


def _way(said: Any) -> Way:
    if said is None or isinstance(said, Mapping):
        return said or {}
    ways: dict[str, Way] = _table()["ways"]
    if said not in ways:
        raise InputError(
            f"no such way to say an effort: {said!r} (there are: {', '.join(ways)}; or give the fields themselves)"
        )
    return ways[said]


def _filled(value: Any, effort: str) -> Any:
    """The fields with the effort in place of "*"."""
    if isinstance(value, Mapping):
        return {name: _filled(part, effort) for name, part in value.items()}
    return effort if value == _ANY else value


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = read_yaml(_TABLE, InputError, "the table of models")
    return table


@lru_cache(maxsize=256)
def _entry(family: str, model: str) -> Mapping[str, Any] | None:
    """The facts of the first entry that matches."""
    name = model.rpartition("/")[2].lower()
    for entry in _table()["models"]:
        providers = entry.get("provider")
        if providers is not None and family not in _listed(providers):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in _listed(entry["model"])):
            return {key: value for key, value in entry.items() if key not in ("model", "provider")}
    return None


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
