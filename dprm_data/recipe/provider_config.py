"""The `provider` section of a recipe: which model plays the personas, and how it is called."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from dprm_data.core.errors import InputError
from dprm_data.core.key_shapes import is_key, secret_in_url, secrets_in
from dprm_data.core.registry import PROVIDERS
from dprm_data.core.validation import FieldError
from dprm_data.recipe.section import NotNegative, Positive, Section, is_frozen


class PriceConfig(Section):
    """Dollars per million tokens, if the price table lacks the model or is wrong about it."""

    input: NotNegative
    output: NotNegative
    cached: NotNegative | None = None
    cache_write: NotNegative | None = None


class CapabilitiesConfig(Section):
    """What a model can do, where the table of models lacks it or is wrong about it (docs/models.md)."""

    reasons: bool | None = None  # whether it thinks before it answers
    efforts: list[str] | None = None  # how hard it can be made to think, lowest first; none: not at all
    say: str | dict[str, dict[str, Any]] | None = None  # how an effort is said
    refuses: list[str] | None = None  # parameters that it refuses while it thinks
    logprobs: bool | None = None  # whether it gives log-probabilities
    structured: Literal["json_schema", "json_object", "none"] | None = None  # the strictest it has
    reasoning_tokens: NotNegative | None = None  # tokens of thought for one answer, for the plan
    thought_room: Annotated[int, Field(ge=0, le=200_000)] | None = (
        None  # output tokens for thoughts, beside the answer's
    )


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _environment_variable(name: str) -> str:
    # A key in a recipe would end up in run folders and repositories. The message does not repeat it.
    if not _VARIABLE.fullmatch(name) or is_key(name):
        raise ValueError(
            "this is not the name of an environment variable; keys do not belong in a recipe: export the key in the environment, and "
            "give the variable's name here, such as OPENAI_API_KEY (a key that was written here has leaked: renew it)"
        )
    return name


KeyVariable = Annotated[str, AfterValidator(_environment_variable)]  # the NAME of the variable that holds the key


class EndpointConfig(Section):
    """One server, or one key, of a fleet, with its own limits. Defaults are the provider's."""

    base_url: str | None = None
    api_key_env: KeyVariable | None = None
    weight: Positive = 1.0  # share of the items, relative to the others' weights
    concurrency: Annotated[int, Field(gt=0, le=10_000)] | None = None  # concurrent calls
    rpm: Positive | None = None  # requests per minute
    tpm: Positive | None = None  # tokens per minute


class ProviderConfig(Section):
    """Which model plays the personas. `openai` is any server with OpenAI's chat completions API; `local` is a model on this machine."""

    name: str  # of a registered provider, or the family of a provider object passed in Python
    model: str = ""
    base_url: str | None = None
    api_key_env: KeyVariable | None = None
    endpoints: Annotated[list[EndpointConfig], Field(min_length=1, max_length=1000)] | None = None  # docs/fleet.md
    temperature: NotNegative | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(gt=0)] | None = None  # per answer; default: as many as the elicitation needs
    seed: int | None = None
    effort: str | None = None  # how hard a model that reasons thinks; default: as little as it can (docs/models.md)
    timeout: Positive = 120.0  # seconds for one attempt
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    extra: dict[str, Any] = {}  # sent to the provider unchanged
    options: dict[str, Any] = {}  # settings specific to this provider; not sent, and not part of a call's key
    price: PriceConfig | None = None
    capabilities: CapabilitiesConfig | None = None

    @property
    def places(self) -> list[EndpointConfig]:
        """The endpoints, or a single one made from the provider's own settings."""
        return self.endpoints or [EndpointConfig(base_url=self.base_url, api_key_env=self.api_key_env)]

    @property
    def facts(self) -> dict[str, Any]:
        """What the recipe says the model can do."""
        return self.capabilities.model_dump(exclude_none=True) if self.capabilities else {}

    @property
    def kind(self) -> Any:
        """The class registered under `name`, or None."""
        return PROVIDERS.get(self.name) if self.name in PROVIDERS else None

    @field_validator("name")
    @classmethod
    def _registered(cls, name: str, info: ValidationInfo) -> str:
        return name if info.context else PROVIDERS.check(name)

    @field_validator("extra")
    @classmethod
    def _one_request_is_one_answer(cls, extra: dict[str, Any]) -> dict[str, Any]:
        for name in ("stream", "n", "messages"):
            if name in extra:
                raise FieldError(name, "cannot be set: one request is one answer here; use replicates for more")
        return extra

    @model_validator(mode="after")
    def _without_secrets(self, info: ValidationInfo) -> ProviderConfig:
        """A recipe is kept, shown and published. One that was run before is still read; its secrets are masked wherever it is shown."""
        if is_frozen(info):
            return self
        for i, place in enumerate(self.places):
            field = f"endpoints.{i}.base_url" if self.endpoints else "base_url"
            if secret := secret_in_url(place.base_url or ""):
                variable = getattr(self.kind, "url_variable", None) or "the provider's variable for addresses"
                raise FieldError(
                    field,
                    f"{secret} in an address would be kept with the recipe; export a key in the environment and name its variable in "
                    f"api_key_env, or leave base_url out and put the whole address into {variable} (what was written here has leaked: renew it)",
                )
        for name in ("extra", "options"):
            for field in secrets_in(getattr(self, name), name):
                raise FieldError(
                    field,
                    "a key here would be kept with the recipe; export it in the environment and name its variable in api_key_env "
                    "(what was written here has leaked: renew it)",
                )
        return self

    @model_validator(mode="after")
    def _accepted(self) -> ProviderConfig:
        """Refuse settings that the provider does not support."""
        if not (kind := self.kind):
            return self
        for name, reason in kind.refuses.items():
            if getattr(self, name) != type(self).model_fields[name].get_default():
                raise FieldError(name, reason)
        for name in sorted(self.options.keys() - kind.options):
            raise FieldError(
                f"options.{name}", f"{kind.title} has no such option (has: {', '.join(sorted(kind.options)) or 'none'})"
            )
        if kind.needs_model and not self.model:
            raise FieldError(
                "model",
                f"missing; name the model that plays the personas (dprm models list {self.name} lists models)",
            )
        return self

    @model_validator(mode="after")
    def _has_the_effort(self, info: ValidationInfo) -> ProviderConfig:
        if not (kind := self.kind) or is_frozen(info):
            return self
        try:
            able = kind.capabilities(self)
        except InputError as error:
            raise FieldError("capabilities.say", str(error)) from error
        if self.effort is not None and able.known and self.effort not in able.efforts:
            has = ", ".join(able.efforts)
            raise FieldError(
                "effort", f"{self.model} has no effort {self.effort!r} (has: {has or 'none that can be set'})"
            )
        return self

    @model_validator(mode="after")
    def _one_or_many(self) -> ProviderConfig:
        if self.endpoints is None:
            return self
        given = [name for name in ("base_url", "api_key_env") if getattr(self, name) is not None]
        if given:
            raise FieldError(given[0], "with endpoints, give it for each of them")
        places = [(endpoint.base_url, endpoint.api_key_env) for endpoint in self.endpoints]
        if len(set(places)) < len(places):
            raise FieldError("endpoints", "two of them have the same base_url and the same api_key_env")
        return self
