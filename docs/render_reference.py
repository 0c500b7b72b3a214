"""Write docs/reference/ from the code: all commands, all keys of a recipe, all columns of the tables. `python docs/render_reference.py`."""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import sys
import tokenize
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyarrow as pa
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.core import TyperGroup

from dprm_data.cli import app
from dprm_data.cli.overview import SECTIONS
from dprm_data.core import tables
from dprm_data.recipe.recipe import Recipe

REFERENCE = Path(__file__).parent / "reference"
MADE = "`python docs/render_reference.py` writes this page from the code."


# -- commands --------------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its arguments and options, in the order of the first screen."""
    root: Any = typer.main.get_command(app)
    lines = [
        "# All commands",
        "",
        f"What `--help` says of each command. {MADE} [Commands](../commands.md) is the short list.",
        "",
    ]
    for section, names in SECTIONS.items():
        lines += [f"## {section}", ""]
        for name in names:
            for path, command in _leaves(name, root.commands[name]):
                lines += _command(path, command)
    return _page(lines)


def _leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, TyperGroup):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _leaves(f"{path} {name}", inner)


def _command(path: str, command: Any) -> list[str]:
    context = typer.Context(command)
    parameters = [each for each in command.get_params(context) if each.name != "help" and not each.hidden]
    arguments = [_usage(each) for each in parameters if each.param_type_name == "argument"]
    rows = [_row(*(each.get_help_record(context) or ("", ""))) for each in parameters]
    text = [re.sub(r"\s*\n\s*", " ", part) for part in (command.help or "").split("\n\n")]
    return [
        f"### dprm {path}", "", *(line for part in text for line in (part, "")),
        "```", " ".join(["dprm", path, *arguments, "[OPTIONS]"]), "```", "",
        "| | |", "|---|---|", *rows, "",
    ]  # fmt: skip


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name.upper()).strip("[]")
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _row(names: str, said: str) -> str:
    names = re.sub(r"\s+", " ", names).replace("{", "").replace("}", "")
    return f"| `{_cell(names)}` | {_cell(' '.join(said.split()))} |"


# -- keys of a recipe ------------------------------------------------------------------------------------------------


def recipe_keys() -> str:
    """Every key of a recipe with its type and default; what it means is the comment beside it in the code."""
    lines = [
        "# All keys of a recipe", "",
        f"Every key with its type and default. {MADE} [The recipe](../recipe.md) says when to use which.", "",
        *_section(Recipe, ""),
    ]  # fmt: skip
    seen = {Recipe}
    for path, model in _sections(Recipe, ""):
        if model not in seen:
            seen.add(model)
            lines += [f"## {path}", "", _linked(_summary(model)), "", *_section(model, path)]
    return _page(lines)


def _sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            here = f"{path}.{name}" if path else name
            yield here, inner
            yield from _sections(inner, here)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        yield kind
    for inner in typing.get_args(kind):
        yield from _models(inner)


def _summary(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ")


def _explained() -> dict[str, str]:
    """What the table of the page on recipes says of the keys that have a row of their own."""
    page = (REFERENCE.parent / "recipe.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `([a-z_.]+)` \| [^|]* \| (.+) \|$", page)
    return {key: re.sub(r"\]\((?=[a-z])(?!http)", "](../", said) for key, said in rows}


def _section(model: type[BaseModel], path: str) -> list[str]:
    explained = _explained()
    said = {
        name: text
        for base in reversed(model.__mro__)
        if issubclass(base, BaseModel)
        for name, text in _comments(base).items()
    }
    rows = []
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = next(_models(field.annotation), None)
        meaning = _linked(said.get(name, "") or explained.get(key, "") or (_summary(inner) if inner else ""))
        rows.append(f"| `{key}` | {_cell(_kind(field.annotation))} | {_default(field)} | {_cell(meaning)} |")
    return ["| key | type | default | |", "|---|---|---|---|", *rows, ""]


def _linked(comment: str) -> str:
    """A comment that names a page, with a link to it."""
    return re.sub(r"`?\bdocs/(([a-z-]+)\.md)`?", r"[\2](../\1)", comment)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """What the comment at each field of a class says: on its lines, else just above it."""
    if model is BaseModel:
        return {}
    source = inspect.getsource(model)
    said, alone = _comment_lines(source)
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            beside = [said[line] for line in range(node.lineno, (node.end_lineno or 0) + 1) if line in said]
            above, line = [], node.lineno - 1
            while line in alone:
                above.insert(0, said[line])
                line -= 1
            found[node.target.id] = " ".join(beside or above)
    return found


def _comment_lines(source: str) -> tuple[dict[int, str], set[int]]:
    """The comment of each line that has one, and the lines with nothing else."""
    marks = [each for each in tokenize.generate_tokens(io.StringIO(source).readline) if each.type == tokenize.COMMENT]
    said = {each.start[0]: re.sub(r"\s*# (fmt|type): .*", "", each.string).lstrip("# ") for each in marks}
    return said, {each.start[0] for each in marks if each.line.strip().startswith("#")}


def _kind(kind: Any) -> str:
    """A type in words."""
    if kind is type(None):
        return "null"
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{option}`" for option in options)
    if options and typing.get_origin(kind) is list:
        return f"list of {_kind(options[0])}"
    if typing.get_origin(kind) is dict:
        return "mapping"
    if options and typing.get_origin(kind) is typing.Annotated:
        return _kind(options[0])
    if options:
        return " or ".join(_kind(option) for option in options if option is not type(None))
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return "section"
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
        getattr(kind, "__name__", ""), "text"
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ({}, [], "") or isinstance(default, BaseModel):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


# -- columns of the tables -------------------------------------------------------------------------------------------


TABLES = {
    "items": "A row for each response to be judged.",
    "responses": "What came of every response that the recipe generates.",
    "dropped": "Rows of the source that are no item.",
    "personas": "A row for each persona of the panel.",
    "annotations": "A row for each annotator's label for an item, with its status. Failures are rows, too.",
    "comparisons": "A row for each annotator's comparison of two responses.",
    "distributions": "A row for each item with its preference distribution.",
    "preferences": "A row for each pair of responses to one prompt, the preferred one first.",
    "utilities": "A row for each response to a prompt in which something was compared, best first.",
}


def columns() -> str:
    """Every table of a run folder with its columns."""
    said = _columns_said(tables)
    lines = [
        "# Tables and columns", "",
        f"The Parquet files in `RUN/tables/`. {MADE} In Python they are `result.items`, `result.annotations` and so on; "
        "[export](../export.md) writes flat ones, [publishing](../publishing.md) lists what goes to the Hub.", "",
    ]  # fmt: skip
    for name, summary in TABLES.items():
        schema = getattr(tables, name.upper())
        rows = [
            f"| `{each.name}` | {_cell(_arrow(each.type))} | {_cell(_column(said, name, each.name))} |"
            for each in schema
        ]
        lines += [f"## {name}", "", summary, "", "| column | type | |", "|---|---|---|", *rows, ""]
    return _page(lines)


# Tables that repeat columns of another one, which says what they are.
REPEATS = {
    "responses": ("items",),
    "dropped": ("items",),
    "comparisons": ("annotations",),
    "distributions": ("items",),
    "preferences": ("items",),
    "utilities": ("distributions", "items", "preferences"),
}


def _column(said: dict[str, dict[str, str]], table: str, column: str) -> str:
    """What is said of a column, in its own table or in the one it repeats."""
    names = [column, re.sub(r"^(chosen|rejected)_", "", column)]
    places = [table, *REPEATS.get(table, ())]
    return next((said[place][name] for place in places for name in names if said[place].get(name)), "")


def _columns_said(module: ModuleType) -> dict[str, dict[str, str]]:
    """The comment at each column of each schema."""
    source = inspect.getsource(module)
    said, alone = _comment_lines(source)
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if not (
            isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Call)
        ):
            continue
        of = found.setdefault(node.targets[0].id.lower(), {})
        for given in node.value.args:
            if isinstance(given, ast.Tuple) and isinstance(given.elts[0], ast.Constant):
                lines = [line for line in range(given.lineno, (given.end_lineno or 0) + 1) if line in said]
                beside = [said[line] for line in lines]
                above = said[given.lineno - 1] if given.lineno - 1 in alone else ""
                of[given.elts[0].value] = " ".join(beside) or above
    return found


def _arrow(kind: pa.DataType) -> str:
    if kind == tables.MESSAGES:
        return "list of {role, content}"
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _page(lines: list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"commands.md": commands, "recipe-keys.md": recipe_keys, "tables.md": columns}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
