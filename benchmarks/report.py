"""How large a report is, how long it takes, and how long a browser takes to show it.

python benchmarks/report.py FINISHED_RUN [ITEMS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from dprm_data.publish.report.page import report
from tests.publish.browser import browser, chromium, visit
from tests.publish.large import large_run


def main(finished: Path, items: int) -> None:
    with TemporaryDirectory() as folder:
        run = large_run(finished, Path(folder) / "run", items, words=250)
        started = time.perf_counter()
        page = report(run)
        print(f"{items:,} items: {len(page.encode()) / 1e6:.1f} MB, written in {time.perf_counter() - started:.1f} s")
        file = Path(folder) / "report.html"
        file.write_text(page)
        if chromium():
            with browser() as context:
                started = time.perf_counter()
                seen = visit(context, file)
                seen.page.wait_for_selector("#list article")
                opened = time.perf_counter() - started
                started = time.perf_counter()
                seen.page.fill("#search", "answer 1")
                print(
                    f"opened in {opened:.2f} s, filtered in {time.perf_counter() - started:.2f} s: {seen.page.text_content('#count')}"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 50_000)
