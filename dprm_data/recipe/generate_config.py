"""The `generate` section of a recipe: responses are made first, for prompts that have none (docs/generate.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from dprm_data.core.validation import FieldError
from dprm_data.recipe.model_config import ModelConfig, check_distinct
from dprm_data.recipe.section import NotNegative, Section, is_frozen

Strategy = Literal["independent", "spread", "weak_strong"]

Text = Annotated[str, Field(min_length=1, max_length=20_000)]


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


class GenerateConfig(Section):
    """Which models answer the prompts, how often, and what they are told beside the prompt."""

    models: Annotated[list[ModelConfig], Field(min_length=1, max_length=100)]  # weak_strong: the weaker one first
    per_prompt: Annotated[int, Field(gt=0, le=1000)] = 4  # responses to a prompt, of all models together
    strategy: Strategy = "independent"
    per_call: Annotated[int, Field(ge=2, le=10)] = 4  # spread: responses that one call is asked for
    temperatures: list[NotNegative] = []  # shared out over a model's responses; a model's own `temperature` comes first
    # System prompts, and principles to follow (UltraFeedback's way): one of each is drawn for every response.
    system: Annotated[list[Text], BeforeValidator(_one_or_more)] = []
    principles: Annotated[list[Text], BeforeValidator(_one_or_more)] = []
    max_tokens: Annotated[int, Field(gt=0, le=200_000)] = 1024  # of a response; a model's own `max_tokens` comes first
    seed: int = 0  # of what is drawn: models, temperatures, system prompts, principles
    existing: Literal["rate", "leave_out"] = "rate"  # responses that the source has: rated beside the generated ones

    @field_validator("models")
    @classmethod
    def _are_generators(cls, models: list[ModelConfig], info: ValidationInfo) -> list[ModelConfig]:
        check_distinct(models)
        for i, model in enumerate(models):
            if model.weight != 1.0 and not is_frozen(info):
                raise FieldError(f"{i}.weight", "is of a model's votes; leave it out")
        return models

    @field_validator("temperatures", "system", "principles")
    @classmethod
    def _differ(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("has one of them twice")
        return values

    @model_validator(mode="after")
    def _suits_the_strategy(self) -> GenerateConfig:
        if self.strategy == "weak_strong" and len(self.models) != 2:
            raise FieldError("models", f"weak_strong takes two, the weaker one first (found {len(self.models)})")
        if self.strategy != "independent" and self.per_prompt == 1:
            raise FieldError("per_prompt", f"strategy: {self.strategy} makes responses to be compared: give 2 or more")
        if self.strategy != "spread" and "per_call" in self.model_fields_set:
            raise FieldError("per_call", "is for strategy: spread; leave it out")
        return self


def generators(config: GenerateConfig | None) -> list[ModelConfig]:
    """The models that make responses; none without the section."""
    return config.models if config else []


def check_generate(recipe: Any) -> None:
    """Check the section against the rest of the recipe. Raises `FieldError`."""
    config: GenerateConfig | None = recipe.generate
    if config is None:
        return
    if recipe.engine == "ray":
        raise FieldError(
            "engine", "the actors of a cluster rate and do not generate; start several workers instead, or leave it out"
        )
    if config.per_prompt == 1 and getattr(recipe, "preferences", None) and "preferences" in recipe.model_fields_set:
        raise FieldError(
            "generate.per_prompt", "one response makes no pair, which preferences is about; give 2 or more"
        )
    if recipe.mode == "batch":
        _check_batches(config)


def _check_batches(config: GenerateConfig) -> None:
    if len(config.models) > 1:
        raise FieldError("mode", "a run's batches belong to one model; with several in generate, leave mode: batch out")
    [model] = config.models
    if model.kind and not model.kind.has_batches:
        raise FieldError("mode", f"{model.kind.title}, in generate, has no batches; leave mode: batch out")
    if model.endpoints:
        raise FieldError(
            "mode", "a batch belongs to one account; give generate's model no endpoints, or leave mode out"
        )
