"""The report: what it says, and what it does in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dprm_data.publish.report.page import report
from tests.helpers import answer, dprm, write_recipe, write_rows
from tests.publish.browser import Visit, browser, chromium, visit
from tests.publish.conftest import PROMPTS, TOPICS, rows
from tests.publish.large import large_run
from tests.servers.llm import LLMServer

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

ITEMS = 2 * PROMPTS


@pytest.fixture(scope="module")
def page_file(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the finished run, against a second run of the same items by another panel."""
    folder = tmp_path_factory.mktemp("report")
    write_rows(folder / "pairs.jsonl", rows())
    with LLMServer() as server:
        write_recipe(folder, server.url, name="second")
        assert dprm("run", "recipe.yaml", "--quiet", cwd=folder).returncode == 0
    done = answer(dprm("report", finished, "--against", "run", "--out", "report.html", "--json", cwd=folder))
    assert done["bytes"] == (folder / "report.html").stat().st_size < 10e6
    return folder / "report.html"


@pytest.fixture(scope="module")
def payload(page_file: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page_file.read_text(), re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


# -- what it says -----------------------------------------------------------------------------------------------------


def test_every_item_is_there_with_its_figures(finished: Path, payload: dict[str, Any]) -> None:
    assert len(payload["items"]) == ITEMS
    fitted = {row["item_id"]: row for row in pq.read_table(finished / "tables/distributions.parquet").to_pylist()}
    for item in payload["items"]:
        row = fitted[item["i"]]
        assert item["d"] == pytest.approx([1000 * p for p in row["label_distribution"]], abs=1)
        assert item["e"] == pytest.approx(row["expected_reward"], abs=0.002)
        assert sum(row["votes"]) == 30
        assert item["n"] == pytest.approx(row["evidence"], abs=0.051)
        assert item["m"][payload["columns"].index("topic")] in TOPICS


def test_the_page_says_what_must_be_said(page_file: Path) -> None:
    text = page_file.read_text()
    assert "These labels are simulated." in text
    for section in (
        "items",
        "rewards",
        "annotators",
        "agreement",
        "spread",
        "fit",
        "groups",
        "cost",
        "failures",
        "against",
        "asked",
    ):
        assert f'<section id="{section}"' in text
    assert "gpt-4o-mini" in text
    assert "not validated" in text


def test_it_says_what_makes_ratings_differ(finished: Path, page_file: Path) -> None:
    """Every component has a bar with its interval, and the model its cost per vote; the manifest, the card and `dprm show` say the same in sentences."""
    text = page_file.read_text()
    section = text[text.index('<section id="spread"') :].split("</section>")[0]
    manifest = json.loads((finished / "manifest.json").read_text())
    parts = manifest["variance"]["components"]["components"]
    assert [part["name"] for part in parts] == ["item", "persona", "item × persona", "replicate noise"]
    for part in parts:
        share = part["share"]
        assert f">{part['name']}</text>" in section
        assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
    assert section.count('style="stroke:#b5472f') == 3 * len(parts)
    (model,) = manifest["variance"]["models"]
    assert model["cost_per_vote"] == pytest.approx(model["cost"] / model["ok"])
    assert model["model"] in section
    card = (finished / "README.md").read_text()
    shown = " ".join(dprm("show", finished, cwd=finished).stdout.split())
    for sentence in manifest["variance"]["sentences"]:
        assert sentence in shown
        assert sentence.replace("%", "") in card.replace("%", "")


def test_nothing_in_it_comes_from_a_network(page_file: Path) -> None:
    text = page_file.read_text()
    addresses = set(re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", text))
    assert all(address.startswith(("#", "data:")) for address in addresses), addresses
    assert "@import" not in text


def test_texts_of_items_are_no_html(page_file: Path) -> None:
    """The items hold `<script>alert(…)`; in the page no `<script` stands but its own two."""
    assert re.findall(r"<script[^>]*>", page_file.read_text()) == [
        '<script type="application/json" id="data">',
        "<script>",
    ]


@pytest.mark.slow
def test_failures_are_counted(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    path = run / "tables/annotations.parquet"
    table = pq.read_table(path)
    broken = pa.array([i % 10 == 0 for i in range(table.num_rows)])
    for column, value in (("status", "refusal"), ("reason", "<b>I cannot</b>"), ("label", None)):
        changed = pc.if_else(broken, pa.scalar(value, pa.string()), table[column])
        table = table.set_column(table.column_names.index(column), table.schema.field(column), changed)
    pq.write_table(table, path)
    page = run / "report.html"
    assert dprm("report", run, cwd=tmp_path).returncode == 0
    count = f"{sum(broken.to_pylist()):,}"
    assert f'<tr><th scope="row">refusal</th><td class="num">{count}</td></tr>' in page.read_text()
    assert f"{count} × &lt;b&gt;I cannot&lt;/b&gt;" in page.read_text()


@pytest.mark.slow
def test_runs_on_other_labels_are_not_compared(finished: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(finished, tmp_path / "other"))
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("reward: 0.5", "reward: 0.25", 1))
    done = dprm("report", finished, "--against", other, "--out", "page.html", cwd=tmp_path)
    assert done.returncode == 2
    assert "different labels" in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    done = dprm("report", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "not a run folder" in done.stderr


# -- in a browser -------------------------------------------------------------------------------------------------------

in_a_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium here: run tests/setup_browser.sh as root")


@dataclass
class Desk:
    context: BrowserContext
    file: Path

    def open(self) -> Visit:
        return visit(self.context, self.file)


@pytest.fixture(scope="module")
def desk(page_file: Path) -> Iterator[Desk]:
    with browser(viewport={"width": 1280, "height": 900}, color_scheme="light") as context:
        yield Desk(context, page_file)


FITTING = "#list .answer:not(.other)"


def counted(seen: Visit) -> str:
    return str(seen.page.text_content("#count"))


@in_a_browser
def test_it_opens_without_errors_and_without_a_network(desk: Desk) -> None:
    seen = desk.open()
    assert counted(seen) == f"20 of {PROMPTS} prompts, {ITEMS} responses"
    assert seen.page.locator("#list article").count() == 20
    seen.page.click("#more")
    assert seen.page.locator("#list article").count() == PROMPTS
    assert seen.page.is_hidden("#more")
    assert seen.wrong == []


@in_a_browser
def test_markup_in_an_item_stays_text(desk: Desk) -> None:
    seen = desk.open()
    seen.page.fill("#search", "good answer 7 ")
    assert counted(seen) == "1 of 1 prompt, 1 response"
    assert seen.page.text_content(f"{FITTING} .response") == "Good answer 7 <script>alert(7)</script> | *x*"
    assert seen.page.locator("#list script").count() == 0
    assert seen.wrong == []


@in_a_browser
def test_responses_stand_side_by_side_under_their_prompt(desk: Desk) -> None:
    page = desk.open().page
    page.fill("#search", "then 5?")
    article = page.locator("#list article")
    turns = article.locator(":scope > .turn")
    assert turns.locator(".role").all_text_contents() == ["user", "assistant", "user"]
    assert turns.locator("p").all_text_contents() == ["Question 3: what do you say?", "Ask me more.", "Then 5?"]
    boxes = "[...document.querySelectorAll('#list .answer')].map((e) => e.getBoundingClientRect().toJSON())"
    good, bad = page.evaluate(boxes)
    assert good["top"] == bad["top"] and good["right"] < bad["left"]
    assert article.locator(".answer .role").all_text_contents() == ["assistant", "assistant"]
    page.set_viewport_size({"width": 400, "height": 800})
    good, bad = page.evaluate(boxes)
    assert good["bottom"] < bad["top"] and good["left"] == bad["left"]


@in_a_browser
def test_filters(desk: Desk, payload: dict[str, Any]) -> None:
    seen = desk.open()
    page = seen.page
    column = payload["columns"].index("topic")
    page.select_option("select[data-column=topic]", "travel")
    here = [item for item in payload["items"] if item["m"][column] == "travel"]
    assert counted(seen) == f"{len(here) // 2} of {len(here) // 2} prompts, {len(here)} responses"
    likely = here[0]["d"].index(max(here[0]["d"]))
    page.select_option("#label", str(likely))
    both = [item for item in here if item["d"].index(max(item["d"])) == likely]
    assert page.locator(FITTING).count() == len(both)
    assert page.locator("#list article").count() == len({item["g"] for item in both})
    page.fill("#search", "nothing says this")
    assert counted(seen) == "No item fits."
    assert page.locator("#list article").count() == 0


@in_a_browser
@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("s-", lambda i: -i["s"]),
        ("s+", lambda i: i["s"]),
        ("e-", lambda i: -i["e"]),
        ("e+", lambda i: i["e"]),
        ("w-", lambda i: i["l"] - i["h"]),
        ("f+", lambda i: i["f"]),
    ],
)
def test_sorting(desk: Desk, payload: dict[str, Any], order: str, key: Any) -> None:
    seen = desk.open()
    seen.page.select_option("#sort", order)
    by_id = {item["i"][:12]: item for item in payload["items"]}
    values = [
        min(key(by_id[code]) for code in article.locator(".meta > code").all_text_contents())
        for article in seen.page.locator("#list article").all()
    ]
    assert values == sorted(values)
    assert values[0] == min(key(item) for item in payload["items"])


@in_a_browser
def test_by_keyboard_alone(desk: Desk) -> None:
    seen = desk.open()
    page = seen.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("bad answer 1")
    assert counted(seen) == "11 of 11 prompts, 11 responses"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "label"
    outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outlined != "none"


@in_a_browser
def test_tables_sort(desk: Desk) -> None:
    page = desk.open().page
    severity = "#annotators tbody tr td:nth-child(5)"
    for direction in ("ascending", "descending"):
        page.click("#annotators th:nth-child(5) button")
        values = [float(text.replace("−", "-")) for text in page.locator(severity).all_text_contents()]
        assert values == sorted(values, reverse=direction == "descending")
        assert page.get_attribute("#annotators th:nth-child(5)", "aria-sort") == direction


@in_a_browser
def test_light_and_dark(desk: Desk) -> None:
    page = desk.open().page

    def brightness() -> float:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / 3

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    assert brightness() < 60
    page.click("#theme")
    assert brightness() > 200


@in_a_browser
@pytest.mark.parametrize("width", [360, 768, 1440])
def test_nothing_sticks_out(desk: Desk, width: int) -> None:
    page = desk.open().page
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@in_a_browser
def test_contrast_of_all_text(desk: Desk) -> None:
    """Every text has a contrast of 4.5 to its background (WCAG AA), in both colour schemes."""
    page = desk.open().page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(CONTRAST) == [], scheme


CONTRAST = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const under = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("script,style,noscript,svg,option,.skip") || !element.offsetParent) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(under(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(element.tagName + "." + element.className + ": " + element.textContent.trim().slice(0, 40) + " " + ((a + 0.05) / (b + 0.05)).toFixed(2));
  }
  return [...new Set(bad)].slice(0, 10);
}"""


# -- large runs -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_large_run_makes_a_small_page(finished: Path, tmp_path: Path) -> None:
    """The most divided items are there, the page says how many of how many it shows, and long texts are cut."""
    run = large_run(finished, tmp_path / "large", 2_500, words=600)
    page = report(run)
    assert len(page.encode()) < 5e6
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    shown = json.loads(found[1])["items"]
    assert 500 < len(shown) <= 2_000
    assert f"{len(shown):,} of 2,500 items" in page
    table = pq.read_table(run.folder.table("distributions"), columns=["item_id", "disagreement"])
    most = table.sort_by([("disagreement", "descending")]).slice(0, 300)["item_id"].to_pylist()
    assert set(most) <= {item["i"] for item in shown}
    assert max(len(text) for item in shown for _, text in item["r"]) < 2_000
    assert len({item["g"] for item in shown}) <= len(shown) // 2 + 1  # with the other response to each prompt
