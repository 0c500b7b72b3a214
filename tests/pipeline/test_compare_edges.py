"""Answers that no order of the responses explains: contradictions, ties only, and annotators who look at the place only. What is asked, published and said then."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers import dprm, write_recipe, write_rows
from tests.servers.llm import LLMServer

PROMPTS, SIZE, PERSONAS = 6, 3, 4
ROWS = [{"prompt": f"question {i}?", "response": f"face {r} of {i}"} for i in range(PROMPTS) for r in range(SIZE)]
PAIRS = PROMPTS * SIZE * (SIZE - 1) // 2
ACTIVE = {"pairs": "active", "budget": 10_000}

Says = Callable[[dict[str, Any]], str]


def by_faces(prefers_first: Callable[[int, int], bool]) -> Says:
    """Answers by the numbers of the two faces, as they are shown."""

    def says(data: dict[str, Any]) -> str:
        text = "\n".join(message["content"] for message in data["messages"])
        first, second = (int(number) for number in re.findall(r"face (\d)", text)[:2])
        return f'{{"label": "{"A" if prefers_first(first, second) else "B"}_is_better"}}'

    return says


ROUND = by_faces(lambda first, second: (second - first) % SIZE == 1)  # 0 over 1, 1 over 2, 2 over 0
HIGHER = by_faces(lambda first, second: first > second)
FIRST = by_faces(lambda first, second: True)


def ran(folder: Path, server: LLMServer, says: Says, **compare: Any) -> tuple[str, list[dict[str, Any]]]:
    """What the run says, and its preferences."""
    server.says = says
    write_rows(folder / "pairs.jsonl", ROWS)
    panel = {"use": "small", "sample": PERSONAS}
    write_recipe(folder, server.url, elicitation="compare", compare=compare, panel=panel)
    done = dprm("run", "recipe.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split()), pq.read_table(folder / "run/tables/preferences.parquet").to_pylist()


def test_contradictions_are_said_and_no_pair_is_sure(double: LLMServer, tmp_path: Path) -> None:
    said, found = ran(tmp_path, double, ROUND)
    assert f"Contradictions: in {PROMPTS} of {PROMPTS} triples of responses (100%)" in said
    equal = re.search(
        r"Pairs that are not published: (\d+) with equal expected rewards", said
    )  # up to rounding, all are
    assert len(found) + (int(equal[1]) if equal else 0) == PAIRS
    assert all(row["probability"] < 0.6 for row in found)


def test_without_contradictions_there_is_nothing_to_say(double: LLMServer, tmp_path: Path) -> None:
    said, found = ran(tmp_path, double, HIGHER)
    assert "Contradictions" not in said and all(row["probability"] > 0.9 for row in found)


@pytest.mark.parametrize("compare", [{}, ACTIVE])
def test_nobody_ever_prefers_one(double: LLMServer, tmp_path: Path, compare: dict[str, Any]) -> None:
    _, found = ran(tmp_path, double, lambda data: '{"label": "neither_is_better"}', **compare)
    assert all(row["tie"] > 0.9 and row["probability"] < 0.6 for row in found)
    assert double.tally.requests == 2 * PAIRS * PERSONAS  # it ends, with every pair asked about once


@pytest.mark.slow
def test_everybody_says_the_first_in_rounds(double: LLMServer, tmp_path: Path) -> None:
    said, found = ran(tmp_path, double, FIRST, **ACTIVE)
    assert not found and f"Pairs that are not published: {PAIRS} with equal expected rewards" in said
    assert said.count("whatever was shown there: these answers hardly count") == PERSONAS
    assert double.tally.requests == 2 * PAIRS * PERSONAS


@pytest.mark.parametrize("compare", [{}, ACTIVE])
def test_one_who_always_says_the_first_is_named_and_the_others_decide(
    double: LLMServer, tmp_path: Path, compare: dict[str, Any]
) -> None:
    said, found = ran(tmp_path, double, lambda data: (FIRST if "doctor" in str(data) else HIGHER)(data), **compare)
    assert said.count("these answers hardly count") == 1 and "careful_doctor chose the first in" in said
    faces = [tuple(int(row[side][0]["content"][5]) for side in ("chosen", "rejected")) for row in found]
    assert len(faces) == PAIRS and all(chosen > rejected for chosen, rejected in faces)
