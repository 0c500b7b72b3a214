"""Write docs/api.md from the public names' signatures and docstrings: `python docs/render_api.py`."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

PAGE = Path(__file__).with_name("api.md")
PARTS = {
    "dprm_data": "What a notebook needs.",
    "dprm_data.extend": "What an extender needs: base classes, and the decorators that register a subclass or function under a name.",
    "dprm_trainers": "Reward models and what they are trained with (extra `[train]`).",
    "dprm_trainers.extend": "The same for losses and risk measures.",
}


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Python API",
        "",
        "Every public name, from its docstring (`python docs/render_api.py` writes this page). Everything else is internal and may change.",
        "",
    ]
    for module, purpose in PARTS.items():
        lines += [f"## `{module}`", "", purpose, ""]
        for name in importlib.import_module(module).__all__:
            lines += _entry(name, getattr(importlib.import_module(module), name))
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, target: object) -> list[str]:
    summary, *rest = (inspect.getdoc(target) or "").split("\n\n")
    text = [re.sub(r"\s*\n\s*", " ", part) for part in [summary, *rest] if not part.startswith("    ")]
    if inspect.isclass(target):
        return [f"### `{name}`", "", *_separated(text)]
    return [f"### `{name}{_signature(target)}`", "", *_separated(text)]


def _signature(target: object) -> str:
    parameters = inspect.signature(target).parameters.values()  # type: ignore[arg-type]
    shown: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        shown.append(f"{stars}{parameter.name}{default}")
    return f"({', '.join(shown)})"


def _separated(paragraphs: list[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in (paragraph, "")]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
