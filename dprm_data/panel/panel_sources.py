"""Sources of panels: how a recipe's `panel: use` becomes a panel.

    use: paper                                           a bundled panel
    use: team.yaml                                       a file
    use: {name: team, personas: [...]}                   the panel itself
    use: {source: raked, panel: paper, margins: m.yaml}  what a source builds from these options

A source is a function of the options that returns a panel, or its content as a dict:

    @panel_source("census")
    def census_panel(*, base: Path, size: int) -> Panel: ...

`base` is the recipe's folder: relative paths in the options start there. A run stores the resulting panel in full, so it can be
inspected, fitted and resumed where the source is not installed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dprm_data.core.errors import DprmError, PanelError
from dprm_data.core.registry import PANEL_SOURCES
from dprm_data.core.resources import bundled_file, bundled_names, is_file
from dprm_data.core.text import did_you_mean
from dprm_data.core.yamlfile import read_model, validated
from dprm_data.panel.personas import Panel
from dprm_data.panel.raking import raked_panel, read_margins

PanelSource = Callable[..., Panel | dict[str, Any]]
Source = TypeVar("Source", bound=PanelSource)


def panel_source(name: str) -> Callable[[Source], Source]:
    """Register a function as the source of this name."""
    return PANEL_SOURCES.register(name)


def load_panel(use: str | os.PathLike[str] | dict[str, Any] | Panel, *, base: Path | None = None) -> Panel:
    """A panel by its bundled name, from a YAML file (relative to `base`), from a source, or from its content as a dict.

    Raises `PanelError`.
    """
    base = base or Path()
    if isinstance(use, Panel):
        return use
    if isinstance(use, dict):
        return _from_source(use, base) if "source" in use and "personas" not in use else _checked(use)
    name = os.fspath(use)
    return _checked(bundled(base=base, name=name) if bundled_file("personas", name) else file(base=base, path=name))


@panel_source("bundled")
def bundled(*, base: Path, name: str) -> Panel:
    """A panel that comes with this package (`dprm panel list` lists them)."""
    path = bundled_file("personas", name)
    if path is None:
        raise PanelError(f"no bundled panel {name!r}", hint=f"Bundled panels: {', '.join(bundled_names('personas'))}.")
    return read_model(path, Panel, PanelError, "a panel")


@panel_source("file")
def file(*, base: Path, path: str) -> Panel:
    """A panel in a YAML file."""
    found = base / Path(path).expanduser()
    if not is_file(found):
        known = bundled_names("personas")
        raise PanelError(
            f"no panel {path!r}{did_you_mean(path, known)}",
            hint=f"Give a bundled name ({', '.join(known)}) or a YAML file. There is no {found.absolute()}; relative paths are relative to the recipe.",
        )
    return read_model(found, Panel, PanelError, "a panel")


@panel_source("raked")
def raked(*, base: Path, panel: str | dict[str, Any], margins: str) -> Panel:
    """Another panel, with weights that meet the margins in a YAML file (`dprm_data.panel.raking`)."""
    weighted, _ = raked_panel(load_panel(panel, base=base), read_margins(base / Path(margins).expanduser()))
    return weighted


def _from_source(use: dict[str, Any], base: Path) -> Panel:
    name, options = use["source"], {key: value for key, value in use.items() if key != "source"}
    try:
        source: PanelSource = PANEL_SOURCES.get(str(name))
    except PanelError:
        raise
    except DprmError as error:
        raise PanelError(f"panel: {error}") from error
    try:
        inspect.signature(source).bind(base=base, **options)
    except TypeError as error:
        takes = [option for option in inspect.signature(source).parameters if option != "base"]
        raise PanelError(
            f"panel source {name!r}: {error}", hint=f"Its options: {', '.join(takes) or 'none'}."
        ) from error
    return _checked(source(base=base, **options))


def _checked(panel: Panel | dict[str, Any]) -> Panel:
    return panel if isinstance(panel, Panel) else validated(panel, Panel, PanelError, "panel")
