"""Options generated from a settings model: a field is an option, with its type, bounds, default and description.

The model is imported when its command is parsed or asked for help, so that other commands do not pay for it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import typer

from dprm_data.cli.renamed import Command

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_SETTINGS = "dprm.settings"
_BOUNDS = {"ge": "min", "le": "max"}  # of pydantic's constraints and typer's options; typer has no open bounds


class SettingsCommand(Command):
    """A command with an option for each field of a settings model, beside its function's own. See `settings_command`."""

    load: ClassVar[Callable[[], type[BaseModel]]]
    required: ClassVar[bool]
    last: ClassVar[bool]
    _names: frozenset[str] = frozenset()

    def get_params(self, ctx: Any) -> list[Any]:
        """All options of the command; those of the settings are generated once, at the first call."""
        if not self._names:
            generated = options_of(type(self).load(), required=self.required)
            self._names = frozenset(option.name for option in generated)
            self.params = [*self.params, *generated] if self.last else [*generated, *self.params]
        return super().get_params(ctx)

    def invoke(self, ctx: Any) -> Any:
        """Run the function with its own options; `given` returns the others."""
        values = {name: ctx.params.pop(name) for name in self._names}
        ctx.meta[_SETTINGS] = {
            name: value for name, value in values.items() if ctx.get_parameter_source(name).name != "DEFAULT"
        }
        return super().invoke(ctx)


def settings_command(
    load: Callable[[], type[BaseModel]], *, required: bool = False, last: bool = False
) -> type[SettingsCommand]:
    """The class of a command (`cls=` of typer's decorator) with the options of the model that `load` imports.

    required: a field without a default must be an option, as no file gives it. last: help lists the settings after the
    function's own options, not before them.
    """
    return type("SettingsOf", (SettingsCommand,), {"load": staticmethod(load), "required": required, "last": last})


def given(context: typer.Context) -> dict[str, Any]:
    """The settings given on the command line, by the names of their fields: no defaults."""
    return dict(context.meta[_SETTINGS])


def options_of(model: type[BaseModel], *, required: bool = False) -> list[Any]:
    """The options of a model's fields, in their order. A field that only YAML can express (a mapping) has none."""

    def command(**_: Any) -> None: ...

    parameters = list(_parameters(model, required))
    # Typer reads a function's signature; this one is assembled here.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return list(typer.main.get_command(app).params)


def _parameters(model: type[BaseModel], required: bool) -> Iterator[inspect.Parameter]:
    from dprm_trainers.core.settings import Flag, Section, described

    section: str | None = None
    for name, field in model.model_fields.items():
        section = next((mark.title for mark in field.metadata if isinstance(mark, Section)), section)
        kind, constraints = _type(field)
        if kind is None:
            continue
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            flag = f"{flag}/--no-{name.replace('_', '-')}"
        flags = [flag, *(mark.name for mark in field.metadata if isinstance(mark, Flag))]
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            default = ... if required else None
        more = _bounds(constraints)
        if default == "auto" and kind in (int, float):  # no value of the option's type: it is what happens without it
            default, more = None, more | {"show_default": "auto"}
        option = typer.Option(default, *flags, help=described(field), rich_help_panel=section, **more)
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind)


def _type(field: FieldInfo) -> tuple[Any, list[Any]]:
    """The type of a field's option and the field's constraints; None for a type that no flag can express. For a union, the first member that a flag can express."""
    members, constraints = [field.annotation], list(field.metadata)
    while members:
        kind = members.pop(0)
        origin = typing.get_origin(kind)
        if origin in (typing.Union, types.UnionType):
            members = [*typing.get_args(kind), *members]
        elif origin is typing.Annotated:
            inner, *metadata = typing.get_args(kind)
            members.insert(0, inner)
            constraints += [part for mark in metadata for part in getattr(mark, "metadata", [mark])]
        elif kind in (str, int, float, bool) or origin is Literal or kind == list[str]:
            return kind, constraints
    return None, constraints


def _bounds(constraints: list[Any]) -> dict[str, Any]:
    return {
        bound: getattr(mark, name)
        for mark in constraints
        for name, bound in _BOUNDS.items()
        if getattr(mark, name, None) is not None
    }
