"""From a recipe's `provider` section to a provider that is ready to be called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dprm_data.core.errors import InputError
from dprm_data.core.registry import PROVIDERS
from dprm_data.providers.http_provider import HttpProvider
from dprm_data.providers.provider import BaseProvider, Provider
from dprm_data.recipe.provider_config import ProviderConfig

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.providers.fleet import Fleet


def make_provider(
    config: ProviderConfig,
    environ: Mapping[str, str] = os.environ,
    *,
    say: Callable[[str], None] | None = None,
) -> Provider:
    """The provider that `config` asks for. Raises `DprmError` for what cannot work; sends nothing.

    environ: where keys come from. say: called for what the user should know: parameters that the model refuses, endpoints of a fleet that go
    out or come back.
    """
    kind: type[BaseProvider] = PROVIDERS.get(config.name)
    if config.endpoints:
        return _fleet(kind, config, environ, say)
    return _telling(kind.from_config(config, environ), config, say)


def check_keys(config: ProviderConfig, environ: Mapping[str, str] = os.environ) -> None:
    """Raise `InputError` for a key or an address that is missing or cannot be one. Opens no connection, and starts no model of this machine."""
    kind: type[BaseProvider] = PROVIDERS.get(config.name)
    if issubclass(kind, HttpProvider):
        for each in _each_place(config):
            kind.from_config(each, environ)


def _each_place(config: ProviderConfig) -> list[ProviderConfig]:
    """The section once for every endpoint that it names, or as it is."""
    own = [
        {"endpoints": None, "base_url": each.base_url, "api_key_env": each.api_key_env}
        for each in config.endpoints or []
    ]
    return [config.model_copy(update=each) for each in own] or [config]


def _telling(provider: BaseProvider, config: ProviderConfig, say: Callable[[str], None] | None) -> BaseProvider:
    """The provider; `say` is told what it leaves out."""
    if say is None or not isinstance(provider, HttpProvider):
        return provider
    provider.learned.say = say
    refused = [
        name for name in sorted(provider.capabilities(config).refuses) if getattr(config, name, None) is not None
    ]
    if refused:
        say(f"{config.model} refuses {' and '.join(refused)} while it reasons: left out")
    return provider


def make_batch_provider(
    config: ProviderConfig, environ: Mapping[str, str] = os.environ, *, say: Callable[[str], None] | None = None
) -> BatchProvider:
    """The batch API of the provider that `config` asks for. Raises `DprmError` as `make_provider` does, and where it has none."""
    kind: type[BaseProvider] = PROVIDERS.get(config.name)
    if not kind.has_batches:
        raise InputError(f"{kind.title} has no batches", hint="Leave mode: batch out.")
    if config.endpoints:
        raise InputError(
            "provider.endpoints: a batch belongs to one account",
            hint="Give the one provider's base_url and api_key_env instead of endpoints, or leave mode: batch out.",
        )
    return _telling(kind.from_config(config, environ), config, say).batches()


def _fleet(
    kind: type[BaseProvider], config: ProviderConfig, environ: Mapping[str, str], say: Callable[[str], None] | None
) -> Fleet:
    from dprm_data.providers.endpoint import Endpoint
    from dprm_data.providers.fleet import Fleet

    configs = config.endpoints or []
    providers = [kind.from_config(each, environ) for each in _each_place(config)]
    first = _telling(providers[0], config, say)
    for provider in providers[1:]:
        if isinstance(first, HttpProvider) and isinstance(provider, HttpProvider):
            provider.learned = first.learned  # they serve one model
    hosts = [urlsplit(each.base_url or environ.get(kind.url_variable or "") or "").netloc for each in configs]
    # Without user and password. If two endpoints share a host, the names of their key variables distinguish them.
    hosts = [host.rpartition("@")[2] or f"{config.name}'s own API" for host in hosts]
    many = Counter(hosts)
    endpoints = []
    for provider, host, each in zip(providers, hosts, configs, strict=True):
        endpoint = Endpoint(
            provider,
            place=f"{each.base_url} {each.api_key_env}",
            name=f"{host} ({each.api_key_env or kind.key_variable})" if many[host] > 1 else host,
            weight=each.weight,
            concurrency=each.concurrency,
            rpm=each.rpm,
            tpm=each.tpm,
        )
        endpoints.append(endpoint)
    return Fleet(endpoints, family=config.name, say=say)
