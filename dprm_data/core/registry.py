"""Registries map the names used in recipes and commands to providers, elicitations, families and so on.

A decorator registers a class or function; built-in ones use the same decorators:

    @provider("ours")
    class OurProvider: ...

Built-in modules are imported when one of their names is first looked up. An installed package extends a registry by an entry point in the
group `dprm_data` that names the module with its decorators; the user need not import it:

    [project.entry-points.dprm_data]
    ours = "our_package.provider"
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from dprm_data.core.errors import DprmError, InputError
from dprm_data.core.text import did_you_mean, one_line

GROUP = "dprm_data"

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(Generic[T]):
    """The registered names of one kind.

    kind: the noun in messages. builtin: the names that this project registers, each with its module.
    """

    def __init__(self, kind: str, builtin: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self._builtin = dict(builtin or {})
        self._found: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator that registers a class or function under this name. Raises `ValueError` if the name is taken."""

        def decorate(target: Registered) -> Registered:
            present: Any = self._found.get(name)
            if present is not None and _origin(present) != _origin(target):
                raise ValueError(f"the {self.kind} {name!r} is registered already, by {'.'.join(_origin(present))}")
            self._found[name] = target  # type: ignore[assignment]  # each package's own decorator has the exact type
            return target

        return decorate

    def get(self, name: str) -> T:
        """Return the entry of this name. Raises `InputError` with the known names if there is none."""
        if name not in self._found and name in self._builtin:
            importlib.import_module(self._builtin[name])
        if name not in self._found:
            load_extensions()
        if name not in self._found:
            raise InputError(self._unknown(name))
        return self._found[name]

    def names(self) -> list[str]:
        """Return all names: the built-in ones in their own order, then those of extensions."""
        load_extensions()
        return list(dict.fromkeys([*self._builtin, *sorted(self._found)]))

    def __contains__(self, name: str) -> bool:
        """Whether the name is registered. Does not import built-in modules."""
        return name in self._builtin or name in self._found or name in self.names()

    def check(self, name: str) -> str:
        """Return the name itself, to validate a field. Raises `ValueError` if it is not registered."""
        if name not in self:
            raise ValueError(self._unknown(name))
        return name

    def _unknown(self, name: str) -> str:
        names = self.names()
        return (
            f"there is no {self.kind} {one_line(name, 60)!r}{did_you_mean(name, names)} (installed: {', '.join(names)})"
        )


@cache
def load_extensions() -> None:
    """Import the modules that installed packages name in the entry-point group `dprm_data`. Raises `DprmError` if one cannot be imported."""
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:
            owner = point.dist.name if point.dist else point.value
            raise DprmError(
                f"the extension {point.name!r} of the package {owner} cannot be loaded: {type(error).__name__}: {error}",
                hint=f"Mend or uninstall it: pip uninstall {owner}.",
            ) from error


def _origin(target: Any) -> tuple[str, str]:
    """Where a class or function is defined. Unchanged when its module is reloaded."""
    return target.__module__, target.__qualname__


PROVIDERS: Registry[Any] = Registry(
    "provider",
    {
        "openai": "dprm_data.providers.openai",
        "anthropic": "dprm_data.providers.anthropic",
        "local": "dprm_data.providers.local",
        "bedrock": "dprm_data.providers.anthropic_clouds",
        "vertex": "dprm_data.providers.anthropic_clouds",
    }
    | dict.fromkeys(
        [
            "openrouter",
            "gemini",
            "mistral",
            "groq",
            "deepseek",
            "together",
            "fireworks",
            "xai",
            "azure",
            "ollama",
            "lmstudio",
            "vllm",
            "sglang",
            "llamacpp",
        ],
        "dprm_data.providers.presets",
    ),
)
ELICITATIONS: Registry[Any] = Registry(
    "elicitation",
    {
        "choice": "dprm_data.elicit.choice",
        "compare": "dprm_data.elicit.side_by_side",
        "logprobs": "dprm_data.elicit.logprobs",
        "distribution": "dprm_data.elicit.distribution",
        "best_worst": "dprm_data.elicit.best_worst",
        "compare_logprobs": "dprm_data.elicit.compare_logprobs",
    },
)
FAMILIES: Registry[Any] = Registry(
    "family",
    dict.fromkeys(
        ("empirical", "dirichlet", "beta", "beta-dirichlet", "mixture", "auto"), "dprm_data.preference.families"
    ),
)
SMOOTHINGS: Registry[Any] = Registry(
    "smoothing", dict.fromkeys(("targeted", "uniform", "cost", "none"), "dprm_data.preference.smoothing")
)
PANEL_SOURCES: Registry[Any] = Registry(
    "panel source", dict.fromkeys(("bundled", "file", "raked"), "dprm_data.panel.panel_sources")
)
LEDGER_STORES: Registry[Any] = Registry(
    "ledger store",  # by the scheme of its addresses; a path is an address of sqlite
    {
        "sqlite": "dprm_data.ledger.sqlite",
        "postgresql": "dprm_data.ledger.postgres",
        "postgres": "dprm_data.ledger.postgres",
    },
)
LOSSES: Registry[Any] = Registry(
    "loss",
    dict.fromkeys(("ot", "wasserstein", "ce", "cramer", "ordinal", "utility", "bt"), "dprm_trainers.reward.loss_terms"),
)
RISK_MEASURES: Registry[Any] = Registry(
    "risk measure",
    dict.fromkeys(("mean", "quantile", "cvar", "std", "entropic"), "dprm_trainers.reward.risk_measures"),
)
