"""Reading answers: every shape that models give, and every one that is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dprm_data.elicit.parsing import Unreadable, read_choice, read_distribution, read_words
from dprm_data.labels.space import LabelSpace
from dprm_data.providers.thoughts import split_thoughts

HH6 = LabelSpace.load("hh6")


@pytest.mark.parametrize(
    "text",
    [
        '{"label": "neutral and harmless"}',
        '{"label": "neutral_harmless"}',
        '{"label": "  Neutral and Harmless "}',
        '{"why": "meh {really}", "label": "neutral and harmless"}',
        '```json\n{"label": "neutral and harmless"}\n```',
        'Sure! {"label": "neutral and harmless"} I hope that helps.',
        "neutral and harmless",
        '"Neutral and harmless."',
    ],
)
def test_a_choice_in_every_shape(text: str) -> None:
    assert read_choice(text, HH6)[0] == 1


def test_the_rationale_comes_along() -> None:
    assert read_choice('{"why": "It is kind.", "label": "helpful and harmless"}', HH6) == (0, "It is kind.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ('{"label": "lovely"}', "'lovely' is none of the categories"),
        ('{"label": 3}', 'no "label"'),
        ('{"answer": "helpful and harmless"}', 'no "label"'),
        ('{"label": "helpful and harmless"', "no JSON object"),
        ('{"label": helpful}', "not valid JSON"),
        ("helpful and harmless or neutral and harmless", "no JSON object"),
    ],
)
def test_a_choice_that_is_none(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_choice(text, HH6)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for reader in (read_choice, read_distribution):
        try:
            reader(text, HH6)
        except Unreadable as error:
            assert str(error)


@given(st.lists(st.floats(0, 1e6), min_size=6, max_size=6).filter(lambda shares: sum(shares) > 1e-6))
def test_a_distribution_is_normalised(shares: list[float]) -> None:
    text = "{" + ", ".join(f'"{label.said}": {share!r}' for label, share in zip(HH6.labels, shares, strict=True)) + "}"
    assert read_distribution(text, HH6) == pytest.approx(np.array(shares) / sum(shares), abs=1e-12)


def test_a_label_left_out_has_no_share() -> None:
    assert read_distribution('{"helpful and harmless": 75, "neutral and harmful": 25}', HH6).tolist() == [
        0.75,
        0,
        0,
        0,
        0.25,
        0,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"helpful and harmless": 0}',
        '{"helpful and harmless": -1}',
        '{"lovely": 1}',
        '{"helpful and harmless": "all"}',
        '{"helpful and harmless": true}',
        "[1, 2]",
    ],
)
def test_a_distribution_that_is_none(text: str) -> None:
    with pytest.raises(Unreadable):
        read_distribution(text, HH6)


def test_words_are_found_whole_in_any_case() -> None:
    tokens = [(" good", -1.0), ("Good", -2.0), (" bad", -1.5), (" the", -0.5), (" goodness", -0.1)]
    good = math.log(math.exp(-1) + math.exp(-2))
    found = read_words(tokens, ["bad", "good"])
    assert found == pytest.approx(np.array([-1.5, good]) - np.logaddexp(-1.5, good))


def test_a_split_word_is_known_by_a_beginning_that_no_other_shares() -> None:
    tokens = [(" un", -1.0), (" help", -2.0), (" h", -0.5), (" ", -0.1)]
    assert read_words(tokens, ["unhelpful", "helpful"]) == pytest.approx(
        np.array([-1.0, -2.0]) - np.logaddexp(-1.0, -2.0)
    )


def test_a_beginning_that_two_words_share_says_nothing() -> None:
    with pytest.raises(Unreadable, match="none of the words harmful, harmless is among the 2"):
        read_words([(" harm", -0.1), (" the", -3.0)], ["harmful", "harmless"])


def test_a_missing_word_is_at_most_as_likely_as_the_last_token() -> None:
    found = read_words([(" good", -1.0), (" the", -4.0)], ["bad", "good"])
    assert found == pytest.approx(np.array([-4.0, -1.0]) - np.logaddexp(-4.0, -1.0))


# -- thoughts ---------------------------------------------------------------------------------------------------------

ANSWER = '{"label": "neutral and harmless"}'
MUSINGS = 'Is it {helpful? "Some say {"label": "helpful and harmless"}, {others}" do not.'


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{MUSINGS}\n</think>\n\n{ANSWER}",
        f"{MUSINGS}</think>{ANSWER}",
        f"<thinking>{MUSINGS}</thinking>\n```json\n{ANSWER}\n```",
        f"[THINK]{MUSINGS}[/THINK]{ANSWER}",
        f"◁think▷{MUSINGS}◁/think▷{ANSWER}",
        f"<|channel|>analysis<|message|>{MUSINGS}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"analysis{MUSINGS}assistantfinal{ANSWER}",
        f"<think>{MUSINGS}</think> neutral and harmless",
    ],
)
def test_thoughts_are_no_part_of_the_answer(text: str) -> None:
    thoughts, said = split_thoughts(text)
    assert MUSINGS in thoughts and "<" not in said
    assert read_choice(said, HH6)[0] == 1


@pytest.mark.parametrize(
    "text", [f"<think>{MUSINGS}", f"<|channel|>analysis<|message|>{MUSINGS}", f"{MUSINGS}</think>"]
)
def test_thoughts_without_an_end_hold_no_answer(text: str) -> None:
    assert split_thoughts(text)[1] == ""


@pytest.mark.parametrize(
    "text",
    [ANSWER, '{"why": "he wrote </think> himself", "label": "neutral and harmless"}', "neutral and harmless", ""],
)
def test_an_answer_that_quotes_a_mark_is_no_thought(text: str) -> None:
    assert split_thoughts(text) == ("", text)


@pytest.mark.parametrize(
    "text",
    [
        f"{MUSINGS} {ANSWER}",
        f"Not {{this}}, but {ANSWER}; see {{that}}.",
        '{"label": "helpful and harmless"} no: {"why": "a \\"brace\\" } in it {", "label": "neutral and harmless"}',
        f"{{ {{ {ANSWER}",
    ],
)
def test_the_last_whole_object_counts(text: str) -> None:
    assert read_choice(text, HH6)[0] == 1


@pytest.mark.parametrize(
    "text",
    [
        "<think>" * 30_000,
        "</think>" * 30_000,
        "{" * 200_000 + "}",
        '{"a":' * 60_000 + "}" * 60_000,
        '{"' * 100_000 + "}}",
        '\\"' * 100_000 + "}",
        "{}" * 100_000,
        "}" * 200_000,
    ],
)
def test_hostile_answers_do_not_hang(text: str) -> None:
    """Work grows with the text's length, and not with its square: all of these take a moment."""
    for reader in (read_choice, read_distribution):
        with pytest.raises(Unreadable):
            reader(split_thoughts(text)[1], HH6)
