"""Claude at two clouds, over the double of Anthropic's Messages API: their paths, their bodies, who asks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import unquote

_BEDROCK = re.compile(r"/model/([^/]+)/invoke")
_VERTEX = re.compile(r"/projects/([^/]+)/locations/([^/]+)/publishers/anthropic/models/([^/]+):rawPredict")
_VERSION = re.compile(r"(bedrock-|vertex-)?20\d\d-\d\d-\d\d")


class Refused(Exception):
    """How a cloud refuses: its status, and its words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = json.dumps({"message": message}).encode()  # Amazon's form


def model_in(path: str) -> str | None:
    """The model that a cloud's path names; None for another path."""
    path = unquote(path)
    if found := _BEDROCK.fullmatch(path):
        return found[1]
    found = _VERTEX.fullmatch(path)
    return found[3] if found else None


def as_message(headers: Mapping[str, str], raw: bytes, model: str) -> bytes:
    """The body as the Messages API has it. Raises `Refused`."""
    if not is_signed(headers):
        raise Refused(403, "The security token included in the request is invalid.")
    if model == "unknown":
        raise Refused(400, "The provided model identifier is invalid.")
    data = json.loads(raw)
    if "model" in data or not _VERSION.fullmatch(data.pop("anthropic_version", "")):
        raise Refused(400, "Malformed input request: extraneous key [model], or no anthropic_version")
    return json.dumps(data | {"model": model}).encode()


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether the request says who asks: a bearer, or AWS's signature of at least the host, the date and the body's type."""
    authorization = headers.get("Authorization", "")
    if authorization.startswith("Bearer ") and len(authorization) > 12:
        return True
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=\w+/\d{8}/[a-z0-9-]+/bedrock/aws4_request, SignedHeaders=(\S+), Signature=[0-9a-f]{64}",
        authorization,
    )
    return (
        bool(found) and {"host", "x-amz-date", "content-type"} <= set(found[1].split(";")) and "X-Amz-Date" in headers
    )
