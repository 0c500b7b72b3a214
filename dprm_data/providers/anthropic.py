"""Anthropic's Messages API, and servers that speak it.

The API has no temperature, top_p, seed or log-probabilities: a recipe that sets them is refused. The system text and the part of the
prompt that all personas of an item share are marked for the prompt cache; prefixes too short to be cached are simply not, at no charge.
`extra` is merged last and wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from dprm_data.core.extras import extra
from dprm_data.providers.dialect import Structured
from dprm_data.providers.failures import NO_KEY, Scrubber
from dprm_data.providers.http_provider import HttpProvider
from dprm_data.providers.learning import EFFORT_FIELDS
from dprm_data.providers.provider import provider
from dprm_data.providers.replies import count, mapping, mappings, without_prefill, word
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Finish, Request, Usage
from dprm_data.providers.token_estimates import output_cap

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.providers.http import JsonClient

DEFAULT_MAX_TOKENS = 1024  # the API wants a number

_FINISH: dict[object, Finish] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
_CACHED = {"type": "ephemeral"}
# What the API's schemas may not contain (it answers 400); the answers are checked against the full schema by their reader anyway.
_UNSUPPORTED = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
    }
)


_ABSENT = ("temperature", "top_p", "seed")  # settings that the API does not have


@provider("anthropic")
class AnthropicProvider(HttpProvider):
    """Asks one server. Needs a running event loop from the first call on, and `aclose` in the end.

    Parameters as of `OpenAIProvider`; structured: `json_schema` is enforced by the server, the others are left to the prompt.
    """

    title = "Anthropic's API"
    has_logprobs = False
    has_batches = True
    price_list = "anthropic"
    key_variable: ClassVar[str | None] = "ANTHROPIC_API_KEY"
    url_variable: ClassVar[str | None] = "ANTHROPIC_BASE_URL"
    default_url = "https://api.anthropic.com"
    path = "/v1/messages"
    refuses: ClassVar[Mapping[str, str]] = {
        name: f"Anthropic's API has no {name}; leave it out, or use a provider that has it (openai, local)"
        for name in _ABSENT
    }
    libraries: ClassVar[tuple[str, ...]] = ("anthropic",)

    def __init__(
        self,
        *,
        api_key: str | None,
        base_url: str = default_url,
        timeout: float = 120.0,
        structured: Structured = "json_schema",
    ) -> None:
        self._api_key, self._url, self._timeout = api_key, base_url, timeout
        self._is_anthropic = urlsplit(base_url).hostname == "api.anthropic.com"
        self.structured = structured

    @cached_property
    def http(self) -> JsonClient:
        """The connection, opened at the first call: importing the SDK takes a second, and a run that only replays answers needs none."""
        import httpx2

        with extra("anthropic", what="the provider anthropic"):
            from anthropic import AsyncAnthropic

        from dprm_data.providers.http import JsonClient

        url = httpx2.URL(self._url)
        # The SDK knows the headers: the version of the API, the key, and those of ANTHROPIC_CUSTOM_HEADERS.
        sdk = AsyncAnthropic(
            api_key=self._api_key or NO_KEY,
            # It says `Authorization: Bearer`; servers made for its older versions look here.
            default_headers={"X-Api-Key": self._api_key} if self._api_key and not self._is_anthropic else None,
        )
        said = sdk.auth_headers | dict(sdk.default_headers)
        headers = {name: value for name, value in said.items() if isinstance(value, str)}
        # Paths begin with /v1: take an address with or without it.
        base = url.copy_with(path=url.path.rstrip("/").removesuffix("/v1") or "/")
        return JsonClient(base, headers, timeout=self._timeout, scrub=Scrubber(self._api_key, url.password))

    def _body(self, request: Request) -> dict[str, Any]:
        """As of `HttpProvider`. Raises `CallFailed` for what the API does not have."""
        params = request.params
        for name in (*_ABSENT, "top_logprobs"):
            if params.get(name) is not None:
                raise CallFailed("rejected", f"Anthropic's API has no {name}")
        extra: dict[str, Any] = dict(params.get("extra") or {})
        system = "\n\n".join(message["content"] for message in request.messages if message["role"] == "system")
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": output_cap(request) or DEFAULT_MAX_TOKENS,
            "messages": _turns(request),
        }
        if system:
            body["system"] = [{"type": "text", "text": system, "cache_control": _CACHED}]
        output: dict[str, Any] = {}
        if not extra.keys() & EFFORT_FIELDS:
            said = request.capabilities.said
            output = said.pop("output_config", {})
            body |= said
        if params.get("schema") is not None and self.structured == "json_schema":
            output["format"] = {"type": "json_schema", "schema": _supported(params["schema"])}
        if output := output | dict(extra.pop("output_config", None) or {}):
            body["output_config"] = output
        return body | extra

    def read(self, data: dict[str, Any], headers: Mapping[str, str], request: Request) -> Answer:
        """A reply's answer. Raises `CallFailed`, with what the reply cost."""
        content = data.get("content")
        usage = _usage(data.get("usage"), mappings(content))
        finish = _FINISH.get(word(data.get("stop_reason")), "stop")
        if not isinstance(content, list) or (not content and finish == "stop"):
            raise CallFailed("broken", "the answer has no content", status=200, headers=dict(headers), usage=usage)
        blocks = [block for block in mappings(content) if block.get("type") == "text"]
        text = "".join(word(block.get("text")) or "" for block in blocks)
        return Answer(
            text=without_prefill(text, request.messages),
            finish=finish,
            usage=usage,
            model=word(data.get("model")) or request.model,
            headers=dict(headers),
        )

    def batches(self) -> BatchProvider:
        from dprm_data.providers.batch_anthropic import AnthropicBatches

        return AnthropicBatches(self)


def _turns(request: Request) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = [
        {"role": message["role"], "content": message["content"]}
        for message in request.messages
        if message["role"] != "system"
    ]
    # Where an answer is asked for again, the last user message is a reminder: the shared part is before it.
    last = next((t for t in reversed(turns) if t["role"] == "user" and len(t["content"]) >= request.shared_chars), None)
    if last is not None and request.shared_chars > 0:
        shared, own = last["content"][: request.shared_chars], last["content"][request.shared_chars :]
        # Blocks of nothing but white space are refused by the API.
        if shared.strip() and own.strip():
            last["content"] = [
                {"type": "text", "text": shared, "cache_control": _CACHED},
                {"type": "text", "text": own},
            ]
    return turns


def _supported(schema: Any) -> Any:
    """The schema without the keywords that the API refuses."""
    if isinstance(schema, list):
        return [_supported(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties" and isinstance(value, dict):  # here the names are the user's, not keywords
            kept[name] = {key: _supported(part) for key, part in value.items()}
        elif name in ("enum", "const", "required"):
            kept[name] = value
        elif name not in _UNSUPPORTED:
            kept[name] = _supported(value)
    return kept


def _usage(usage: object, blocks: list[dict[str, Any]]) -> Usage:
    """Anthropic counts input apart from what the cache gave and took; we count all of it as input.

    blocks: of the content; their thoughts are counted where the server does not.
    """
    if not isinstance(usage, dict):
        return UNREPORTED
    read = count(usage.get("cache_read_input_tokens")) or 0
    written = count(usage.get("cache_creation_input_tokens")) or 0
    plain, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    total = (plain or 0) + read + written
    thought = count(mapping(usage.get("output_tokens_details")).get("thinking_tokens"))
    return Usage(
        input_tokens=total,
        output_tokens=output or 0,
        cached_tokens=read,
        cache_write_tokens=written,
        estimated=plain is None or not total or output is None,  # no request is without input
        reasoning_tokens=min(_thought(blocks, output or 0) if thought is None else thought, output or 0),
    )


def _thought(blocks: list[dict[str, Any]], output: int) -> int:
    """Tokens of thought among so many of output, by their share of the characters."""
    thoughts = sum(len(word(block.get("thinking")) or "") for block in blocks)
    text = sum(len(word(block.get("text")) or "") for block in blocks)
    return math.ceil(output * thoughts / (thoughts + text)) if thoughts else 0
