"""What MkDocs does to a page before it is rendered, where GitHub and MkDocs read Markdown differently."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
CODE = re.compile(r"`[^`]*`")
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((\.\./[^)\s#]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave `docs/`, and bars in a table's code.

    Files beside `docs/` are links on GitHub. A site has only their names; one that does not exist is an error. GitHub wants a
    bar in a table's code escaped, MkDocs shows the backslash.
    """
    folder = (DOCS / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(DOCS):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {link[2]}, which does not exist")
        name = str(target.relative_to(ROOT))
        return link[1] if link[1].strip("`") in (name, target.name) else f"{link[1]} (`{name}`)"

    lines = LINK.sub(shown, markdown).split("\n")
    return "\n".join(CODE.sub(_with_bars, line) if line.startswith("|") else line for line in lines)


def _with_bars(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")
