"""A template that would make itself endless is refused in a sentence, soon and in little memory; honest ones are not changed."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dprm_data.core.errors import PromptError
from dprm_data.elicit.template import PromptTemplate

HOSTILE = {
    "multiply": "{{ 'a' * 10**10 }}",
    "multiply a list": "{{ [1] * 10**10 }}",
    "power": "{{ 10**(10**8) }}",
    "powers": "{% set x = 9**3000 %}{% set x = x*x %}{% set x = x*x %}{% set x = x*x %}{{ x*x }}",
    "percent": "{{ '%9999999999d' % 1 }}",
    "star": "{{ '%*d' % (9999999999, 1) }}",
    "format filter": "{{ '%9999999999d'|format(1) }}",
    "format method": "{{ '{:>9999999999}'.format(1) }}",
    "format nested": "{{ '{:>{}}'.format(1, 9999999999) }}",
    "format nested in a list": "{{ '{:>{1[0]}}'.format(1, [9999999999]) }}",
    "center": "{{ 'a'|center(10**10) }}",
    "ljust": "{{ 'a'.ljust(10**10) }}",
    "indent": "{{ 'a\\nb'|indent(10**10) }}",
    "join": "{{ range(99999)|join('a' * 99999) }}",
    "join a generator": "{{ range(99999)|map('string')|join('a' * 99999) }}",
    "join a generator by its method": "{{ ('a' * 99999).join(range(99999)|map('string')) }}",
    "join method": "{{ ('a' * 99999).join(['b'] * 99999) }}",
    "replace": "{{ ('a' * 99999)|replace('a', 'b' * 99999) }}",
    "replace method": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "map": "{{ range(99999)|map('center', 99999)|list|length }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops that write": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "concatenate": "{% set x = 'aaaaaaaaaa' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
    "namespace": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "add": "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "lists in lists": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
    "lists as text": "{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x|string|length }}",
    "macro": "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
}


def template(body: str) -> PromptTemplate:
    return PromptTemplate("hostile", f"{{% block item %}}{body}{{% endblock %}}{{% block persona %}}x{{% endblock %}}")


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_refused(body: str) -> None:
    began = time.monotonic()
    with address_space(700 << 20), pytest.raises(PromptError) as refused:
        template(body).render("item", {"text": "abc"})
    assert not isinstance(refused.value.__cause__, MemoryError)
    assert time.monotonic() - began < 15


@contextmanager
def address_space(more: int) -> Iterator[None]:
    """At most so many bytes more than now: what takes them fails. (The peak of the process would hide all cases but the first.)"""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{{ 'a' * 3 }}-{{ 2 ** 10 }}-{{ '%05.1f' % 2.5 }}-{{ 1 + 2 }}", "aaa-1024-002.5-3"),
        ("{{ text|center(9) }}|{{ text|upper|replace('A', 'x') }}", "abc   |xBC"),
        ("{{ 'a' ~ 1 ~ none ~ [1] }}", "a1None[1]"),
        (
            "{% for c in text %}{{ loop.index }}/{{ loop.length }}{{ c }}{{ ', ' if not loop.last }}{% endfor %}",
            "1/3a, 2/3b, 3/3c",
        ),
        ("{% for c in text if c != 'b' %}{{ loop.index }}{{ c }}{% else %}none{% endfor %}", "1a2c"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        (
            "{{ [3, 1, 2]|sort|join(', ') }} {{ '{:>4}'.format(7) }} {{ text|map('upper')|list }}",
            "1, 2, 3    7 ['A', 'B', 'C']",
        ),
        ("{{ 'year 1234567 costs {}'.format(3) if false else text|truncate(2, true, '', 0) }}", "ab"),
        ("{{ [1, 2]|tojson }} {{ {'a': [1]} }}", "[1, 2] {'a': [1]}"),
    ],
)
def test_an_honest_template_is_rendered_as_before(body: str, text: str) -> None:
    assert template(body).render("item", {"text": "abc"}) == text


def test_a_long_item_is_rendered() -> None:
    long = "word " * 1_000_000
    assert template("{{ text|upper }}").render("item", {"text": long}) == long.upper().strip()


def test_a_text_may_look_like_a_format() -> None:
    text = "It costs 1234567 %d {a {b"
    assert template("{{ text.replace('costs', 'took') }} {{ text|upper }}").render("item", {"text": text}) == (
        f"{text.replace('costs', 'took')} {text.upper()}"
    )
