"""Take the picture of docs/how-to/watch-a-run.md: python docs/render_page.py

Runs the quickstart (the bundled model: no key, no cost) into a temporary folder with `--page`, and photographs the page in Chromium when half of the items
are done.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.publish.browser import browser

ROOT = Path(__file__).resolve().parent.parent
PICTURE = Path(__file__).parent / "img" / "live-page.png"
SIZE = {"width": 1180, "height": 900}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "dprm_data.cli", "run", str(ROOT / "examples/quickstart/recipe.yaml")]
        command += ["--output", "runs/quickstart", "--page", "--quiet"]
        run = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert run.stderr
        try:
            address = next(found[0] for line in run.stderr if (found := re.findall(r"http://127\S+/", line)))
            threading.Thread(target=run.stderr.read, daemon=True).start()
            with browser(viewport=SIZE, color_scheme="light", reduced_motion="reduce") as context:
                page = context.new_page()
                page.goto(address)
                page.wait_for_selector(".meter", timeout=120_000)
                while float(page.get_attribute(".meter", "aria-valuenow") or 0) < 50:
                    page.wait_for_timeout(200)
                page.evaluate("document.querySelector('.state code').textContent = 'runs/quickstart'")
                page.screenshot(path=PICTURE)
        finally:
            run.terminate()
            run.wait()


if __name__ == "__main__":
    main()
