"""Which providers and models are known: where they are, what they cost, how hard they think, whether they give log-probabilities.

Prices are those of the genai-prices table that is installed, at this moment; what models can do is `providers/capabilities`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.registry import PROVIDERS
from dprm_data.core.text import did_you_mean
from dprm_data.providers.capabilities import capabilities_of
from dprm_data.providers.provider import BaseProvider


@dataclass(frozen=True)
class ProviderEntry:
    """One provider. key_variable: None where no key of its own is needed; has_key: whether that is set; models: in the price table."""

    name: str
    title: str
    address: str
    key_variable: str | None
    has_key: bool | None
    models: int
    logprobs: bool
    batches: bool
    free: bool

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class ModelEntry:
    """One model at one provider. Prices are dollars per million tokens, at the beginning of the context where they rise with its length.

    reasons, logprobs: None where that is not known.
    """

    name: str
    input: float
    output: float
    cached: float | None
    context: int | None
    reasons: bool | None
    efforts: tuple[str, ...]
    logprobs: bool | None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self) | {"efforts": list(self.efforts)}


def provider_entries(environ: Mapping[str, str] = os.environ) -> list[ProviderEntry]:
    """All registered providers, ours and those of installed packages. No value of a variable is in it."""
    return [_provider(name, PROVIDERS.get(name), environ) for name in PROVIDERS.names()]


def _provider(name: str, kind: type[BaseProvider], environ: Mapping[str, str]) -> ProviderEntry:
    variable = None if kind.is_free else kind.key_variable
    return ProviderEntry(
        name=name,
        title=kind.title,
        address=kind.default_url,
        key_variable=variable,
        has_key=bool(environ.get(variable, "").strip()) if variable else None,
        models=len(model_entries(name)),
        logprobs=kind.has_logprobs,
        batches=kind.has_batches,
        free=kind.is_free,
    )


def model_entries(name: str, search: str = "") -> list[ModelEntry]:
    """The models that a provider sells and that answer in text, without those that are called deprecated, in the price table's order.

    search: a part of their names. Raises `InputError` for a provider that is not registered.
    """
    kind: type[BaseProvider] = PROVIDERS.get(name)
    found = [_model(name, kind, model) for model in _sold(kind)]
    return [entry for entry in found if entry is not None and search.lower() in entry.name.lower()]


def _sold(kind: type[BaseProvider]) -> Iterable[Any]:
    if not kind.price_list or kind.is_free:
        return ()
    from genai_prices.data import providers

    models = next((seller.models for seller in providers if seller.id == kind.price_list), ())
    return (model for model in models if kind.models_like in model.id)


def _model(name: str, kind: type[BaseProvider], model: Any) -> ModelEntry | None:
    prices = model.get_prices(datetime.now(UTC))
    read, written = _dollars(prices.input_mtok), _dollars(prices.output_mtok)
    speaks_or_draws = any(
        name.startswith("output_") and name != "output_mtok" and price for name, price in vars(prices).items()
    )
    if model.deprecated or read is None or written is None or speaks_or_draws:
        return None
    able = capabilities_of(name, model.id)
    return ModelEntry(
        name=model.id.replace("regional.", "us.", 1),  # the table's word for Bedrock's us., eu., apac. ...
        input=read,
        output=written,
        cached=_dollars(prices.cache_read_mtok),
        context=model.context_window,
        reasons=able.reasons if able.known else None,
        efforts=able.efforts,
        logprobs=able.logprobs if kind.has_logprobs else False,
    )


def _dollars(price: Any) -> float | None:
    return None if price is None else float(getattr(price, "base", price))


def like_a_sold_one(provider: str, model: str) -> str:
    """`did_you_mean` among the provider's models; empty if its models are unknown, or if this is one of them."""
    names = [entry.name for entry in model_entries(provider)] if provider in PROVIDERS else []
    return "" if model in names else did_you_mean(model, names)


def needs_models(name: str) -> None:
    """Raises `InputError` for a provider whose models are not in the price table."""
    kind: type[BaseProvider] = PROVIDERS.get(name)
    if not kind.price_list or kind.is_free:
        raise InputError(
            f"{kind.title} has no list of models: it serves what was loaded there",
            hint=f"To see whether one answers: dprm models check {name} MODEL.",
        )
