"""Read a YAML file into a pydantic model, with errors that name file, line and field.

Every YAML text is read by `parse_yaml`, which bounds what a small file can grow into: how deep values nest, how much aliases and merges
repeat, and how large a number is. A value that contains itself is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dprm_data.core.errors import InputError
from dprm_data.core.resources import neighbour
from dprm_data.core.text import one_line
from dprm_data.core.validation import Location, describe

Model = TypeVar("Model", bound=BaseModel)

_DEPTH = 100  # levels of nesting
_REPEATED = 200_000  # nodes that aliases may add to those that are written out
_INTEGER = "tag:yaml.org,2002:int"
_FOUND = {type(None): "nothing: the file is empty", list: "a list", str: "a text"}

# The loader in C reads a panel in a hundredth of a second instead of a quarter; PyYAML may be built without it.
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_model(path: Path, model: type[Model], error: type[InputError], what: str, context: Any = None) -> Model:
    """Read the file as a `model`. Raises `error` with file, line and field if it is not one.

    what: the noun for messages ("a recipe"). context: for the model's validators.
    """
    content, root = _parsed(_text(path, error, what), error, str(path))
    if not isinstance(content, dict) or not isinstance(root, yaml.MappingNode):
        found = _FOUND.get(type(content), "a single value")
        raise error(f"{path}: {what} is a mapping of keys to values, found {found}")
    return validated(content, model, error, str(path), lambda location: _line(root, location), context)


def read_yaml(path: Path, error: type[InputError], what: str) -> Any:
    """Read the file as plain data. Raises `error`. what: as in `read_model`."""
    return parse_yaml(_text(path, error, what), error, str(path))


def parse_yaml(text: str, error: type[InputError], where: str) -> Any:
    """Parse a YAML text as plain data. Raises `error`. where: the origin of the text, for messages."""
    return _parsed(text, error, where)[0]


def validated(
    content: Any, model: type[Model], error: type[InputError], where: str, line: Any = None, context: Any = None
) -> Model:
    """Validate `content` as a `model`. Raises `error` with one line per finding."""
    try:
        return model.model_validate(content, context=context)
    except ValidationError as problem:
        raise error(describe(problem, where, model, line)) from problem
    except RecursionError:
        raise error(f"{where}: values are nested too deeply") from None


def _text(path: Path, error: type[InputError], what: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not UTF-8 text: {problem}", hint="Save it again as UTF-8.") from problem
    except (OSError, ValueError) as problem:  # ValueError: a NUL in the name
        reason = getattr(problem, "strerror", None) or problem
        raise error(
            f"cannot read {path}: {reason}{neighbour(path)}", hint=f"Give the path of {what} (YAML)."
        ) from problem
    if "\0" in text:
        raise error(f"{path} is not UTF-8 text: it may be UTF-16", hint="Save it again as UTF-8.")
    return text


def _parsed(text: str, error: type[InputError], where: str) -> tuple[Any, yaml.Node | None]:
    """The content and its node, which knows the lines. Raises `error`."""
    loader = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return None, None
        _check(root, error, where)
        return loader.construct_document(root), root
    except yaml.YAMLError as problem:
        raise error(f"{where}: not valid YAML: {_on_one_line(problem)}") from problem
    except RecursionError:
        raise error(f"{where}: values are nested too deeply") from None
    except ValueError as problem:  # a date that does not exist, and the like
        raise error(f"{where}: not valid YAML: {one_line(str(problem), 200)}") from problem
    finally:
        if loader is not None:
            loader.dispose()


def _on_one_line(problem: yaml.YAMLError) -> str:
    mark = getattr(problem, "problem_mark", None)
    reason = _plainly(getattr(problem, "problem", None) or str(problem))
    return f"line {mark.line + 1}, column {mark.column + 1}: {reason}" if mark else one_line(reason, 200)


# What YAML's parser says, and what it most often means.
_MEANT = {
    "found character '\\t'": "a tab; YAML is indented with spaces only",
    "found character that cannot start any token": "a character that cannot start a value: a tab (YAML is indented with spaces only), or one of @ ` % "
    "that needs quotes",
    "mapping values are not allowed": "a colon in the middle of a value; put the value in quotes, or the key on a line of its own, indented like its "
    "neighbours",
    "did not find expected ',' or": "a bracket [ or { that is not closed, or a comma is missing",
    "did not find expected key": "this line's indentation differs from the lines before it, or a quote or bracket before it is not closed",
    "did not find expected '-'": "this line's indentation differs from the list before it",
    "could not find expected ':'": "a key without a colon, or an unquoted text over several lines",
    "found unexpected end of stream": "a quote or bracket that is not closed",
    "found unexpected document indicator": "a quote that is not closed before ---",
    "found undefined alias": "a word that begins with *; put it in quotes",
    "found unknown escape character": "a backslash in double quotes; use single quotes",
}


def _plainly(said: str) -> str:
    """The parser's words in a user's."""
    return next((meant for beginning, meant in _MEANT.items() if beginning in said), said)


def _check(root: yaml.Node, error: type[InputError], where: str) -> None:
    """Refuse what should not be constructed: duplicate keys, cycles, excessive nesting or repetition, huge integers. Raises `error`.

    Each node is visited once, children first, so the size with all aliases expanded is found without expanding them.
    """
    sizes: dict[int, int] = {}  # by node: its size with aliases expanded; 0 while it is being visited
    heights: dict[int, int] = {}
    stack: list[tuple[yaml.Node, bool]] = [(root, False)]
    while stack:
        node, is_done = stack.pop()
        children = _children(node)
        if is_done:
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            heights[id(node)] = 1 + max((heights[id(child)] for child in children), default=0)
        elif id(node) not in sizes:
            _check_node(node, error, where)
            sizes[id(node)] = 0
            stack.append((node, True))
            stack.extend((child, False) for child in children)
        elif sizes[id(node)] == 0:
            raise error(f"{where}:{node.start_mark.line + 1}: an alias (*) refers to a value that contains it")
    if heights[id(root)] > _DEPTH:
        raise error(f"{where}: values are nested more than {_DEPTH} levels deep")
    if sizes[id(root)] > len(sizes) + _REPEATED:
        raise error(f"{where}: aliases (*) repeat values more than {_REPEATED:,} times")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_node(node: yaml.Node, error: type[InputError], where: str) -> None:
    """Refuse a key that is given twice, of which YAML would silently keep the last, and an integer beyond 64 bits."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise error(f"{where}:{key.start_mark.line + 1}: the key {key.value!r} is given twice; keep one")
                seen.add(key.value)
    elif node.tag == _INTEGER and len(node.value) > 18 and _is_huge(node.value):
        raise error(f"{where}:{node.start_mark.line + 1}: the number {one_line(node.value, 30)} is too large")


def _is_huge(integer: str) -> bool:
    digits = integer.replace("_", "").lstrip("+-")
    if ":" in digits or len(digits) > 70:  # sexagesimal; beyond 64 binary digits with a prefix
        return True
    try:
        return int(digits, 0) >= 2**64
    except ValueError:  # octal as YAML 1.1 writes it
        return int(digits, 8) >= 2**64


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
