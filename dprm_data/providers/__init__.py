"""Ways to reach a language model, each a small file behind the protocol in `base`.

The SDKs take a second to import: nothing here imports them before a provider is made.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dprm_data.core.errors import InputError
from dprm_data.providers.provider import Provider
from dprm_data.recipe.recipe import ProviderConfig

if TYPE_CHECKING:
    from dprm_data.providers.batch_api import BatchProvider
    from dprm_data.providers.fleet import Fleet

__all__ = ["check", "make_batch_provider", "make_provider", "model_name"]

_KEY_ENV = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
_URL_ENV = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY_PREFIX = re.compile(r"(sk|pk|rk|xai|gsk|hf)_")  # in small letters: XAI_API_KEY is a variable's name


def make_provider(
    config: ProviderConfig,
    environ: Mapping[str, str] = os.environ,
    *,
    say: Callable[[str], None] | None = None,
) -> Provider:
    """The provider that `config` asks for, ready to be called. Raises `InputError` for what cannot work; sends nothing.

    The key comes from the environment variable that `api_key_env` names (default: OPENAI_API_KEY, ANTHROPIC_API_KEY). A server at a
    `base_url` of its own (in the recipe or, as with the SDKs, in OPENAI_BASE_URL / ANTHROPIC_BASE_URL) is sent the default variable's
    key where it is set, and needs none. Several endpoints are one provider, which tells `say` when one of them goes out or comes back.
    """
    check(config)
    if config.endpoints:
        return _fleet(config, environ, say)
    if config.name == "local":
        from dprm_data.providers.local import LocalProvider

        return LocalProvider(config.model, timeout=config.timeout, structured=config.structured)

    from dprm_data.providers.http import check_base_url

    base_url = config.base_url or environ.get(_URL_ENV[config.name]) or None
    if base_url is not None:
        check_base_url(base_url)
    key = _key(config, environ, needed=base_url is None)
    if config.name == "openai":
        from dprm_data.providers import openai

        return openai.OpenAIProvider(
            api_key=key,
            base_url=base_url or openai.BASE_URL,
            timeout=config.timeout,
            structured=config.structured,
        )
    from dprm_data.providers import anthropic

    return anthropic.AnthropicProvider(
        api_key=key,
        base_url=base_url or anthropic.BASE_URL,
        timeout=config.timeout,
        structured=config.structured,
    )


def make_batch_provider(config: ProviderConfig, environ: Mapping[str, str] = os.environ) -> BatchProvider:
    """The batch API of the provider that `config` asks for. Raises `InputError` as `make_provider` does, and for the local model."""
    if config.name == "local":
        raise InputError(
            "the local model has no batches",
            hint="Leave mode: batch out: they would be no cheaper, calls here cost nothing.",
        )
    if config.endpoints:
        raise InputError(
            "provider.endpoints: a batch belongs to one account",
            hint="Give the one provider's base_url and api_key_env instead of endpoints, or leave mode: batch out.",
        )
    provider = make_provider(config, environ)
    if config.name == "openai":
        from dprm_data.providers import batch_openai, openai

        assert isinstance(provider, openai.OpenAIProvider)
        return batch_openai.OpenAIBatches(provider)
    from dprm_data.providers import anthropic, batch_anthropic

    assert isinstance(provider, anthropic.AnthropicProvider)
    return batch_anthropic.AnthropicBatches(provider)


def check(config: ProviderConfig, *, logprobs: bool = False) -> None:
    """Refuses settings that the provider cannot honour, without importing an SDK or needing a key. Raises `InputError`.

    logprobs: whether the recipe's elicitation reads log-probabilities.
    """
    for name in ("stream", "n", "messages"):
        if name in config.extra:
            raise InputError(
                f"provider.extra.{name}: cannot be set", hint="One request is one answer here; use replicates for more."
            )
    for place in config.places:
        if place.api_key_env is not None:
            _check_env_name(place.api_key_env)
    if config.name == "local":
        for name in ("base_url", "api_key_env"):
            if getattr(config, name) is not None:
                raise InputError(
                    f"provider.{name}: the local model runs in this process and takes no {name}",
                    hint="For a server of your own, use name: openai with its base_url.",
                )
    if config.name == "anthropic":
        if logprobs:
            raise InputError(
                "elicitation: Anthropic's API gives no log-probabilities",
                hint="Use elicitation: choice, or a provider that gives them (openai, local).",
            )
        for name in ("temperature", "top_p", "seed"):
            if getattr(config, name) is not None:
                raise InputError(
                    f"provider.{name}: Anthropic's API has no {name}",
                    hint="Leave it out, or use a provider that has it (openai, local).",
                )


def model_name(config: ProviderConfig) -> str:
    """The model's name as requests carry it and the ledger keeps it; starts nothing. Raises `InputError` where a model file is missing."""
    if config.name != "local":
        return config.model
    from dprm_data.providers import model_file

    return model_file.model_name(config.model)


def _fleet(config: ProviderConfig, environ: Mapping[str, str], say: Callable[[str], None] | None) -> Fleet:
    from urllib.parse import urlsplit

    from dprm_data.providers.endpoint import Endpoint
    from dprm_data.providers.fleet import Fleet

    given = config.endpoints or []
    alone = [{"endpoints": None, "base_url": each.base_url, "api_key_env": each.api_key_env} for each in given]
    providers = [make_provider(config.model_copy(update=own), environ) for own in alone]
    hosts = [urlsplit(each.base_url or environ.get(_URL_ENV[config.name]) or "").netloc for each in given]
    # Without user and password. Two keys at one host are told apart by their variables' names.
    hosts = [host.rpartition("@")[2] or f"{config.name}'s own API" for host in hosts]
    many = Counter(hosts)
    endpoints = []
    for provider, host, each in zip(providers, hosts, given, strict=True):
        endpoint = Endpoint(
            provider,
            place=f"{each.base_url} {each.api_key_env}",
            name=f"{host} ({each.api_key_env or _KEY_ENV[config.name]})" if many[host] > 1 else host,
            weight=each.weight,
            concurrency=each.concurrency,
            rpm=each.rpm,
            tpm=each.tpm,
        )
        endpoints.append(endpoint)
    return Fleet(endpoints, family=config.name, say=say)


def _key(config: ProviderConfig, environ: Mapping[str, str], *, needed: bool) -> str | None:
    variable = config.api_key_env or _KEY_ENV[config.name]
    key = environ.get(variable, "").strip()
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(
            f"the key in the environment variable {variable} has characters that no key has",
            hint="Copy it again: it is one word.",
        )
    if not key and (needed or config.api_key_env is not None):
        raise InputError(
            f"no key for {config.name}: the environment variable {variable} is not set",
            hint=f"Set it: export {variable}=...\n"
            "or name another variable in provider.api_key_env, or annotate without a key with provider.name: local.",
        )
    return key or None


def _check_env_name(name: str) -> None:
    # A key in a recipe would end up in run folders and repositories. It is not echoed.
    if not _ENV_NAME.fullmatch(name) or _KEY_PREFIX.match(name) or len(name) > 64:
        raise InputError(
            "provider.api_key_env: this is not the name of an environment variable",
            hint="Keys do not belong in a recipe. Export the key in the environment, and give the variable's name here, "
            "such as OPENAI_API_KEY. If a key was written here, consider it leaked and renew it.",
        )
