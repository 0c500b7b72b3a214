"""A provider behind an HTTP API: how its address and its key are found, and how a request is sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dprm_data.core.errors import InputError
from dprm_data.providers.dialect import Structured
from dprm_data.providers.failures import ContentFiltered, plain
from dprm_data.providers.learning import Learned
from dprm_data.providers.provider import BaseProvider
from dprm_data.providers.request import UNREPORTED, Answer, CallFailed, Request

if TYPE_CHECKING:
    from dprm_data.providers.http import JsonClient
    from dprm_data.recipe.provider_config import ProviderConfig


USER_AGENT = "dprm-data"


class HttpProvider(BaseProvider):
    """Made from an address and a key.

    The key comes from the environment variable that the recipe's `api_key_env` names (default: `key_variable`). A server at a `base_url`
    of its own (in the recipe or, as with the SDKs, in `url_variable`) is sent the default variable's key where it is set, and needs none.
    """

    path: ClassVar[str]  # of a request, behind the address

    @cached_property
    def learned(self) -> Learned:
        """What the server has refused so far."""
        return Learned()

    @abstractmethod
    def __init__(self, *, api_key: str | None, base_url: str, timeout: float, structured: Structured) -> None: ...

    @cached_property
    @abstractmethod
    def http(self) -> JsonClient:
        """The connection, opened at the first call."""

    @abstractmethod
    def _body(self, request: Request) -> dict[str, Any]:
        """The JSON of `request` for a server that refuses nothing."""

    @abstractmethod
    def read(self, data: dict[str, Any], headers: Mapping[str, str], request: Request) -> Answer:
        """A reply's answer. Raises `CallFailed`, with what the reply cost."""

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON that is sent for `request`. Raises `CallFailed` for what the API does not have."""
        return self.learned.applied(self._body(request))

    def refused(self, error: CallFailed, request: Request) -> bool:
        """Whether to send the request again: the server named a parameter that is left out from now on."""
        return self.learned.taught(error, self._body(request), request)

    async def complete(self, request: Request) -> Answer:
        """Send the request once; again, and differently, where the server names a parameter that it refuses. Raises `CallFailed`."""
        try:
            data, headers = await self.learned.sent(self.http, self.path, self.body, request)
        except ContentFiltered:
            return Answer("", "content_filter", UNREPORTED, request.model)
        return self.read(data, headers, request)

    async def aclose(self) -> None:
        if "http" in vars(self):
            await self.http.aclose()

    @classmethod
    def from_config(cls, config: ProviderConfig, environ: Mapping[str, str]) -> Self:
        """Raises `InputError` for an address that is none, and for a key that is missing or cannot be one."""
        base_url = config.base_url or environ.get(cls.url_variable or "") or None
        if base_url is not None:
            _check_base_url(base_url)
        elif not cls.default_url:
            raise InputError(
                f"provider.base_url: missing; {cls.title} has a different address for every account",
                hint="Give yours, up to and including the version.",
            )
        key = cls._key(config.api_key_env, environ, is_needed=base_url is None and not cls.is_free)
        return cls(
            api_key=key, base_url=base_url or cls.default_url, timeout=config.timeout, structured=config.structured
        )

    @classmethod
    def _key(cls, api_key_env: str | None, environ: Mapping[str, str], *, is_needed: bool) -> str | None:
        variable = api_key_env or cls.key_variable
        if variable is None:
            return None
        key = environ.get(variable, "").strip()
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise InputError(
                f"the key in the environment variable {variable} has characters that no key has",
                hint="Copy it again: it is one word.",
            )
        if not key and (is_needed or api_key_env is not None):
            raise InputError(
                f"no key for {cls.family}: the environment variable {variable} is not set",
                hint=f"Set it: export {variable}=...\n"
                "or name another variable in provider.api_key_env, or annotate without a key with provider.name: local.",
            )
        return key or None


def _check_base_url(base_url: str) -> None:
    import httpx2  # slow to import

    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL:
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise InputError(
            f"provider.base_url: {plain(base_url, 80)!r} is not a web address",
            hint="Give the address up to and including the version, such as http://localhost:8000/v1.",
        )
