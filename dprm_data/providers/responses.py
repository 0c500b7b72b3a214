"""OpenAI's Responses API, for the models that answer nowhere else (those called pro and codex, for instance).

A request is put from chat completions' words into those of the Responses API, and the reply back, so that all else (dialects, output limits,
reading) is `openai`'s. `options: {api: responses}` in the recipe asks by it always; without that it is asked for a model that the server
refuses in chat completions, from the first refusal on (which costs nothing). Calls have the same keys either way.

What differs: there is no seed; an answer has 16 tokens at least, so an answer by log-probabilities may cost 15 more than was reserved for it;
nothing is stored at the provider (`store: false`). Sources: https://platform.openai.com/docs/guides/migrate-to-responses and the API reference.
"""

from __future__ import annotations

import re
from typing import Any

from dprm_data.providers.http import JsonClient, Reply
from dprm_data.providers.replies import mapping, mappings, word
from dprm_data.providers.request import CallFailed

CHAT, RESPONSES = "chat/completions", "responses"
_LEAST_TOKENS = 16
_ONLY_THERE = re.compile(r"only (?:supported|available) in (?:the )?/?v1/responses|not a chat model", re.IGNORECASE)
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesClient(JsonClient):
    """Posts chat completions, by the Responses API where that is wanted (`always`) or the server wants it for the model."""

    always = False
    _models: frozenset[str] = frozenset()  # that were refused in chat completions

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """The decoded reply, in chat completions' words. Raises `CallFailed`, or `ContentFiltered`."""
        if path != CHAT:
            return await super().post(path, body)
        if not self.always and body["model"] not in self._models:
            try:
                return await super().post(path, body)
            except CallFailed as error:
                if error.status not in (400, 404) or not _ONLY_THERE.search(error.message):
                    raise
            self._models |= {body["model"]}
        reply = await super().post(RESPONSES, as_response(body))
        return Reply(as_chat(reply.data), reply.headers)


def as_response(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat completion for the Responses API. Fields that have the same name there are kept, and so are unknown ones."""
    body = dict(body)
    sent: dict[str, Any] = {"model": body.pop("model"), "input": body.pop("messages"), "store": False}
    limits = [body.pop(name, None) for name in ("max_completion_tokens", "max_tokens")]
    if limit := next(filter(None, limits), None):
        sent["max_output_tokens"] = max(limit, _LEAST_TOKENS)
    if effort := body.pop("reasoning_effort", None):
        sent["reasoning"] = {"effort": effort}
    if form := body.pop("response_format", None):
        sent["text"] = {"format": {"type": form["type"]} | form.get("json_schema", {})}
    if body.pop("logprobs", None):
        sent["include"] = ["message.output_text.logprobs"]
    body.pop("seed", None)
    return sent | body


def as_chat(data: dict[str, Any]) -> dict[str, Any]:
    """A reply of the Responses API as a chat completion; without `choices` where there is no message in it and no reason for that."""
    parts = [
        part
        for item in mappings(data.get("output"))
        if item.get("type") == "message"
        for part in mappings(item.get("content"))
    ]
    said = [part for part in parts if part.get("type") == "output_text"]
    refusals = [word(part.get("refusal")) or "refused" for part in parts if part.get("type") == "refusal"]
    finish = _REASONS.get(word(mapping(data.get("incomplete_details")).get("reason")) or "", "stop")
    choice = {
        "message": {
            "content": "".join(word(part.get("text")) or "" for part in said),
            "refusal": "".join(refusals) or None,
        },
        "finish_reason": finish,
        "logprobs": {"content": [entry for part in said for entry in mappings(part.get("logprobs"))]},
    }
    chat: dict[str, Any] = {"model": data.get("model"), "choices": [choice] if parts or finish != "stop" else []}
    if isinstance(usage := data.get("usage"), dict):
        chat["usage"] = {
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
            "total_tokens": usage.get("total_tokens"),
            "prompt_tokens_details": usage.get("input_tokens_details"),
            "completion_tokens_details": usage.get("output_tokens_details"),
        }
    return chat
