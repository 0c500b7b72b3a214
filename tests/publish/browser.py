"""A real Chromium, without a screen and without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

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
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser(**settings: Any) -> Iterator[BrowserContext]:
    """A browser with a new, empty profile; `settings` are the context's (viewport, color_scheme, ...)."""
    from playwright.sync_api import sync_playwright

    program = chromium()
    assert program, "no Chromium"
    with sync_playwright() as playwright, TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=FLAGS, **settings
        )
        try:
            yield context
        finally:
            context.close()


@dataclass
class Visit:
    """An opened page. wrong: console errors and warnings, exceptions, and requests for anything but the file itself."""

    page: Page
    wrong: list[str] = field(default_factory=list)


def visit(context: BrowserContext, file: Path) -> Visit:
    """Open a file."""
    seen = Visit(context.new_page())
    page = seen.page
    page.on(
        "console", lambda message: seen.wrong.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: seen.wrong.append(str(error)))
    page.on("dialog", lambda dialog: (seen.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else seen.wrong.append(request.url),
    )
    page.goto(file.absolute().as_uri())
    return seen
