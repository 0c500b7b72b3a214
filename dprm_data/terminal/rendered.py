"""Terminal views outside a terminal: as text, and as HTML for notebooks."""

from __future__ import annotations

import io

from rich.console import RenderableType

from dprm_data.terminal.console import SafeConsole

_WIDTH = 100
_ANY_WIDTH = 1000
_PAGE = (
    '<pre style="white-space:pre-wrap;line-height:1.35;margin:0;'
    "font-family:Menlo,'DejaVu Sans Mono',Consolas,monospace\">{code}</pre>"
)


def as_text(view: RenderableType, width: int = _WIDTH) -> str:
    """The view without colours, and without spaces at the ends of lines."""
    console = SafeConsole(file=io.StringIO(), width=width, color_system=None, force_jupyter=False)
    with console.capture() as captured:
        console.print(view)
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())


def lines_as_html(view: RenderableType) -> str:
    """A view that is lines of text; whoever shows it wraps them."""
    return as_html(view, _ANY_WIDTH)


def as_html(view: RenderableType, width: int = _WIDTH) -> str:
    """The view as one `<pre>` element with inline styles; every text is escaped."""
    console = SafeConsole(
        file=io.StringIO(), record=True, width=width, force_terminal=True, color_system="truecolor", force_jupyter=False
    )
    console.print(view)
    return console.export_html(inline_styles=True, code_format=_PAGE)
