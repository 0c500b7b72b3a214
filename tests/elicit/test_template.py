"""Templates: what they may see, what they may not do, and what is shared between annotators."""

from __future__ import annotations

from pathlib import Path

import pytest

from dprm_data.core.errors import PromptError
from dprm_data.core.resources import bundled_names
from dprm_data.elicit.template import PromptTemplate, load_prompt

MINIMAL = "{% block item %}[{{ response }}]{% endblock %}{% block persona %}{{ persona.name }}{% endblock %}"


def template(source: str) -> PromptTemplate:
    return PromptTemplate("mine", source, "mine.jinja")


def test_blocks_are_rendered_one_by_one() -> None:
    mine = template(MINIMAL)
    assert mine.render("item", {"response": " x "}) == "[ x ]"
    assert mine.render("persona", {"persona": {"name": "Ada"}}) == "Ada"
    assert mine.render("system", {}) == mine.render("prefill", {}) == ""


def test_the_item_block_never_sees_the_persona() -> None:
    """So that all annotators of an item share its text, byte for byte."""
    mine = template("{% block item %}{{ persona.name }}{% endblock %}{% block persona %}x{% endblock %}")
    with pytest.raises(PromptError, match=r"mine\.jinja, block item: 'persona' is undefined"):
        mine.render("item", {"response": "x"})


@pytest.mark.parametrize(
    "evil",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ response.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ labels.append(1) }}",
        "{{ labels.clear() }}",
        "{{ 1 / 0 }}",
    ],
)
def test_templates_cannot_reach_python(evil: str) -> None:
    labels = ["a"]
    with pytest.raises(PromptError, match=r"mine\.jinja, block item"):
        template(MINIMAL.replace("{{ response }}", evil)).render("item", {"response": "x", "labels": labels})
    assert labels == ["a"]


def test_a_value_is_never_a_template() -> None:
    assert template(MINIMAL).render("item", {"response": "{{ 7 * 7 }}{% raw %}"}) == "[{{ 7 * 7 }}{% raw %}]"


def test_a_broken_template_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "broken.jinja").write_text(
        "{% block item %}\n{{ response \n{% endblock %}{% block persona %}{% endblock %}"
    )
    with pytest.raises(PromptError, match=r"broken\.jinja, line \d: "):
        load_prompt("broken.jinja", tmp_path)
    (tmp_path / "half.jinja").write_text("{% block item %}{% endblock %}")
    with pytest.raises(PromptError, match="no block 'persona'"):
        load_prompt("half.jinja", tmp_path)


def test_the_version_is_that_of_the_text() -> None:
    assert template(MINIMAL).version == PromptTemplate("other", MINIMAL).version
    assert template(MINIMAL).version != template(MINIMAL + " ").version


def test_every_bundled_prompt_loads() -> None:
    names = bundled_names("prompts", ".jinja")
    assert {"choice", "distribution", "logprobs"} <= set(names)
    for name in names:
        assert load_prompt(name).version
