"""OpenAI's chat completions: OpenAI itself, and every server that speaks its language (vLLM, llama.cpp, Ollama, Azure, gateways).

Where servers differ, a `Dialect` says how: that of the address (OpenAI, Azure, anybody else), or that of a provider with a name of its own
(`dprm_data.providers.presets`). `extra: {prompt_cache_key: auto}` in the recipe sends OpenAI's cache key to other servers, too. `extra` is
merged last and wins over everything. A prefill (a trailing assistant message) is continued by llama.cpp as it is; vLLM
wants `extra: {continue_final_message: true, add_generation_prompt: false}`; OpenAI's own models do not continue it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

from dprm_data.core.errors import InputError
from dprm_data.providers.characters import expected_tokens
from dprm_data.providers.dialect import Dialect, Structured, dialect_of, weaker
from dprm_data.providers.failures import NO_KEY, Scrubber
from dprm_data.providers.http_provider import USER_AGENT, HttpProvider
from dprm_data.providers.learning import EFFORT_FIELDS
from dprm_data.providers.provider import provider
from dprm_data.providers.replies import count, mapping, mappings, shown, without_prefill, word
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Finish, Request, Usage
from dprm_data.providers.thoughts import split_thoughts
from dprm_data.providers.token_estimates import output_cap

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.providers.http import JsonClient
    from dprm_data.recipe.provider_config import ProviderConfig

# Log-probabilities that are none are left out. Rounding makes some a little more than 0; -9999 stands for "impossible" at some servers.
LEAST_LOGPROB, MOST_LOGPROB = -1e5, 1e-3

_ACCOUNTS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
_FINISH: dict[object, Finish] = {"length": "length", "content_filter": "content_filter"}


@provider("openai")
class OpenAIProvider(HttpProvider):
    """Asks one server. Needs a running event loop from the first call on, and `aclose` in the end.

    api_key: None where the server needs none; timeout: seconds for one attempt, all in all; structured: how an answer's JSON schema is
    enforced (`json_schema`: by the server, strictly; `json_object`: some JSON; `none`: not at all).
    """

    title = "OpenAI's API"
    has_batches = True
    price_list = "openai"
    key_variable: ClassVar[str | None] = "OPENAI_API_KEY"
    url_variable: ClassVar[str | None] = "OPENAI_BASE_URL"
    default_url = "https://api.openai.com/v1"
    path = "chat/completions"
    libraries = ("aiohttp",)
    options = frozenset({"api"})  # `responses`: by the Responses API, always (`responses`)
    api: str | None = None
    dialect: ClassVar[Dialect | None] = None  # None: that of the address

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str = default_url,
        timeout: float = 120.0,
        structured: Structured = "json_schema",
    ) -> None:
        self._api_key, self._url, self._timeout = api_key, base_url, timeout
        self.address = base_url
        self._dialect = self.dialect or dialect_of(urlsplit(base_url).hostname or "")
        self.structured = weaker(self._dialect.structured, structured)

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        """Raises `InputError` as `HttpProvider` does, and for an API that there is not."""
        made = super().from_config(config, environ)
        made.api = config.options.get("api")
        if made.api not in (None, "responses"):
            raise InputError(
                f"provider.options.api: {made.api!r} is not an API of {cls.title}",
                hint="Give responses, or leave it out: models that answer only there are asked there anyway.",
            )
        return made

    @cached_property
    def http(self) -> JsonClient:
        """The connection, opened at the first call: a run that only replays answers needs none."""
        import httpx2

        from dprm_data.providers.responses import ResponsesClient

        url = httpx2.URL(self._url)
        headers = {"Authorization": f"Bearer {self._api_key or NO_KEY}", "User-Agent": USER_AGENT}
        if (header := self._dialect.key_header) and self._api_key:
            headers[header] = self._api_key
        # As OpenAI's own clients do.
        accounts = {name: os.environ.get(variable) for name, variable in _ACCOUNTS.items()}
        headers |= {name: value for name, value in accounts.items() if value}
        made = ResponsesClient(url, headers, timeout=self._timeout, scrub=Scrubber(self._api_key, url.password))
        made.always = self.api == "responses"
        return made

    def _body(self, request: Request) -> dict[str, Any]:
        params = request.params
        extra: dict[str, Any] = dict(params.get("extra") or {})
        body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
        dialect = self._dialect
        able = request.capabilities
        for name, field in (("temperature", "temperature"), ("top_p", "top_p"), ("seed", dialect.seed)):
            if field and params.get(name) is not None and name not in able.refuses:
                body[field] = params[name]
        if not extra.keys() & EFFORT_FIELDS:
            body |= able.said
        if params.get("max_tokens") is not None and not extra.keys() & {"max_tokens", "max_completion_tokens"}:
            body[dialect.limit] = output_cap(request)
        if wanted := params.get("top_logprobs"):
            body["logprobs"] = True
            body["top_logprobs"] = min(wanted, dialect.most_logprobs or wanted)
        if params.get("schema") is not None:
            body |= _response_format(params["schema"], weaker(self.structured, able.structured))
        if request.cache_hint and (dialect.cache_key or extra.get("prompt_cache_key") == "auto"):
            body["prompt_cache_key"] = request.cache_hint
        if extra.get("prompt_cache_key") == "auto":
            del extra["prompt_cache_key"]
        return body | extra

    def read(self, data: dict[str, Any], headers: Mapping[str, str], request: Request) -> Answer:
        """A reply's answer. Raises `CallFailed`, with what the reply cost."""
        choice = next(iter(mappings(data.get("choices"))), {})
        message = choice.get("message")
        usage = _usage(data.get("usage"), mapping(message))
        if not isinstance(message, dict):
            raise CallFailed("broken", "the answer has no choices", status=200, headers=dict(headers), usage=usage)
        if choice.get("finish_reason") == "error" or choice.get("error"):
            # Gateways report a provider that broke off in mid-answer like this.
            raise CallFailed(
                "server",
                self.http.scrub(f"the answer broke off: {shown(choice.get('error'))}"),
                status=200,
                headers=dict(headers),
                usage=usage,
            )
        text = _text(message.get("content"))
        finish = _FINISH.get(word(choice.get("finish_reason")), "stop")
        if message.get("refusal"):
            text, finish = text or shown(message["refusal"]), "refusal"
        top = None
        if request.params.get("top_logprobs"):
            top = _top_logprobs(choice.get("logprobs"))
            if not top and finish in ("stop", "length"):
                raise CallFailed(
                    "rejected",
                    "the server returned no log-probabilities",
                    status=200,
                    headers=dict(headers),
                    usage=usage,
                )
        return Answer(
            text=without_prefill(text, request.messages),
            finish=finish,
            usage=usage,
            model=word(data.get("model")) or request.model,
            top_logprobs=top,
            headers=dict(headers),
        )

    def batches(self) -> BatchProvider:
        if self.api == "responses":
            raise InputError("options.api: responses has no batches here", hint="Leave mode: batch out.")
        from dprm_data.providers.batch_openai import OpenAIBatches

        return OpenAIBatches(self)


def _response_format(schema: dict[str, Any], structured: str) -> dict[str, Any]:
    if structured == "json_schema":
        return {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": schema, "strict": True},
            }
        }
    return {"response_format": {"type": "json_object"}} if structured == "json_object" else {}


def _text(content: object) -> str:
    if isinstance(content, list):  # some servers answer in parts
        return "".join(word(part.get("text")) or "" for part in mappings(content))
    return content if isinstance(content, str) else ""


def _usage(usage: object, message: Mapping[str, Any]) -> Usage:
    """Tokens as billed. message: whose thoughts are counted where the server does not."""
    if not isinstance(usage, dict):
        return _with_thoughts(UNREPORTED, message)
    details = mapping(usage.get("prompt_tokens_details"))
    read, written = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    thought = count(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    # xAI and Gemini count thoughts beside the completion: the total then is more than the sum, or thoughts more than the completion.
    beside = max(0, (count(usage.get("total_tokens")) or 0) - read - written) if read and written is not None else 0
    if written is not None and (beside or (thought or 0) > written):
        written, thought = written + (beside or thought or 0), thought or beside
    known = Usage(
        input_tokens=read or 0,
        output_tokens=written or 0,
        cached_tokens=count(details.get("cached_tokens")) or count(usage.get("prompt_cache_hit_tokens")) or 0,
        cache_write_tokens=count(details.get("cache_write_tokens")) or 0,
        estimated=not read or written is None,  # no request is without input
        reasoning_tokens=min(thought or 0, written or 0),
    )
    return known if thought else _with_thoughts(known, message)


def _with_thoughts(usage: Usage, message: Mapping[str, Any]) -> Usage:
    """The usage with the thoughts that the message shows, by their share of its characters, and the output where it was not reported."""
    text, apart = _text(message.get("content")), _thoughts(message)
    thoughts, characters = len(apart) + len(split_thoughts(text)[0]), len(apart) + len(text)
    if not thoughts:
        return usage
    output = usage.output_tokens or math.ceil(expected_tokens(apart + text))
    return replace(usage, output_tokens=output, reasoning_tokens=math.ceil(output * thoughts / characters))


def _thoughts(message: Mapping[str, Any]) -> str:
    """Thoughts that a server puts beside the answer: in a field of their own (DeepSeek, vLLM, SGLang, OpenRouter), or in parts (Mistral)."""
    for name in ("reasoning_content", "reasoning"):
        if text := word(message.get(name)):
            return text
    parts = [part for part in mappings(message.get("content")) if part.get("type") == "thinking"]
    return "".join(_text(part.get("thinking")) for part in parts)


def _top_logprobs(logprobs: object) -> tuple[tuple[str, float], ...]:
    first = next(iter(mappings(mapping(logprobs).get("content"))), {})
    pairs = [
        (entry["token"], float(entry["logprob"]))
        for entry in mappings(first.get("top_logprobs"))
        if isinstance(entry.get("token"), str)
        and isinstance(entry.get("logprob"), int | float)
        and LEAST_LOGPROB <= entry["logprob"] <= MOST_LOGPROB
    ]
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))
