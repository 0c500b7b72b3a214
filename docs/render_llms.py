"""Write llms.txt, the index of these pages for language models (https://llmstxt.org): python docs/render_llms.py

A page's line is its title and the first sentence of its text.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# dprm-data

> Turn prompts and responses into preference distributions of a whole population, by a panel of personas that a language model plays or by people's ratings, and train reward models and policies on them. Python 3.11+, the command `dprm`, Apache-2.0.

Labels by a panel are simulated, and are called so everywhere. Every command has `--json` and `--help`.
"""
# What few need, or what is long: an agent may leave it out.
OPTIONAL = {"api", "architecture", "mistakes", "performance", "scale", "statistics"} | {
    f"{page}-measured" for page in ("alignment", "preferences", "scale")
}
LEFT_OUT = {"example-card"}


def index() -> str:
    """The text of llms.txt."""
    start = [ROOT / "AGENTS.md", ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.stem not in LEFT_OUT]
    parts = {
        "Start here": start,
        "Pages": [path for path in pages if path.stem not in OPTIONAL],
        "Optional": [path for path in pages if path.stem in OPTIONAL],
    }
    return HEAD + "".join(f"\n## {title}\n\n" + "".join(map(line, paths)) for title, paths in parts.items())


def line(path: Path) -> str:
    """A page's entry."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r"^# (.+)$", text, re.MULTILINE)
    title = found[1] if found else path.stem
    return f"- [{title}]({path.relative_to(ROOT).as_posix()}): {first_sentence(text)}\n"


def first_sentence(page: str) -> str:
    """The first sentence of a page's running text, without its markup."""
    without_code = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    paragraphs = (
        " ".join(block.split()) for block in re.split(r"\n\s*\n", without_code) if not block.startswith("    ")
    )
    text = next(text for text in paragraphs if text and text[0] not in "#|-<>![")
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("*", "")
    return re.split(r"(?<=[.?!])\s", plain)[0].rstrip(":.") + "."


if __name__ == "__main__":
    (ROOT / "llms.txt").write_text(index(), encoding="utf-8")
