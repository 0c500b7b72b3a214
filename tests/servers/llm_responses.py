"""OpenAI's Responses API over the double of chat completions: what it takes and refuses, and the shape of its replies."""

from __future__ import annotations

from typing import Any

from tests.servers.llm_wire import BadRequest

ONLY_THERE = "This model is only supported in v1/responses and not in v1/chat/completions."
_TAKEN = frozenset(
    {"model", "input", "instructions", "store", "max_output_tokens", "reasoning", "text", "include", "top_logprobs"}
    | {"temperature", "top_p", "prompt_cache_key", "metadata", "service_tier"}
)


def as_chat(data: Any) -> dict[str, Any]:
    """The request as a chat completion's. Raises `BadRequest` as the API does."""
    if not isinstance(data, dict) or not isinstance(data.get("input"), list):
        raise BadRequest("Missing required parameter: 'input'.")
    if unknown := sorted(data.keys() - _TAKEN):
        raise BadRequest(f"Unsupported parameter: '{unknown[0]}'. In the Responses API, this parameter is unknown.")
    if (limit := data.get("max_output_tokens", 16)) < 16:
        raise BadRequest(f"Invalid 'max_output_tokens': integer below minimum value. Expected >= 16, but got {limit}.")
    form = (data.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema" and not (form.get("name") and isinstance(form.get("schema"), dict)):
        raise BadRequest("Missing required parameter: 'text.format.name'.")
    asked = {"model": data.get("model"), "messages": data["input"], "max_tokens": data.get("max_output_tokens")}
    if form:
        asked["response_format"] = {"type": form["type"], "json_schema": form}
    if "message.output_text.logprobs" in data.get("include", ()):
        asked |= {"logprobs": True, "top_logprobs": data.get("top_logprobs", 0)}
    return asked


def from_chat(chat: dict[str, Any]) -> dict[str, Any]:
    """A chat completion as a reply of the Responses API. A model that reasons says so in an item of its own."""
    choice = chat["choices"][0]
    message, finish = choice["message"], choice["finish_reason"]
    logprobs = (choice["logprobs"] or {}).get("content") or []
    part = {"type": "output_text", "text": message["content"], "annotations": [], "logprobs": logprobs}
    if message["refusal"]:
        part = {"type": "refusal", "refusal": message["refusal"]}
    incomplete = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    usage = chat["usage"]
    return {
        "id": chat["id"].replace("chatcmpl", "resp"),
        "object": "response",
        "status": "incomplete" if incomplete else "completed",
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "model": chat["model"],
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            *(
                [{"type": "message", "role": "assistant", "content": [part]}]
                if message["content"] or message["refusal"]
                else []
            ),
        ],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": usage.get("completion_tokens_details") or {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        },
    }
