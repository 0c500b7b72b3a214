"""`rationale: true`: the label comes first, then the reason; runs and templates that asked the other way round go on as they did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dprm_data.elicit.choice import Choice
from dprm_data.elicit.parsing import Unreadable, read_choice
from dprm_data.elicit.template import PromptTemplate, load_prompt
from dprm_data.labels.space import LabelSpace
from tests.before.saved import call_keys, dprm_each, rows, unpack
from tests.helpers import answer, dprm, write_recipe
from tests.servers.llm import LLMServer

HH6 = LabelSpace.load("hh6")


def bodies_of(double: LLMServer) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []
    double.says = lambda body: bodies.append(body)
    return bodies


def order_asked(body: dict[str, Any]) -> list[list[str]]:
    """The order of the fields: in the schema, among the required fields, and in the example that the prompt shows."""
    form = body["output_config"]["format"] if "output_config" in body else body["response_format"]["json_schema"]
    schema = form["schema"]
    content = body["messages"][0 if "output_config" in body else 1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    example = text.rpartition("Reply with JSON only: ")[2]
    return [list(schema["properties"]), schema["required"], list(json.loads(example))]


def test_the_label_comes_before_the_reason(tmp_path: Path, double: LLMServer) -> None:
    bodies = bodies_of(double)
    recipe = write_recipe(tmp_path, double.url, rationale=True)
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert done["annotate"]["statuses"] == {"ok": 16}
    assert all(order_asked(body) == [["label", "why"]] * 3 for body in bodies)
    assert all("because" in (row["rationale"] or "") for row in rows(tmp_path / "run", "annotations").values())
    again = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    frozen = answer(dprm("run", tmp_path / "run" / "recipe.yaml", "--json", cwd=tmp_path))
    assert again["annotate"]["calls"] == frozen["annotate"]["calls"] == 0


def test_a_run_of_an_earlier_version_goes_on_as_it_began(tmp_path: Path, double: LLMServer) -> None:
    """A row more in its source: the new calls ask in the old order, the old ones are not made again."""
    job = unpack("run-folders/rationale", tmp_path / "job", double.url)
    source = next(job.glob("*.jsonl"))
    first = source.read_text().splitlines()[0]
    source.write_text(source.read_text() + first.replace("?", ", please?", 1) + "\n")
    bodies, keys = bodies_of(double), set(call_keys(job / "run/ledger.sqlite"))
    dprm_each([["run", "recipe.yaml", "--json"]], cwd=job)
    asked = [body for body in bodies if '"why"' in json.dumps(body["output_config"])]
    assert asked and all(order_asked(body) == [["why", "label"]] * 3 for body in asked)
    assert keys < set(call_keys(job / "run/ledger.sqlite"))
    assert len(bodies) == len(set(call_keys(job / "run/ledger.sqlite"))) - len(keys)


def test_the_old_prompt_finds_the_old_answers_in_a_new_folder(tmp_path: Path, double: LLMServer) -> None:
    job = unpack("run-folders/rationale", tmp_path / "job", double.url)
    (job / "elsewhere").mkdir()
    shutil.copy(job / "run/ledger.sqlite", job / "elsewhere/ledger.sqlite")
    recipe = job / "recipe.yaml"
    recipe.write_text(f"{recipe.read_text()}\nprompt: choice\n")
    [done] = dprm_each([["run", "recipe.yaml", "--output", "elsewhere", "--json"]], cwd=job)
    assert json.loads(done)["annotate"]["calls"] == double.tally.requests == 0


def schema_of(source: str) -> list[str]:
    template = PromptTemplate("own", source)
    schema = Choice(space=HH6, template=template, family="openai", model="m", rationale=True).schema()
    return list(schema["properties"])


def test_the_schema_follows_the_template() -> None:
    item = "{% block item %}{{ response }}{% endblock %}"
    persona = "{{% block persona %}}Reply with {}{{% endblock %}}"
    assert schema_of(item + persona.format('{"label": ..., "why": ...}')) == ["label", "why"]
    assert schema_of(item + persona.format('{"why": ..., "label": ...}')) == ["why", "label"]
    assert schema_of('{# {"label": ..., "why": ...} #}' + item + persona.format('{"why": ...}')) == ["why", "label"]
    assert schema_of(item + persona.format("JSON")) == ["why", "label"]  # as ever
    assert schema_of(load_prompt("choice").source) == ["why", "label"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"label": "neutral and harmless", "why": "It is', "It is"),
        ('{"label": "neutral and harmless", "why": "It says \\"no\\" and', 'It says "no" and'),
        ('{"label": "neutral and harmless", "why": "', ""),
        ('{"label": "neutral and harmless", "why', ""),
        ('```json\n{"label":"neutral_harmless" , "why":"kind\\', "kind"),
    ],
)
def test_a_label_counts_though_its_reason_was_cut_off(text: str, why: str) -> None:
    assert read_choice(text, HH6) == (1, why)


@pytest.mark.parametrize(
    "text",
    [
        '{"why": "It is kind, and',
        '{"label": "neutral and harmless"',
        '{"label": "neutral and',
        '{"label": "lovely", "why": "It',
        'Either {"label": "neutral and harmless", "why": or {"label": "helpful and harmless", "why": "b',
    ],
)
def test_what_says_no_label_is_not_read_as_one(text: str) -> None:
    with pytest.raises(Unreadable):
        read_choice(text, HH6)


def test_an_answer_cut_off_in_its_reason_is_a_vote(tmp_path: Path, double: LLMServer) -> None:
    double.says = lambda body: '{"label": "helpful and harmless", "why": "' + "so it is, " * 200
    recipe = write_recipe(tmp_path, double.url, rationale=True)
    done = answer(dprm("run", recipe, "--json", cwd=tmp_path))
    assert done["annotate"]["statuses"] == {"ok": 16}
    assert double.tally.requests == 16
