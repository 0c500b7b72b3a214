"""Read a YAML file into a pydantic model, with errors that name file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dprm_data.core.errors import InputError
from dprm_data.core.validation import Location, describe

Model = TypeVar("Model", bound=BaseModel)

# The loader in C reads a panel in a hundredth of a second instead of a quarter; PyYAML may be built without it.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_model(path: Path, model: type[Model], error: type[InputError], what: str, context: Any = None) -> Model:
    """The file's content as a `model`. Raises `error` (where: file, line, field) for anything that is not one.

    what: how to call the thing in messages ("a recipe"). context: for the model's validators.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(
            f"cannot read {path}: {problem.strerror or problem}", hint=f"Give the path of {what} (YAML)."
        ) from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: {problem}") from problem
    try:
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as problem:
        raise error(f"{path}: not valid YAML: {_on_one_line(problem)}") from problem
    if not isinstance(content, dict) or not isinstance(root, yaml.MappingNode):
        raise error(f"{path}: {what} is a mapping of keys to values, found {type(content).__name__}")
    twice = _key_given_twice(root)
    if twice:
        raise error(f"{path}:{twice.start_mark.line + 1}: the key {twice.value!r} is given twice; keep one")
    return validated(content, model, error, str(path), lambda location: _line(root, location), context)


def validated(
    content: Any, model: type[Model], error: type[InputError], where: str, line: Any = None, context: Any = None
) -> Model:
    """`content` as a `model`, or `error` with one line per finding."""
    try:
        return model.model_validate(content, context=context)
    except ValidationError as problem:
        raise error(describe(problem, where, model, line)) from problem


def _on_one_line(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    said = getattr(problem, "problem", None) or str(problem)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said


def _key_given_twice(node: yaml.Node) -> yaml.ScalarNode | None:
    """A key that a mapping has twice: YAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen and key.value != "<<":
                return key
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
    children = (
        [child for pair in node.value for child in pair]
        if isinstance(node, yaml.MappingNode)
        else node.value
        if isinstance(node, yaml.SequenceNode)
        else []
    )
    return next((found for child in children if (found := _key_given_twice(child))), None)


def _line(root: yaml.Node, location: Location) -> int | None:
    """The line of the deepest part of the location that the file has."""
    node, line = root, None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if not found:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
