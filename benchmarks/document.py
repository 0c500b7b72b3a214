"""Puts measured tables between their marks in a document: <!-- name: begin --> ... <!-- name: end -->."""

from __future__ import annotations

from pathlib import Path

STATISTICS = Path(__file__).resolve().parent.parent / "docs" / "statistics.md"


def write(sections: dict[str, list[str]], document: Path = STATISTICS) -> None:
    text = document.read_text(encoding="utf-8")
    for name, lines in sections.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{document} has no place for {name!r}")
        before, _, rest = text.partition(begin)
        text = before + begin + "\n" + "\n".join(lines) + "\n" + end + rest.partition(end)[2]
    document.write_text(text, encoding="utf-8")
