"""Jinja's sandbox with a bound on work: a template cannot multiply, format, join or loop itself out of memory or time.

Every operation that can make much of little is charged to a budget of the rendering before it is done: characters, and a fixed price for
each call and each turn of a loop. What a template writes is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from functools import wraps
from types import GeneratorType
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

BUDGET = 50_000_000  # characters of all texts that one rendering may make
_TURN = 50  # what a turn of a loop, or looking into a list, costs
_CALL = 300  # what a call costs
_MOST_BITS = 10_000  # of an integer
_LARGEST = 1_000_000  # the largest integer that a call may be given, such as a width
_WIDE = re.compile(r"\d{6,}|\{[^{}]*\{")  # a width or a precision in a format; a field within a field


class _Code(CodeGenerator):
    """`~` by the environment's own join."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one template. Raises `SecurityError` where a rendering does too much; `start` begins a rendering."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))
    code_generator_class = _Code

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
            finalize=self._shown,
        )
        self.start()
        self.filters = {name: self._bounded(each) for name, each in self.filters.items()}
        self.filters["format"] = self._format_filter(self.filters["format"])
        self.filters["_counted"] = self._counted

    def start(self) -> None:
        self._left = BUDGET

    def charge(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise SecurityError(f"the template makes more than {BUDGET:,} characters, or loops as long")

    # -- what is charged ------------------------------------------------------------------------------------------------

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        return tree

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.charge(_TURN)
            yield item

    def joined(self, parts: Iterable[Any]) -> str:
        """The parts as one text (`~`)."""
        parts = tuple(parts)
        self.charge(sum(map(self._size, parts)))
        return "".join(map(str, parts))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            self._check_product(left, right)
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int) and abs(left).bit_length() * abs(right) > _MOST_BITS:
                raise SecurityError("a power is too large")
        elif operator == "%" and isinstance(left, str):
            self._check_format(left)
            self._check_call(left, (right,))
        elif operator == "+":
            self.charge(self._length(left) + self._length(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        own = getattr(obj, "__self__", None)
        args = tuple(self._listed(each) for each in args)
        self._check_call(own if isinstance(own, str | list | tuple | dict) else None, (*args, *kwargs.values()))
        found = super().call(context, obj, *args, **kwargs)
        self.charge(self._length(found) if isinstance(found, str | bytes) else 0)
        return found

    def _bounded(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(apply)  # keeps the mark of filters that are passed the context
        def bounded(*args: Any, **kwargs: Any) -> Any:
            args = tuple(self._listed(each) for each in args)
            values = [
                each for each in args if not isinstance(each, Context) and not hasattr(each, "code_generator_class")
            ]
            self._check_call(None, (*values, *kwargs.values()))
            found = apply(*args, **kwargs)
            self.charge(self._length(found) if isinstance(found, str | bytes) else 0)
            return found

        return bounded

    def _check_call(self, own: Any, values: tuple[Any, ...]) -> None:
        """Charge a call for what it can make at most: texts can repeat one another, and numbers can be widths."""
        self.charge(_CALL)
        most = 1
        for value in (own, *values):
            for number in self._numbers(value):
                if abs(number) > _LARGEST:
                    raise SecurityError(
                        f"a call is given the number {str(number)[:20]}; at most {_LARGEST:,} is allowed"
                    )
            most *= max(1, self._size(value))
            if most > BUDGET * 100:
                raise SecurityError("a call could make a text without measure")

    def _format_filter(self, apply: Callable[..., Any]) -> Callable[..., Any]:
        def bounded(text: Any, *args: Any, **kwargs: Any) -> Any:
            self._check_format(text)
            return apply(text, *args, **kwargs)

        return bounded

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`text.format`, where the text may be one that another text was made into."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            self._check_format(value.__self__)
        return wrapped

    @staticmethod
    def _check_format(text: Any) -> None:
        if isinstance(text, str) and _WIDE.search(text):
            raise SecurityError("a format has a width that is too large")

    def _listed(self, value: Any) -> Any:
        """What gives its items one by one, as a list: only that has a size."""
        return (
            list(self._counted(value))
            if isinstance(value, range | GeneratorType | KeysView | ValuesView | ItemsView)
            else value
        )

    @staticmethod
    def _numbers(value: Any) -> Iterator[int]:
        if isinstance(value, int):
            yield value
        elif isinstance(value, tuple | list):
            yield from (each for each in value if isinstance(each, int))

    def _check_product(self, left: Any, right: Any) -> None:
        if isinstance(left, int) and isinstance(right, int):
            if left.bit_length() + right.bit_length() > _MOST_BITS:
                raise SecurityError("a product is too large")
        elif isinstance(left, int) or isinstance(right, int):
            times, repeated = (left, right) if isinstance(left, int) else (right, left)
            self.charge(max(0, times) * self._length(repeated))

    def _shown(self, value: Any) -> Any:
        self.charge(self._size(value))
        return value

    @staticmethod
    def _length(value: Any) -> int:
        return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1

    def _size(self, value: Any) -> int:
        """About how long the value is as a text. Charges for looking into it, as lists can hold one another many times."""
        if isinstance(value, str | bytes):
            return len(value)
        size, stack = 0, [value]
        while stack:
            each = stack.pop()
            size += self._length(each) if isinstance(each, str | bytes) else 1
            if isinstance(each, list | tuple):
                stack.extend(each)
            elif isinstance(each, dict):
                stack.extend(each.keys())
                stack.extend(each.values())
            self.charge(_TURN)
        return size
