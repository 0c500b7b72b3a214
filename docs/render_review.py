"""Take the picture of docs/review.md: python docs/render_review.py runs/quickstart

Starts the Argilla server of the tests (tests/setup_argilla.sh installs it), pushes the run there, and photographs the first record in Chromium as an
annotator sees it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dprm_data.review.argilla import push
from dprm_data.runs.run import Run
from tests.publish.browser import browser
from tests.servers.argilla import OWNER_KEY, ArgillaServer

PICTURE = Path(__file__).parent / "pictures" / "argilla-record.png"


def main(run_folder: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = ArgillaServer(Path(folder) / "server")
        server.folder.mkdir()
        copy = Path(folder) / "run"  # a picture leaves no trace in the run
        shutil.copytree(run_folder, copy)
        server.start()
        try:
            annotator = server.add_person("ann", server.add_workspace("reviewers"))
            os.environ |= {"ARGILLA_API_URL": server.url, "ARGILLA_API_KEY": OWNER_KEY}
            pushed = push(Run.open(copy), workspace="reviewers", dataset="quickstart", count=12)
            with browser(viewport={"width": 1500, "height": 1000}) as context:
                page = context.new_page()
                page.goto(f"{server.url}/sign-in")
                page.locator("input").nth(0).fill(annotator.name)
                page.locator("input[type=password]").fill(f"{annotator.name}-password")
                page.keyboard.press("Enter")
                page.wait_for_url(lambda url: "sign-in" not in url)
                page.goto(pushed.url)
                page.get_by_text("What the panel said").first.wait_for()
                page.wait_for_timeout(2000)
                page.screenshot(path=PICTURE)
        finally:
            server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
