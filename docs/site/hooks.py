"""What MkDocs does to a page before it is rendered: links that leave `docs/`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((\.\./[^)\s#]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Files beside `docs/` are links on GitHub. A site has only their names; one that does not exist is an error."""
    folder = (DOCS / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(DOCS):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {link[2]}, which does not exist")
        name = str(target.relative_to(ROOT))
        return link[1] if link[1].strip("`") in (name, target.name) else f"{link[1]} (`{name}`)"

    return LINK.sub(shown, markdown)
