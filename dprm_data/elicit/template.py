"""Prompt templates: how an item, a persona and the labels become the words that a model reads.

A template is one Jinja file with four blocks, rendered one by one:

    system    who the model is and what the labels mean; the same for every call
    item      the conversation to be judged; the same for every annotator of the item (it never sees the persona)
    persona   who judges, and which answers there are, in an order of this call's own
    prefill   how the answer begins (only where the model is to go on from there)

`system` + `item` come first and `persona` last, so that all annotators of an item share a prefix that providers cache.

Templates run in Jinja's sandbox and see plain data only: strings, numbers, lists and dicts. Texts of items are values, never
templates. Between `{{ fence }}` marks they are material to be judged: the mark is derived from the item's hash and occurs in none of
its texts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError, TemplateSyntaxError

from dprm_data.core.errors import PromptError
from dprm_data.core.resources import bundled_file, bundled_names, is_file
from dprm_data.core.text import did_you_mean
from dprm_data.elicit.sandbox import BoundedEnvironment

_NO_LETTER = re.compile(r"[\W_]+")
BLOCKS = ("system", "item", "persona", "prefill")


@dataclass(frozen=True)
class PromptTemplate:
    """A template's name, its source, and where it came from (for messages)."""

    name: str
    source: str
    origin: str = "<prompt>"

    @cached_property
    def version(self) -> str:
        """A hash of the source: two templates with one version ask the same question."""
        return hashlib.sha256(self.source.encode()).hexdigest()[:12]

    @cached_property
    def _template(self) -> Template:
        try:
            template = BoundedEnvironment().from_string(self.source)
        except TemplateSyntaxError as error:
            raise PromptError(f"{self.origin}, line {error.lineno}: {error.message}") from error
        missing = [name for name in ("item", "persona") if name not in template.blocks]
        if missing:
            raise PromptError(
                f"{self.origin}: no block {missing[0]!r}",
                hint=f"A prompt has the blocks {', '.join(BLOCKS)}; item and persona must be there.",
            )
        return template

    def render(self, block: str, values: dict[str, Any]) -> str:
        """The block's text with these values, stripped; empty where the template has no such block."""
        template = self._template
        if block not in template.blocks:
            return ""
        environment = cast("BoundedEnvironment", template.environment)
        environment.start()
        try:
            return "".join(template.blocks[block](template.new_context(values))).strip()
        except TemplateError as error:  # undefined names, what the sandbox forbids
            raise PromptError(
                f"{self.origin}, block {block}: {error}", hint=f"Names this block may use: {', '.join(sorted(values))}."
            ) from error
        except (
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
            MemoryError,
        ) as error:
            raise PromptError(f"{self.origin}, block {block}: {type(error).__name__}: {error}") from error


def load_prompt(reference: str, base: Path | None = None) -> PromptTemplate:
    """A template by its bundled name, or a `.jinja` file (relative to `base`)."""
    bundled = bundled_file("prompts", reference, ".jinja")
    path = bundled or (base or Path()) / reference
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the name
        known = bundled_names("prompts", ".jinja")
        reason = f"cannot read {path}: {error}" if is_file(path) else f"no prompt template {reference!r}"
        raise PromptError(
            f"{reason}{did_you_mean(reference, known)}",
            hint=f"Give a bundled name ({', '.join(known)}) or a .jinja file that exists.",
        ) from error
    template = PromptTemplate(
        name=path.stem, source=source, origin=str(path) if not bundled else f"bundled prompt {path.stem}"
    )
    template._template  # noqa: B018 - a template that cannot be parsed is refused here, before anything is planned
    return template


def fence(item_id: str, texts: Iterable[str], digits: int = 10) -> str:
    """The mark that fences an item's texts in. It occurs in none of them: not in capitals, not spaced out, not in characters that look the same
    (full-width digits, zero-width spaces between them).

    The mark is the beginning of the item's id. Where a text contains that (found by trying many texts: 40 bits), it is the beginning of a
    hash of the texts, one digit longer each time, so that the search ends for every text. No secret is needed: a text that contains the
    first two marks has to meet 84 bits.
    """
    text = "\n".join(texts).casefold()
    seen = _NO_LETTER.sub("", text if text.isascii() else unicodedata.normalize("NFKC", text).casefold())
    mark = item_id[:digits]
    while not mark.isalnum() or mark.casefold() in seen:
        digits += 1
        mark = hashlib.sha256(f"{digits}\0{item_id}\0{text}".encode(errors="surrogatepass")).hexdigest()[:digits]
    return f"#{mark}#"
