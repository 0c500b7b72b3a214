"""Render the example card and report of these docs from a finished quickstart: python docs/render_examples.py runs/quickstart"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from dprm_data.core.tables import write_text
from dprm_data.publish.publication import prepared
from dprm_data.publish.report.page import report
from dprm_data.runs.run import Run

DOCS = Path(__file__).parent


def main(run_folder: Path) -> None:
    settings = {
        "license": "apache-2.0",
        "language": ["en"],
        "sources": ["Written for this project (Apache-2.0)"],
        "personal_data": "None: all texts were written for this project.",
    }
    run = Run.open(run_folder).with_publish(settings)
    write_text(DOCS / "example-report.html", report(run))
    with prepared(run, "my-org/quickstart") as publication:
        write_text(DOCS / "example-card.md", publication.files["README.md"].local.read_text(encoding="utf-8"))
        for path, file in publication.files.items():
            if path.startswith("pictures/"):
                (DOCS / "pictures").mkdir(exist_ok=True)
                shutil.copy(file.local, DOCS / path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
