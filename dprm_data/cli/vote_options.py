"""The options of all commands that read a table of votes: one list for all, as there is one reader for all."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from functools import partial, wraps
from typing import Annotated, Any

import typer

from dprm_data.core.errors import InputError


class Duplicates(StrEnum):
    error = "error"
    first = "first"
    last = "last"
    all = "all"
    mean = "mean"


class BadRows(StrEnum):
    refuse = "refuse"
    skip = "skip"


_option = partial(typer.Option, rich_help_panel="Tables of votes")
_OPTIONS: dict[str, Any] = {
    "column": Annotated[
        list[str] | None,
        _option(
            "--column",
            help="A column with another name, as ours=yours, such as item_id=question. Repeatable. "
            "Ours: item_id, annotator_id, label, weight, replicate.",
        ),
    ],
    "rater_columns": Annotated[
        list[str] | None,
        _option(
            "--rater-columns",
            help="For a table with a row per item: a column with one rater's labels, or a pattern such as 'r*'. Repeatable.",
        ),
    ],
    "item_columns": Annotated[
        list[str] | None,
        _option(
            "--item-columns",
            help="For a table with a row per rater: a column with the labels of one item, or a pattern such as 'q*'. Repeatable.",
        ),
    ],
    "base": Annotated[
        int | None,
        _option(
            "--base",
            min=0,
            max=1,
            help="The number of the lowest label, if labels are numbers. By default that of the fitted votes, or detected; "
            "refused if both 0 and 1 are possible.",
        ),
    ],
    "duplicates": Annotated[
        Duplicates | None,
        _option(
            "--duplicates",
            help="What to do if a rater rated an item more than once; by default an error.",
        ),
    ],
    "bad_rows": Annotated[
        BadRows | None,
        _option(
            "--bad-rows",
            help="What to do with rows that cannot be read: refuse the table (default), or skip and report them.",
        ),
    ],
    "delimiter": Annotated[
        str | None,
        _option(
            "--delimiter",
            help="The delimiter of a CSV file, or tab; detected by default.",
            show_default=False,
        ),
    ],
    "sheet": Annotated[
        str | None,
        _option("--sheet", help="The sheet of a workbook; the first by default."),
    ],
}


class VoteOptions(dict[str, Any]):
    """The options as they were given on the command line; None for one that was not."""

    def settings(self) -> dict[str, Any]:
        """The settings of `read_votes`. Raises `InputError`."""
        given = {name: value for name, value in self.items() if value is not None and name != "column"}
        return {"columns": column_pairs(self["column"]), **{name: _plain(value) for name, value in given.items()}}


def vote_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose argument `options` collects the options of tables of votes, which stand on its command line one by one."""

    @wraps(command)
    def with_options(**values: Any) -> None:
        options = VoteOptions({name: values.pop(name) for name in _OPTIONS})
        command(**values, options=options)

    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "options"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    # Typer reads a function's signature; this one is assembled here.
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own] + more
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    del with_options.__wrapped__
    return with_options


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, StrEnum) else value


def column_pairs(columns: list[str] | None) -> dict[str, str]:
    """The values of --column, ours=yours, as a mapping. Raises `InputError`."""
    wrong = next((pair for pair in columns or [] if "=" not in pair), None)
    if wrong:
        raise InputError(f"--column {wrong}: must be ours=yours, such as item_id=question")
    return dict(pair.split("=", 1) for pair in columns or [])
