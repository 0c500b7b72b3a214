"""JSON over HTTP to a cloud, where every request is addressed and signed by the Anthropic SDK's client for that cloud.

The client's own hooks do that: `_prepare_options` puts the model into the path and the API's version into the body, `_prepare_request` adds what
proves who asks.
"""

from __future__ import annotations

import re
from typing import Any

import httpx2
import orjson
from anthropic._models import FinalRequestOptions

from dprm_data.providers.failures import Scrubber, plain
from dprm_data.providers.http import JsonClient, Reply
from dprm_data.providers.http_provider import USER_AGENT
from dprm_data.providers.request import CallFailed

_NO_MODEL = re.compile(r"model identifier is invalid|model (?:id )?(?:is )?not found", re.IGNORECASE)


class SignedClient(JsonClient):
    """Posts what Anthropic's Messages API takes. sdk: addresses and signs it. cloud: whose credentials do, for messages."""

    def __init__(self, sdk: Any, *, cloud: str, timeout: float, scrub: Scrubber) -> None:
        super().__init__(httpx2.URL(str(sdk.base_url)), {"User-Agent": USER_AGENT}, timeout=timeout, scrub=scrub)
        self.sdk, self.cloud = sdk, cloud

    async def aclose(self) -> None:
        await super().aclose()
        await self.sdk.close()

    async def post(self, path: str, body: dict[str, Any]) -> Reply:
        """The decoded reply. Raises `CallFailed`, or `ContentFiltered`."""
        options = await self.sdk._prepare_options(FinalRequestOptions(method="post", url=path, json_data=body))
        content = orjson.dumps(options.json_data)
        try:
            return await self.send("POST", options.url, content, headers=await self._signed(options.url, content))
        except CallFailed as error:
            if error.kind == "rejected" and _NO_MODEL.search(error.message):
                error.kind = "not_found"
            raise

    async def _signed(self, path: str, content: bytes) -> dict[str, str]:
        """The headers that prove who asks. Raises `CallFailed` where there are no credentials."""
        address = f"{str(self.sdk.base_url).rstrip('/')}/{path.lstrip('/')}"
        request = httpx2.Request("POST", address, headers={"Content-Type": "application/json"}, content=content)
        try:
            await self.sdk._prepare_request(request)
        except Exception as error:  # of boto3, botocore, google-auth and requests, each with its own errors
            kind = "connection" if type(error).__name__ in ("TransportError", "EndpointConnectionError") else "key"
            said = self.scrub(plain(str(error) or type(error).__name__, 300))
            raise CallFailed(kind, f"no credentials for {self.cloud}: {said}", sent=False) from None  # type: ignore[arg-type]
        return dict(request.headers)
