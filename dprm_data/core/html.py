"""Self-contained HTML pages from the templates in `hub_cards/`, with every value escaped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from dprm_data.core.resources import bundled_folder


def page_template(name: str, filters: dict[str, Callable[..., Any]]) -> Template:
    """The template `hub_cards/<name>.html.jinja`."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= filters
    return environment.from_string((bundled_folder("hub_cards") / f"{name}.html.jinja").read_text(encoding="utf-8"))


def inlined(name: str) -> Markup:
    """A style sheet or script of `hub_cards/`, to embed in a page verbatim."""
    return Markup((bundled_folder("hub_cards") / name).read_text(encoding="utf-8"))


def svg(body: str, width: float, height: float, title: str) -> Markup:
    """A chart (`core/charts.py`) as part of a page, with its title for readers who do not see it. The body is escaped already."""
    return Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        width, height, title, title, Markup(body)
    )
