"""Puts the table and the pictures of a finished run of examples/paper into docs/alignment-measured.md: python benchmarks/paper_run.py runs/paper-tiny"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import document

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURES = {
    "policies": "The policies under every judge",
    "DPRM_OT-distribution": "The categories that DPRM_OT predicts of the policy's responses, along its training",
    "DPRM_OT-curves": "PPO on DPRM_OT",
    "DPRM_C-curves": "PPO on DPRM_C",
    "BT-RM-curves": "PPO on BT-RM",
}


def main(run: Path) -> None:
    lines = (
        (run / "table.md").read_text(encoding="utf-8").replace("\n## ", "\n### ").replace("## ", "### ", 1).splitlines()
    )
    folder = DOCS / "pictures" / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    for name, caption in PICTURES.items():
        shutil.copy(run / "pictures" / f"{name}.svg", folder / f"{name}.svg")
        lines += ["", f"![{caption}](pictures/paper/{name}.svg)"]
    document.write({"tiny run": ["", *lines, ""]}, DOCS / "alignment-measured.md")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
