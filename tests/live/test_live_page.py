"""The live page: a run is opened in a real browser while it runs, and after; what it keeps to itself."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from dprm_data.live.page_server import serving
from dprm_data.live.watcher import Watcher
from tests.helpers import dprm, environ, write_recipe, write_rows
from tests.processes import zygote
from tests.publish.browser import Visit, browser, chromium
from tests.publish.test_report import CONTRAST
from tests.servers.llm import LLMServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

ITEMS, PERSONAS = 40, 4  # of the small panel
CALLS = ITEMS * PERSONAS
MARKUP = "<script>alert(1)</script><b>bold</b>"
KEY = "s3cret-value-1234567"

in_a_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium here: run tests/setup_browser.sh as root")


def write(folder: Path, url: str, name: str = "watched", **changes: Any) -> Path:
    rows = [{"prompt": f"Question {i}?", "response": f"Answer {i} {MARKUP} \x1b[2J"} for i in range(ITEMS)]
    write_rows(folder / "pairs.jsonl", rows)
    return write_recipe(folder, url, name=name, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser(viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce") as opened:
        yield opened


def look(context: BrowserContext, address: str) -> Visit:
    """Open the page. Anything that it asks of another address is wrong."""
    seen = Visit(context.new_page())
    seen.page.on("console", lambda said: seen.wrong.append(said.text) if said.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.wrong.append(str(error)))
    seen.page.on("dialog", lambda dialog: (seen.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    seen.page.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:")) else seen.wrong.append(asked.url),
    )
    seen.page.goto(address)
    seen.page.wait_for_selector(".tiles dd", timeout=30_000)
    return seen


def until(found: Callable[[], Any], seconds: float = 40.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


def answers(seen: Visit) -> int:
    return int(str(seen.page.text_content(".tiles div:first-child dd")).replace(",", ""))


def is_gone(address: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=5)
    try:
        connection.connect()
    except OSError:
        return True
    connection.close()
    return False


@in_a_browser
def test_a_run_as_it_runs_and_its_end(folder: Path, context: BrowserContext) -> None:
    with LLMServer(latency=1.5) as double:
        recipe = write(folder, double.url, limits={"concurrency": 5}, budget={"max_cost": 3})
        pid = zygote().start("run", recipe, "--page", "--quiet", cwd=folder)
        [address] = until(lambda: re.findall(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", zygote().errors(pid)))
        seen = look(context, address)
        page = seen.page
        page.wait_for_selector(".card .said li")
        assert page.text_content("h1") == "watched"
        before = until(lambda: answers(seen))  # a card may show an answer that came after they were counted
        assert before < CALLS
        first = page.text_content(".card:first-child .prompt")
        until(lambda: answers(seen) > before)  # numbers grow
        until(lambda: page.text_content(".card:first-child .prompt") != first)  # and newer answers come
        assert "running" in str(page.text_content(".state"))
        assert "budget $3.00" in str(page.text_content(".tiles"))
        assert page.get_attribute(".labels .stack", "aria-label")
        response = str(page.text_content(".card .response"))
        assert MARKUP in response and "␛[2J" in response  # text stays text, and control characters are visible
        assert page.locator(".card script, .card b").count() == 0
        double.script({"latency": 0.0})
        done = zygote().end(pid)
    assert done.returncode == 0, done.stderr
    until(lambda: "finished" in str(page.text_content(".state")))
    until(lambda: "ended" in str(page.text_content("#age")))
    assert answers(seen) == CALLS
    assert f"{ITEMS} of {ITEMS} items done" in str(page.text_content(".state"))
    assert "dprm show" in str(page.text_content(".next"))
    assert seen.wrong == []
    until(lambda: is_gone(address))  # the page's process ends with the run


@dataclass
class Served:
    """A finished run behind a server in this process."""

    run: Path
    address: str

    def get(self, path: str = "", method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=10)
        try:
            connection.request(method, path if path.startswith("/") else parts.path + path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode(), dict(reply.headers)
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.get("state.json")[1])["runs"][0])


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = folder / "run"
    if not (run / "tables" / "distributions.parquet").is_file():  # no browser here
        with LLMServer() as double:
            assert dprm("run", write(folder, double.url), "--quiet", cwd=folder).returncode == 0
    with Watcher([run]) as watcher, serving(watcher) as address:
        yield Served(run, address)


def test_nobody_gets_in_without_the_token_or_by_another_name(served: Served) -> None:
    port = urlsplit(served.address).port
    assert served.get()[0] == 200
    for path in (
        "/",
        "/state.json",
        "/x" + urlsplit(served.address).path,
        f"{urlsplit(served.address).path[:-2]}/",
        "//",
        "/%00/",
    ):
        status, text, _ = served.get(path)
        assert (status, "answers" in text) == (403, False), path
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"127.0.0.1.evil.example:{port}",
        "",
        "[",
        f"[::ffff:1]:{port}",
    ):
        assert served.get(Host=host)[0] == 403, host
        assert served.get("state.json", Host=host)[0] == 403, host
    assert served.get(Host="localhost:8000")[0] == 200  # as ssh -L forwards it
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert served.get(method=method)[0] == 405, method
    assert served.get("../../etc/passwd")[0] in (403, 404)
    assert served.get("live.css/..")[0] == 404


def test_nothing_of_a_text_can_run(served: Served) -> None:
    _, text, headers = served.get()
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "http" not in policy and "default-src 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer" and headers["Cache-Control"] == "no-store"
    assert "style=" not in text and not re.search(r"<script(?! src=)", text)
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_what_has_been_seen_is_not_sent_again(served: Served) -> None:
    version = json.loads(served.get("state.json")[1])["version"]
    _, text, _ = until(lambda: (found := served.get(f"state.json?seen={version}"))[0] == 204 and found)
    assert text == ""


def test_the_end_of_a_run_as_status_has_it(served: Served) -> None:
    found = until(
        lambda: ((state := served.state()).get("calls"), state.get("annotations")) == (CALLS, CALLS) and state
    )
    status = json.loads(dprm("status", served.run, "--json", cwd=served.run).stdout)
    assert found["calls"] == status["calls_made"] == CALLS
    assert (found["items_done"], found["items_total"]) == (ITEMS, ITEMS)
    assert found["attempts"] == status["attempts"] and found["failures"] == status["failures"]
    assert found["state"] == {"kind": "finished", "words": "finished"}
    assert sum(found["shares"]) == pytest.approx(1, abs=0.01)
    [model] = found["models"]
    assert (model["name"], model["answered"]) == ("gpt-4o-mini", CALLS)
    assert sum(found["pace"]["bars"]) == CALLS
    assert {each["answers"] for each in found["annotators"]} == {ITEMS}


def test_a_key_is_not_shown(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with LLMServer() as double:
        write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Is it wise?", "response": f"Use {KEY}, or sk-{KEY * 2}."}])
        assert dprm("run", write_recipe(tmp_path, double.url), "--quiet", cwd=tmp_path).returncode == 0
    monkeypatch.setenv("ACME_API_KEY", KEY)
    with Watcher([tmp_path / "run"]) as watcher, serving(watcher) as address:
        text = until(
            lambda: (found := Served(tmp_path, address).get("state.json")[1]) and '"done":true' in found and found
        )
    assert "Is it wise?" in text and KEY not in text


@in_a_browser
def test_two_runs_side_by_side(served: Served, tmp_path: Path, context: BrowserContext) -> None:
    with LLMServer() as double:
        double.script({"chances": {"429": 0.1}})
        write(tmp_path, double.url, name="the-other")
        assert dprm("run", "recipe.yaml", "--quiet", cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "dprm_data.cli", "view", str(served.run), "run", "--json"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        assert said["runs"] == [str(served.run), "run"]
        seen = look(context, said["address"])
        page = seen.page
        page.wait_for_selector(".run:nth-child(2) .card")
        assert page.locator(".run > h2").all_text_contents() == ["watched", "the-other"]
        names = page.locator("main > section tbody th").all_text_contents()
        assert names == ["watched", "the-other"]
        assert "rate limit" in str(page.text_content(".run:nth-child(2) .failures"))
        left, right = (page.locator(".run").nth(k).bounding_box() or {} for k in (0, 1))
        assert left["x"] + left["width"] <= right["x"] and left["y"] == right["y"]
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            assert page.evaluate(CONTRAST) == [], scheme
        page.emulate_media(color_scheme="light")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pause"
        page.keyboard.press("Enter")
        assert page.text_content("#age") == "paused"
        assert seen.wrong == []
    finally:
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, ""), errors
    assert "Traceback" not in errors


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for folder, why in ((tmp_path, "it has no recipe.yaml"), (tmp_path / "runs", "no such folder")):
        done = dprm("view", folder, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is not a run folder" in done.stderr and why in done.stderr


def test_a_port_that_is_taken(served: Served) -> None:
    port = str(urlsplit(served.address).port)
    done = dprm("view", served.run, "--port", port, cwd=served.run)
    assert done.returncode == 2 and f"port {port} cannot be used" in done.stderr
