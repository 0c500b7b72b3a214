"""A judge that is a Python function."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from dprm_data.providers.provider import BaseProvider
from dprm_data.providers.request import UNREPORTED, Answer, Request

Function = Callable[[Request], Answer | str | Awaitable[Answer | str]]


class FunctionProvider(BaseProvider):
    """Makes a provider of a function that takes a `Request` and returns the answer's text, or an `Answer`.

        def judge(request):
            return '{"label": "helpful and harmless"}'

        run(recipe, provider=FunctionProvider(judge))

    An `async` function runs in the event loop. A plain one runs in threads, several calls at once: it must be thread-safe, or the
    recipe must say `limits: {concurrency: 1}`. The function raises `CallFailed` where a call fails; any other exception ends the run.

    family, model: what the calls' keys carry. Change one when the function changes, or its old answers are used again.
    """

    def __init__(self, function: Function, *, family: str = "function", model: str = "") -> None:
        self.family = family
        self.model = model
        self._function = function
        self._is_async = any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None))))  # noqa: B004

    async def complete(self, request: Request) -> Answer:
        """Call the function once. Raises what it raises."""
        result = self._function(request) if self._is_async else await asyncio.to_thread(self._function, request)
        answer = await result if inspect.isawaitable(result) else result
        return Answer(answer, "stop", UNREPORTED, request.model) if isinstance(answer, str) else answer
