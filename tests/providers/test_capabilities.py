"""The table of models: what a model can do, and how its effort is said."""

from __future__ import annotations

import re

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers import capabilities
from dprm_data.providers.capabilities import UNKNOWN, capabilities_of


@pytest.mark.parametrize(
    ("family", "model", "effort", "said"),
    [
        ("openai", "gpt-5-mini", "minimal", {"reasoning_effort": "minimal"}),
        ("openai", "o4-mini", "low", {"reasoning_effort": "low"}),
        ("azure", "gpt-5.1", "none", {"reasoning_effort": "none"}),
        ("openai", "gpt-6-astra", "low", {"reasoning_effort": "low"}),
        ("openrouter", "openai/o3", "low", {"reasoning": {"effort": "low"}}),
        ("openrouter", "anthropic/claude-opus-5", "none", {"reasoning": {"effort": "none"}}),
        ("anthropic", "claude-opus-5-5", "low", {"output_config": {"effort": "low"}}),
        ("anthropic", "claude-haiku-5-5", "none", {"thinking": {"type": "disabled"}}),
        ("anthropic", "claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}),
        ("anthropic", "claude-haiku-4-5", "none", {}),
        ("deepseek", "deepseek-v4-pro", "none", {"thinking": {"type": "disabled"}}),
        ("gemini", "gemini-2.5-flash", "none", {"reasoning_effort": "none"}),
        ("gemini", "gemini-2.5-pro", "low", {"reasoning_effort": "low"}),
        ("vllm", "Qwen/Qwen3-8B", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("openai", "Qwen/Qwen3-8B", "none", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("sglang", "deepseek-ai/DeepSeek-V3.1", "none", {"chat_template_kwargs": {"thinking": False}}),
        ("vllm", "openai/gpt-oss-20b", "low", {"reasoning_effort": "low"}),
        ("llamacpp", "gpt-oss-20b", "low", {"chat_template_kwargs": {"reasoning_effort": "low"}}),
        ("groq", "qwen/qwen3-32b", "none", {"reasoning_effort": "none"}),
        ("vllm", "deepseek-ai/DeepSeek-R1", None, {}),
    ],
)
def test_the_lowest_effort_is_said_as_the_model_understands_it(
    family: str, model: str, effort: str | None, said: dict[str, object]
) -> None:
    found = capabilities_of(family, model)
    assert found.known and found.reasons
    assert (found.effort, found.said) == (effort, said)
    assert found.thinks == bool(found.thought_room) == (effort != "none")


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-4.1", "Qwen/Qwen3-4B-Instruct-2507", "meta-llama/Llama-3.1-8B"])
def test_a_model_that_does_not_reason_is_asked_as_it_is(model: str) -> None:
    found = capabilities_of("openai", model)
    assert found.known and not found.reasons
    assert (found.said, found.thought_room, found.refuses) == ({}, 0, frozenset())


def test_what_a_model_refuses_depends_on_whether_it_thinks() -> None:
    assert capabilities_of("openai", "o3").refuses == {"temperature", "top_p", "logprobs"}
    assert capabilities_of("openai", "gpt-5.2").refuses == frozenset()
    assert capabilities_of("openai", "gpt-5.2", effort="low").refuses == {"temperature", "top_p", "logprobs"}


def test_a_higher_effort_gets_more_room() -> None:
    rooms = [capabilities_of("openai", "gpt-5.2", effort=effort).thought_room for effort in ("none", "low", "high")]
    assert rooms[0] == 0 < rooms[1] < rooms[2]
    spent = [
        capabilities_of("openai", "gpt-5", effort=effort).reasoning_tokens for effort in ("minimal", "low", "high")
    ]
    assert 0 < spent[0] < spent[1] < spent[2]


def test_an_unknown_model_is_asked_as_it_is_until_it_is_found_to_think() -> None:
    assert capabilities_of("openai", "acme-1") == UNKNOWN and not UNKNOWN.known
    assert capabilities_of("openai", "acme-1", effort="hard").said == {"reasoning_effort": "hard"}
    assert UNKNOWN.thinking().thought_room >= 4000 and UNKNOWN.thinking().thinks


def test_a_recipe_changes_the_facts_of_its_model() -> None:
    own = {"reasons": True, "efforts": ["none", "high"], "say": {"none": {"think": False}, "*": {"think": "*"}}}
    assert capabilities_of("vllm", "acme-1", own).said == {"think": False}
    assert capabilities_of("vllm", "acme-1", own, effort="high").said == {"think": "high"}
    assert not capabilities_of("openai", "o3", {"reasons": False, "efforts": []}).thinks
    assert capabilities_of("openai", "o3", {"thought_room": 99}).thought_room == 99
    with pytest.raises(InputError, match="no such way to say an effort: 'loudly'"):
        capabilities_of("openai", "o3", {"say": "loudly"})


def test_every_entry_of_the_table_can_be_used() -> None:
    known = {"model", "provider", "reasons", "efforts", "say", "refuses", "logprobs", "structured"}
    known |= {"reasoning_tokens", "thought_room"}
    rooms = capabilities._table()["rooms"]
    for entry in capabilities._table()["models"]:
        assert entry.keys() <= known, entry
        family = capabilities._listed(entry.get("provider", "openai"))[0]
        for pattern in capabilities._listed(entry["model"]):
            name = re.sub(r"\[(.).*?\]", r"\1", pattern).replace("*", "")
            efforts = entry.get("efforts", [])
            for effort in efforts:
                said = capabilities_of(family, name, entry, effort=effort)
                assert effort in rooms or effort == "default", (name, effort)
                assert said.said or effort == "none", (name, effort)
            assert bool(efforts) == ("say" in entry), entry
