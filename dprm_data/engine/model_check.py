"""Asks a configured provider a question in a few ways, and says what works: four requests, six at most.

Nothing is kept: these are no calls of a run. A failure that every request would meet (key, account, model, address) is raised as a sentence;
what only one way of asking meets is a finding, with what to change in the recipe.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dprm_data.core.errors import DprmError, InputError, ProviderUnusable
from dprm_data.core.format import money
from dprm_data.core.text import did_you_mean, one_line
from dprm_data.elicit.elicitation import object_schema
from dprm_data.elicit.parsing import Unreadable, json_object
from dprm_data.engine.model_list import model_entries
from dprm_data.engine.prices import Prices, prices_for
from dprm_data.providers.construction import make_provider
from dprm_data.providers.provider import BaseProvider, Provider, provider_class
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.recipe.provider_config import ProviderConfig

_LABELS = ["helpful", "not helpful"]
_SCHEMA = object_schema({"label": {"type": "string", "enum": _LABELS}})
_QUESTION = (
    "A person asked an AI assistant: What is the capital of France?\nThe assistant said: Paris.\n"
    "How was the response, helpful or not helpful?"
)
_AS_JSON = ' Reply with JSON only: {"label": "<helpful or not helpful>"}'
_MOST_TOKENS = 400
_REQUESTS = 6  # at most


@dataclass(frozen=True)
class Finding:
    """One way of asking. works: None where the provider has no such thing; change: what to change in the recipe, if anything."""

    what: str
    works: bool | None
    said: str
    change: str = ""
    seconds: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class ModelCheck:
    """What was found. model: as the server calls it; cost: dollars of all requests, None where a price or count is not known."""

    provider: str
    model: str
    findings: tuple[Finding, ...]
    requests: int
    cost: float | None
    prices: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def check_model(
    config: ProviderConfig, *, max_cost: float = 0.5, environ: Mapping[str, str] = os.environ
) -> ModelCheck:
    """Ask the provider. Raises `DprmError` for what no request survives, and `InputError` where the questions could cost more than `max_cost`."""
    prices = prices_for(config, allow_unknown=True)
    worst = prices.worst(_request(config, _QUESTION, max_tokens=_MOST_TOKENS))
    if worst is not None and worst * _REQUESTS > max_cost:
        raise InputError(
            f"asking {config.model} could cost {money(worst * _REQUESTS)}, more than {money(max_cost)}",
            hint="To allow it, raise the limit: --max-cost DOLLARS.",
        )
    return asyncio.run(_Check(config, prices, environ).run())


def _request(config: ProviderConfig, text: str, **params: Any) -> Request:
    asked: dict[str, Any] = dict(params) | ({"extra": config.extra} if config.extra else {})
    name = provider_class(config.name).model_name(config.model)
    capabilities = provider_class(config.name).capabilities(config)
    return Request(name, ({"role": "user", "content": text},), asked, capabilities=capabilities)


class _Check:
    def __init__(self, config: ProviderConfig, prices: Prices, environ: Mapping[str, str]) -> None:
        self._config = config
        self._kind: type[BaseProvider] = provider_class(config.name)
        self._prices = prices
        self._environ = environ
        self._requests = 0
        self._costs: list[float | None] = []
        self._model = config.model
        self._changes: list[str] = []  # what the provider has learned to send otherwise, in words

    async def run(self) -> ModelCheck:
        provider = make_provider(self._config, self._environ, say=self._changes.append)
        getattr(provider, "http", None)  # imports an SDK, which is not the first question's time
        try:
            findings = [
                *await self._plain(provider),
                *await self._schema(provider),
                await self._logprobs(provider),
                await self._sampling(provider),
            ]
        finally:
            await provider.aclose()
        cost = None if None in self._costs else sum(cost for cost in self._costs if cost is not None)
        return ModelCheck(self._config.name, self._model, tuple(findings), self._requests, cost, self._prices.source)

    async def _ask(self, provider: Provider, text: str, **params: Any) -> tuple[Answer | CallFailed, dict[str, Any]]:
        """What came of one request, with its seconds and its cost. Raises `DprmError` for a failure that every request would meet."""
        self._requests += 1
        self._changes.clear()
        began = time.monotonic()
        result: Answer | CallFailed
        try:
            result = await provider.complete(_request(self._config, text, **{"max_tokens": _MOST_TOKENS} | params))
        except CallFailed as error:
            result = error
        usage = result.usage
        billed = isinstance(result, Answer) or usage.input_tokens > 0
        cost = (None if usage.estimated else self._prices.cost(usage)) if billed else 0.0
        self._costs.append(cost)
        if isinstance(result, CallFailed) and result.kind != "rejected":
            raise await self._unusable(result, provider)
        return result, {"seconds": round(time.monotonic() - began, 3), "cost": cost}

    async def _plain(self, provider: Provider) -> list[Finding]:
        answer, spent = await self._ask(provider, _QUESTION)
        if isinstance(answer, CallFailed):
            return [Finding("answers", False, f"it refused the question: {answer.message}", **spent)]
        self._model = answer.model
        if answer.finish == "length" and not answer.text.strip():
            said = f"it used all {_MOST_TOKENS} tokens before it said a word: it thinks before it answers"
            found = Finding("answers", False, said, "provider.max_tokens: 4000, or a lower effort", **spent)
        else:
            found = Finding("answers", bool(answer.text.strip()), f"it said: {one_line(answer.text, 80)!r}", **spent)
        usage = answer.usage
        if usage.estimated:
            said = "it does not report the tokens of an answer: costs are estimated from characters"
            return [found, Finding("token counts", False, said)]
        return [found, Finding("token counts", True, f"{usage.input_tokens} in, {usage.output_tokens} out")]

    async def _schema(self, provider: Provider) -> list[Finding]:
        """Structured output: as the recipe has it, else the next weaker form that works."""
        found = await self._structured(provider, self._config.structured)
        if found.works or self._config.structured == "none":
            return [found]
        for weaker in ("json_object", "none"):
            if weaker == self._config.structured:
                continue
            config = self._config.model_copy(update={"structured": weaker})
            other = make_provider(config, self._environ, say=self._changes.append)
            try:
                again = await self._structured(other, weaker)
            finally:
                await other.aclose()
            if again.works:
                return [Finding(**asdict(found) | {"change": f"provider.structured: {weaker}"}), again]
        return [found]

    async def _structured(self, provider: Provider, form: str) -> Finding:
        answer, spent = await self._ask(provider, _QUESTION + _AS_JSON, schema=_SCHEMA)
        what = f"structured: {form}"
        if isinstance(answer, CallFailed):
            return Finding(what, False, f"refused: {answer.message}", **spent)
        if change := self._changed("format", "json"):
            return Finding(what, False, change, **spent)
        try:
            label = json_object(answer.text).get("label")
        except Unreadable as error:
            return Finding(what, False, f"no JSON: {error}", **spent)
        works = label in _LABELS
        return Finding(what, works, f"it chose {label!r}" + ("" if works else ", which was not asked for"), **spent)

    async def _logprobs(self, provider: Provider) -> Finding:
        what, instead = "log-probabilities", "elicitation: choice, not logprobs"
        if not self._kind.has_logprobs:
            return Finding(what, None, f"{self._kind.title} gives none", instead)
        answer, spent = await self._ask(provider, _QUESTION, max_tokens=1, top_logprobs=20)
        if isinstance(answer, CallFailed):
            return Finding(what, False, answer.message, instead, **spent)
        many = len(answer.top_logprobs or ())
        return Finding(what, many > 0, f"of {many} tokens a position", "" if many else instead, **spent)

    async def _sampling(self, provider: Provider) -> Finding:
        params = {"temperature": 0.7, "seed": 1}
        taken = {name: value for name, value in params.items() if name not in self._kind.refuses}
        what = " and ".join(params)
        if not taken:
            return Finding(what, None, f"{self._kind.title} has neither", "leave both out")
        answer, spent = await self._ask(provider, _QUESTION, **taken)
        if isinstance(answer, CallFailed):
            return Finding(what, False, f"refused: {answer.message}", f"leave {' and '.join(taken)} out", **spent)
        if change := self._changed(*taken):
            return Finding(what, False, change, "none: a run leaves it out", **spent)
        return Finding(" and ".join(taken), True, "accepted", **spent)

    def _changed(self, *words: str) -> str | None:
        """The change that the last request taught, where it names one of these words: what was asked for is not what was answered."""
        return next(
            (each for each in self._changes if any(word in each.partition(" from now on")[0] for word in words)), None
        )

    async def _unusable(self, error: CallFailed, provider: Provider) -> DprmError:
        """The failure as a sentence: what is wrong, and what to do."""
        title, model = self._kind.title, self._config.model
        variable = self._config.api_key_env or self._kind.key_variable
        match error.kind:
            case "key":
                whose = f"the key in {variable}" if variable else "the credentials"
                return ProviderUnusable(
                    f"{title} rejects {whose}: {error.message}", hint="Renew it or set another one."
                )
            case "billing":
                return ProviderUnusable(
                    f"{title} says that the account cannot pay: {error.message}", hint="Add credit to the account."
                )
            case "not_found":
                guess = did_you_mean(model, await self._names(provider))
                return InputError(
                    f"{title} has no model {model!r}{guess} (it said: {error.message})",
                    hint=f"To list models: dprm models list {self._config.name}.",
                )
            case "connection" | "timeout":
                return ProviderUnusable(
                    f"{title} cannot be reached: {error.message}",
                    hint="Check provider.base_url, and that the server runs.",
                )
            case "rate_limit" | "overloaded":
                return ProviderUnusable(f"{title} accepts no requests now: {error.message}", hint="Try again later.")
        return ProviderUnusable(
            f"{title} failed: {error.message}", hint="Try again later. If it keeps failing, the fault is the server's."
        )

    async def _names(self, provider: Provider) -> list[str]:
        """Names of models: those that the server lists, and those of the price table."""
        listed: list[str] = []
        if http := getattr(provider, "http", None):
            try:
                data = (await http.get("models")).data.get("data")
            except CallFailed:
                data = None
            listed = [each["id"] for each in data or () if isinstance(each, dict) and isinstance(each.get("id"), str)]
        return [*listed[:10_000], *(entry.name for entry in model_entries(self._config.name))]
