"""Make every mistake of the tests and write docs/mistakes.md from what is said: `python docs/render_mistakes.py`, in the checkout."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests.mistakes.pages import made, page

    with tempfile.TemporaryDirectory() as folder:
        outcomes = made(Path(folder))
    (ROOT / "docs" / "mistakes.md").write_text(page(outcomes), encoding="utf-8")
