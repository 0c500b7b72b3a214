"""A real Chromium, without a screen and without a network, for one page at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """The browser's program, where there is one (tests/setup_browser.sh installs it)."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def opened(file: Path, **context: Any) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what goes wrong in it: console errors, exceptions, and every request that is not for the file itself."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    assert program, "no Chromium"
    with sync_playwright() as playwright, TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(profile, executable_path=program, args=FLAGS, **context)
        try:
            page = browser.pages[0] if browser.pages else browser.new_page()
            wrong: list[str] = []
            page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
            )
            page.goto(file.absolute().as_uri())
            yield page, wrong
        finally:
            browser.close()
