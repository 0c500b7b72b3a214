"""The log of an alignment: what survives a crash, what is forgotten, how much it holds, and what its page shows in a real browser."""

from __future__ import annotations

import json
import math
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_data.labels.space import LabelSpace
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.ppo.policy_card import write_policy_card
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.progress.curves import curve, number, ticks
from dprm_trainers.progress.history import History
from dprm_trainers.progress.training_log import TrainingLog
from tests.publish.browser import browser, chromium, visit
from tests.publish.test_report import CONTRAST

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

SPACE = LabelSpace.load("hh6")
NASTY = "<img src=x onerror=alert(1)><script>alert(2)</script> & {{ 7 * 7 }}"


def shares(t: float) -> list[float]:
    """A distribution that moves from all alike to the best label."""
    p = (1 - t) * np.full(6, 1 / 6) + t * np.eye(6)[0]
    return [float(share) for share in p]


def write(folder: Path, steps: int, *, close: bool = False) -> TrainingLog:
    log = TrainingLog(folder, labels=SPACE.names, rewards=SPACE.rewards.tolist())
    log.truncate(0)
    for step in range(1, steps + 1):
        t = step / steps
        figures = {
            "reward": t,
            "kl": 3 * t,
            "entropy": 2 - t,
            "clip_fraction": 0.1,
            "length": 40.0,
            "value_loss": 1 - t,
        }
        figures |= {"explained_variance": math.nan if step == 1 else t, "learning_rate": 1e-5}
        log.step(step, figures, shares(t))
        if step % 10 == 1:
            log.samples(step, [{"prompt": NASTY, "response": f"{NASTY} {step}", "reward": -0.25, "ended": True}])
    if close:
        log.close()
    return log


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


# -- files ----------------------------------------------------------------------------------------------------------------


def test_every_step_is_a_line_at_once_and_what_is_no_number_is_null(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, labels=["a", "b"])
    log.step(1, {"reward": 0.5, "explained_variance": math.nan}, [0.25, 0.75])
    assert rows(tmp_path / "log.jsonl") == [
        {"step": 1, "distribution": [0.25, 0.75], "reward": 0.5, "explained_variance": None}
    ]
    log.samples(1, [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}])
    assert [row["response"] for row in rows(tmp_path / "samples.jsonl")] == ["b", "d"]


def test_what_came_after_a_step_is_forgotten_and_the_rest_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 25)
    log = TrainingLog(tmp_path, labels=SPACE.names)
    log.truncate(14)
    assert [row["step"] for row in rows(tmp_path / "log.jsonl")] == list(range(1, 15))
    assert {row["step"] for row in rows(tmp_path / "samples.jsonl")} == {1, 11}
    log.step(15, {"reward": 9.0})
    assert rows(tmp_path / "log.jsonl")[-1] == {"step": 15, "distribution": None, "reward": 9.0}
    again = TrainingLog(tmp_path).history
    assert again.first is not None and again.last is not None
    assert (again.first.step, again.last.step, again.last.figures) == (1, 15, {"reward": 9.0})
    log.truncate(0)
    assert rows(tmp_path / "log.jsonl") == rows(tmp_path / "samples.jsonl") == []
    assert log.history.points() == []


@pytest.mark.parametrize("torn", [b'{"step": 6, "rew', b"\x00\x00", b'{"step": 6}'])
def test_a_line_torn_off_by_a_crash_is_forgotten(tmp_path: Path, torn: bytes) -> None:
    write(tmp_path, 5)
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(torn)
    log = TrainingLog(tmp_path)
    log.step(6, {"reward": 1.0})
    assert [row["step"] for row in rows(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_a_line_broken_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, 3)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join([lines[0], "no", lines[2]]) + "\n")
    with pytest.raises(TrainingDataError, match=r"log.jsonl, line 2 is not valid JSON"):
        TrainingLog(tmp_path)


# -- memory and means -----------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(1, 3000))
def test_points_are_few_and_their_means_are_those_of_the_steps(steps: int) -> None:
    history = History()
    values = np.sin(np.arange(1, steps + 1))
    for step, value in enumerate(values, start=1):
        history.add(step, {"x": float(value)}, [float(step % 2), float(1 - step % 2)])
    points = history.points()
    assert len(points) <= 480
    assert sum(point.count for point in points) == steps
    ends = np.cumsum([point.count for point in points])
    for point, end in zip(points, ends, strict=True):
        span = values[end - point.count : end]
        assert point.step == end
        assert point.figures["x"] == pytest.approx(span.mean(), abs=1e-9)
        assert point.distribution is not None and sum(point.distribution) == pytest.approx(1)
    assert history.last is not None and history.last.figures["x"] == values[-1]


def test_memory_does_not_grow_with_the_steps(tmp_path: Path) -> None:
    def held(steps: int) -> int:
        history = History()
        tracemalloc.start()
        for step in range(1, steps + 1):
            history.add(step, {name: float(step) for name in "abcdefgh"}, shares(0.5))
        now = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return now

    assert held(3000) < 1.5 * held(450)


def test_a_mean_over_steps_leaves_out_what_is_no_number() -> None:
    history = History()
    for step in range(1, 961):
        history.add(step, {"x": math.nan if step % 2 else 4.0, "y": math.nan})
    assert {point.figures["x"] for point in history.points()} == {4.0}
    assert all(math.isnan(point.figures["y"]) for point in history.points())


# -- figures --------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_within(low: float, width: float) -> None:
    if width < abs(low) * 1e-6:
        return
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=40))
def test_any_curve_can_be_drawn(values: list[float]) -> None:
    drawn = curve(list(range(1, len(values) + 1)), values, 520, 190)
    places = [
        float(y) for points in re.findall(r'points="([^"]+)"', drawn) for _, y in (p.split(",") for p in points.split())
    ]
    assert all(-0.1 <= y <= 190.1 for y in places)
    assert "nan" not in drawn and "inf" not in drawn


@pytest.mark.parametrize("value", [8.0, 0.95, 12345.0, -3.0])
def test_no_two_ticks_say_the_same_where_values_hardly_differ(value: float) -> None:
    drawn = curve([1, 2, 3], [value, value, value * 1.0001], 520, 190)
    said = re.findall(r">([−\d.,e]+)</text>", drawn)[:-1]  # the last one is a step
    assert len(said) == len(set(said))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (-0.25, "−0.25"),
        (1234.5, "1,234"),
        (1e-5, "1.0e−05"),
        (math.nan, "–"),
        (None, "–"),
        (0.12345, "0.123"),
    ],
)
def test_numbers_are_short(value: float | None, said: str) -> None:
    assert number(value) == said


# -- the page -------------------------------------------------------------------------------------------------------------


def test_the_page_tells_first_and_last_shares_in_numbers(tmp_path: Path) -> None:
    write(tmp_path, 30, close=True)
    page = (tmp_path / "progress.html").read_text()
    first, last = shares(1 / 30), shares(1.0)
    assert f"{100 * first[0]:.1f} %" in page and f"{100 * last[0]:.1f} %" in page
    assert "<img" not in page and page.count("<script>") == 1
    assert "49" not in re.sub(
        r"\d\d:\d\d:\d\d|[\d.]+,[\d.]+", "", page.split("Samples of step")[1].split("</table>")[0]
    )
    assert "http://" not in page and "https://" not in page
    for name in ("distribution", "curves"):
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")


def test_without_distributions_or_steps_there_is_a_page_too(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "empty")
    log.write_page()
    assert "No step has been taken yet" in (tmp_path / "empty" / "progress.html").read_text()
    log = TrainingLog(tmp_path / "scalar")
    log.step(1, {"reward": 1.0})
    log.close()
    assert "How the population" not in (tmp_path / "scalar" / "progress.html").read_text()
    assert not (tmp_path / "scalar" / "distribution.svg").exists()


in_a_browser = pytest.mark.skipif(chromium() is None, reason="no Chromium here: run tests/setup_browser.sh as root")


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    with browser(viewport={"width": 1280, "height": 900}, color_scheme="light") as made:
        yield made


@in_a_browser
def test_it_opens_without_errors_and_texts_are_texts(context: BrowserContext, tmp_path: Path) -> None:
    write(tmp_path, 40, close=True)
    seen = visit(context, tmp_path / "progress.html")
    assert seen.page.text_content(".samples tbody tr td:nth-child(2)") == f"{NASTY} 31"
    assert seen.page.locator(".curves figure").count() == 7
    assert seen.page.locator(".distribution polygon").count() == 6
    assert seen.page.is_hidden("#pause")
    for scheme in ("light", "dark"):
        seen.page.emulate_media(color_scheme=scheme)
        assert seen.page.evaluate(CONTRAST) == [], scheme
    for width in (360, 768, 1440):
        seen.page.set_viewport_size({"width": width, "height": 800})
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.wrong == []


@pytest.mark.slow
@in_a_browser
def test_it_reads_itself_anew_and_comes_back_as_it_was(context: BrowserContext, tmp_path: Path) -> None:
    log = write(tmp_path, 40)
    file = tmp_path / "progress.html"

    def write_page() -> None:
        log.write_page()
        file.write_text(file.read_text().replace('data-refresh="5000"', 'data-refresh="600000"'))

    write_page()
    at_once = "document.documentElement.dataset.refresh = '1'"
    seen = visit(context, file)
    page = seen.page
    page.set_viewport_size({"width": 1280, "height": 700})
    heights = (
        "[...document.querySelectorAll('section h2')].map((h) => Math.round(h.getBoundingClientRect().top + scrollY))"
    )
    before = page.evaluate(heights)
    page.focus("#pause")
    page.evaluate("scrollTo(0, 500)")
    log.step(41, dict.fromkeys(log.history.names(), 7.25), shares(0.1))
    write_page()
    page.evaluate(at_once)
    page.locator("dd", has_text="7.25").first.wait_for()
    assert page.evaluate("[scrollY, document.activeElement.id]") == [500, "pause"]
    assert page.evaluate(heights) == before  # nothing has moved
    page.keyboard.press("Enter")
    assert page.text_content("#pause") == "Resume refreshing"
    log.step(42, dict.fromkeys(log.history.names(), 8.125), shares(0.1))
    write_page()
    page.evaluate(at_once)
    page.wait_for_timeout(1500)
    assert page.locator("dd", has_text="8.12").count() == 0
    page.keyboard.press("Enter")
    page.locator("dd", has_text="8.12").first.wait_for()
    log.close()
    page.evaluate(at_once)
    page.locator(".over").wait_for()
    assert page.evaluate("scrollY") == 500
    assert page.is_hidden("#pause")
    assert seen.wrong == []


# -- the card -------------------------------------------------------------------------------------------------------------


def test_the_card_says_what_was_done_and_what_it_does_not_mean(tmp_path: Path) -> None:
    write(tmp_path, 20)
    reward_model = tmp_path / "my-reward"
    reward_model.mkdir()
    (reward_model / "config.json").write_text(json.dumps({"dprm": {"trained_on": str(tmp_path / "no-run")}}))
    config = PPOConfig(
        prompts="owner/prompts", policy="owner/base", reward_model=[str(reward_model)], reading="cvar:0.1", lora=8
    )
    named = ("reward_first", "reward_last", "kl_last", "length_last", "ended_last", "kl_coefficient")
    facts = {
        "settings": config.model_dump(mode="json"),
        "prompts": {"source": "owner/prompts", "revision": "c0ffee", "count": 120},
        "figures": dict.fromkeys(named, 0.375) | {"steps": 20},
        "notes": ["only 3 % of the first responses end"],
    }
    write_policy_card(tmp_path, facts, labels=SPACE.names)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\n") and "base_model: owner/base" in card
    for said in (
        "aligned by PPO to maximise the reading `cvar:0.1` of the reward of `my-reward`",
        "[owner/prompts](https://huggingface.co/datasets/owner/prompts), revision `c0ffee`, 120 rows",
        "LoRA of rank 8",
        "| learning rate | 0.0001 |",
        "| KL to the reference in the last tenth, nats per response | 0.375 |",
        "**Not evaluated.**",
        "reward hacking",
        "only 3 % of the first responses end",
        "How many of the labels behind this model are simulated is not known",
    ):
        assert said in card
    assert str(tmp_path) not in card
    first, last = np.mean([shares(1 / 20), shares(2 / 20)], axis=0), np.mean([shares(19 / 20), shares(1)], axis=0)
    assert f"| helpful\\_harmless | {100 * first[0]:.0f}% | {100 * last[0]:.0f}% |" in card
