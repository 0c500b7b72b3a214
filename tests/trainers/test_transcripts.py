"""Conversations out of templated texts: what the template of a policy has put together is taken apart again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.data.transcripts import Marks
from tests.trainers import tiny

# Written after the templates of model families, with what makes each of them hard: a default system prompt, trimmed texts, no separator after the user's turn.
HEADERS = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\\n\\n' + m['content'] | trim + '<|eot|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\\n\\n' }}{% endif %}"
)
BRACKETS = (
    "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] + '</s>' }}{% else %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
)
THINKING = tiny.CHATML.replace("assistant\\n' }}{% endif %}", "assistant\\n<think>\\n\\n</think>\\n\\n' }}{% endif %}")
TEMPLATES = {"chatml": tiny.CHATML, "headers": HEADERS, "brackets": BRACKETS, "thinking": THINKING}

TEXT = st.text(st.characters(exclude_categories=("Cs", "Co"), exclude_characters="<>[]|"), min_size=1, max_size=12).map(
    lambda text: text.strip() or "x"
)


USED = {name: tiny.policy_tokenizer(template) for name, template in TEMPLATES.items()}
MARKS = {name: (used, Marks.of(used)) for name, used in USED.items()}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    "end", ["", "</s>", "<pad></s><pad>", None], ids=["broken off", "ended", "padded", "template's"]
)
@settings(max_examples=25, deadline=None)
@given(said=st.lists(TEXT, min_size=2, max_size=6).filter(lambda said: len(said) % 2 == 0), system=st.none() | TEXT)
def test_what_was_put_together_is_taken_apart(name: str, end: str | None, said: list[str], system: str | None) -> None:
    used, marks = MARKS[name]
    turns: list[Message] = [
        {"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(said)
    ]
    if system is not None and name != "brackets":
        turns.insert(0, {"role": "system", "content": system})
    if end is None:
        text = used.apply_chat_template(turns, tokenize=False)
    else:  # as a policy makes it: the prompt, what it wrote, and how that ended
        text = (
            used.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
            + turns[-1]["content"]
            + end
        )
    assert marks.parse(text, "<s>") == turns
    assert marks.parse("<s>" + text, "<s>") == turns  # some decode a second one


def test_an_empty_response_is_one() -> None:
    used, marks = MARKS["chatml"]
    text = used.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
    assert marks.parse(text + "<|im_end|>")[-1] == {"role": "assistant", "content": ""}


@pytest.mark.parametrize("text", ["", "good", "[INST] hi [/INST] good", "<|im_start|>user\nhi<|im_end|>\n"])
def test_another_template_is_told(text: str) -> None:
    with pytest.raises(TrainingError, match="not rendered by the chat template") as caught:
        MARKS["chatml"][1].parse(text)
    assert "--policy-tokenizer" in str(caught.value.hint)


def test_a_template_that_hides_the_texts_is_told() -> None:
    used = tiny.tokenizer()
    used.chat_template = "{{ messages | length }}"
    with pytest.raises(TrainingError, match="alters the texts"):
        Marks.of(used)
