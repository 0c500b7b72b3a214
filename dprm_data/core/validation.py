"""Turn pydantic's errors into sentences that say where the error is, what was found and what is allowed."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from dprm_data.core.text import cut, did_you_mean

# What pydantic says in Python's words.
_PLAIN = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be keys with values",
    "model_type": "must be keys with values",
    "model_attributes_type": "must be keys with values",
}

Location = tuple[str | int, ...]


class FieldError(ValueError):
    """Raised by a model validator about one of its fields. field: the name, relative to the model; a number is a place in a list."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.location: Location = tuple(int(part) if part.isdigit() else part for part in field.split("."))


def describe(
    error: ValidationError, where: str, model: type[BaseModel], line: Callable[[Location], int | None] | None = None
) -> str:
    """Format all errors, one per line: `where:line: field: what is wrong (found ...)`. line: returns the line number of a field, or None."""
    findings = [dict(finding) for finding in error.errors(include_url=False)]
    return "\n".join(_sentence(finding, where, model, line) for finding in findings if not _follows(finding, findings))


def _follows(finding: dict[str, Any], findings: list[dict[str, Any]]) -> bool:
    """Whether a list is too short only because its members were rejected, which other findings already report."""
    place = finding["loc"]
    return finding["type"] == "too_short" and any(
        other["loc"][: len(place)] == place for other in findings if other is not finding
    )


def _sentence(
    finding: dict[str, Any], where: str, model: type[BaseModel], line: Callable[[Location], int | None] | None
) -> str:
    raised = finding.get("ctx", {}).get("error")
    place = (*finding["loc"], *raised.location) if isinstance(raised, FieldError) else finding["loc"]
    location = tuple(part for part in place if not _is_tag(part))
    number = line(location) if line else None
    if number:
        where = f"{where}:{number}"
    field = ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location).replace(".[", "[")
    prefix = f"{where}: {field}: " if field else f"{where}: "
    kind = finding["type"]
    if kind == "extra_forbidden":
        return f"{prefix}unknown key{_did_you_mean(location, model)}"
    if kind == "missing":
        return f"{prefix}missing, and there is no default"
    if kind == "value_error":
        return prefix + str(raised)
    found = finding["input"]
    if isinstance(found, bool) and kind.startswith(("string", "literal", "enum")):
        return f"{prefix}must be a text, and YAML reads yes, no, on and off as true and false; put the word in quotes"
    said = _PLAIN.get(kind, finding["msg"])
    return f"{prefix}{said[0].lower()}{said[1:]} (found {cut(repr(found), 60)})"


def _is_tag(part: object) -> bool:
    """Whether this part of a location is the type name of a union member, which means nothing to a reader of YAML."""
    return isinstance(part, str) and (
        part.startswith(("literal[", "function-", "tuple[", "list[", "dict[", "constrained-"))
        or part in {"str", "int", "float", "bool"}
    )


def _did_you_mean(location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    allowed = _fields_at(location[:-1], model)
    if not allowed:
        return ""
    name = str(location[-1])
    within = _section_with(name, model) if len(location) == 1 else None
    guess = f"; did you mean {within}.{name}?" if within else did_you_mean(name, allowed)
    return f"{guess} (allowed: {', '.join(allowed)})"


def _section_with(name: str, model: type[BaseModel]) -> str | None:
    """The section that has a key of this name, such as `budget` for max_cost."""
    sections = {
        field: _model_in(info.annotation)
        for field, info in model.model_fields.items()
        if "list" not in str(info.annotation)
    }
    return next((field for field, section in sections.items() if section and name in section.model_fields), None)


def _fields_at(path: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if current else None
        if field is None:
            # A member of a union: pydantic puts its class name into the location.
            current = current if current and current.__name__ == part else None
            continue
        current = _model_in(field.annotation)
    return list(current.model_fields) if current else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple, list, typing.Annotated):
        for member in typing.get_args(annotation):
            found = _model_in(member)
            if found:
                return found
    return None
