"""The recipe: one YAML file that says what to annotate, with which personas and model, and how to fit and publish the result."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetPydanticSchema,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from dprm_data.core.errors import InputError, RecipeError
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.registry import ELICITATIONS
from dprm_data.core.validation import FieldError
from dprm_data.core.yamlfile import read_model, validated
from dprm_data.recipe.comparisons_config import CompareConfig, ComparisonsConfig
from dprm_data.recipe.consistency import AUTO, check_together, lacks_logprobs
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.recipe.generate_config import GenerateConfig, generators
from dprm_data.recipe.label_names import checked_labels
from dprm_data.recipe.model_config import Design, ModelConfig, check_distinct, only_model
from dprm_data.recipe.people_config import RatingsConfig
from dprm_data.recipe.preferences_config import PreferencesConfig
from dprm_data.recipe.provider_config import EndpointConfig, ProviderConfig
from dprm_data.recipe.ray_config import RayConfig
from dprm_data.recipe.section import NotNegative, Positive, Section, is_frozen, registered


def _elicitation(name: str, info: ValidationInfo) -> str:
    return name if name == AUTO else registered(ELICITATIONS)(name, info)


_DATA = (".jsonl", ".csv", ".tsv", ".parquet", ".xlsx")  # files that somebody may give in place of a recipe


class SourceConfig(Section):
    """Where prompts and responses come from: files on disk (`path`) or a dataset of the Hugging Face Hub (`dataset`)."""

    path: str | None = (
        None  # a file or a folder: .jsonl, .json, .csv, .tsv (each also .gz), .parquet; relative to the recipe
    )
    dataset: str | None = None  # org/name
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    # Our field -> the source's column, if it is not found by its name (dprm_data/ingest/columns.py lists the names).
    columns: dict[
        Literal["prompt", "response", "completion", "responses", "chosen", "rejected", "messages", "system"], str
    ] = {}
    id: str | None = None  # the column with your own ids, if it is not found by its name (id, uid, example_id, …)
    keep: list[str] | None = None  # columns kept as metadata; default: all others
    limit: Annotated[int, Field(gt=0)] | None = None  # rows of the source, from the beginning
    split_column: str | None = None  # the column with each row's split in the published dataset

    @model_validator(mode="after")
    def _one_place(self) -> SourceConfig:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give either path (a file or folder) or dataset (a Hugging Face id)")
        if self.split_column and self.keep is not None and self.split_column not in self.keep:
            raise ValueError(f"split_column: {self.split_column!r} must be among the columns that keep names")
        return self


class PanelConfig(Section):
    """Which personas judge. `use` is the name of a bundled panel, a YAML file, or the panel itself."""

    use: str | dict[str, Any] = "paper"
    sample: Annotated[int, Field(gt=0)] | None = None  # personas per item; all if not given
    stratify: list[str] = []  # attributes whose shares are kept in every sample
    seed: int = 0


class LimitsConfig(Section):
    """How fast the provider is called. Limits that are not set are discovered by starting slowly."""

    concurrency: Annotated[int, Field(gt=0, le=10_000)] = 32
    rpm: Positive | None = None  # requests per minute
    tpm: Positive | None = None  # tokens per minute
    attempts: Annotated[int, Field(gt=0, le=50)] = 6  # per call, before it is recorded as failed
    give_up_after: Positive = 900.0  # seconds without a single answer before the run stops
    # Answers in a row without a label before the run stops; the first few of a run count sooner. 0: it never stops for that.
    give_up_unusable: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    # Seconds without a heartbeat after which a worker on a shared ledger counts as dead (docs/workers.md).
    lease: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 30.0
    poll_every: Positive = 60.0  # seconds between polls of a batch (mode: batch)


class BudgetConfig(Section):
    """What the run may cost. A hard limit: the worst case of every call is reserved before it is sent."""

    max_cost: NotNegative | None = None  # dollars
    allow_unknown_price: bool = False


class EarlyStopConfig(Section):
    """Ask the personas of an item in rounds, and stop when its posterior is narrow enough."""

    within: Positive  # the bound, in units of reward
    # Half the 90 % credible interval of the expected reward, or the expected Wasserstein-1 distance of the distribution from the truth.
    measure: Literal["reward", "wasserstein"] = "reward"
    first: Annotated[int, Field(gt=0)] = 6  # personas in the first round
    step: Annotated[int, Field(gt=0)] = 3  # personas in every further round
    pilot: Annotated[int, Field(ge=20)] = 100  # items annotated by all personas, to learn how items differ


class PriorConfig(Section):
    """Also ask the model once per item for the distribution over a whole population (the paper's prior)."""

    strength: Positive | Literal["auto"] = 2.0  # how many votes the stated distribution counts for


Share = Annotated[float, Field(ge=0, lt=1)]


class PublishConfig(Section):
    """How the dataset is published: its splits, licence, languages and sources."""

    test: Share = 0.1  # of the prompts; the source's split_column takes precedence
    validation: Share = 0.0
    seed: int = 0
    license: str | None = None  # as the Hub spells it: cc-by-4.0, mit, other, ...
    language: list[str] = []  # ISO 639: en, de, ...
    sources: list[str] = []  # origins of the texts, each with its licence
    also: list[Literal["unpaired", "ranked"]] = []  # configs beside the others, which have their texts already
    personal_data: str | None = None  # which personal data it holds, and on what consent; needed to make it public

    @model_validator(mode="after")
    def _something_to_train_on(self) -> PublishConfig:
        if self.test + self.validation >= 1:
            raise ValueError("test and validation together leave nothing to train on")
        return self


def _ledger_address(text: str) -> LedgerAddress:
    try:
        return LedgerAddress.parse(text)
    except InputError as error:
        raise ValueError(str(error)) from error


# A string in the file, parsed when the recipe is validated.
_Ledger = Annotated[
    LedgerAddress,
    GetPydanticSchema(
        lambda source, handler: core_schema.no_info_after_validator_function(
            _ledger_address,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda address: address.text),
        )
    ),
]


class _WithFamily(Protocol):
    family: str


def _panel(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


class Recipe(Section):
    """The settings of a run. Input paths are relative to the recipe's folder, output paths to the working directory."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    source: SourceConfig | None = None
    annotators: Literal["people"] | None = None  # no model is asked: people's ratings are the labels (docs/ratings.md)
    ratings: RatingsConfig | None = None  # people's ratings, the only ones or beside a model's
    comparisons: ComparisonsConfig | None = None  # people's comparisons of two responses (docs/comparisons.md)
    labels: Annotated[str | int | list[str] | dict[str, Any], BeforeValidator(checked_labels)] = "hh6"
    panel: Annotated[PanelConfig, BeforeValidator(_panel)] = PanelConfig()
    elicitation: Annotated[str, AfterValidator(_elicitation)] = AUTO
    compare: CompareConfig = CompareConfig()  # for elicitation: compare
    prompt: str | None = None  # a bundled template's name or a .jinja file; default: the elicitation's
    rationale: bool = False  # also ask for a one-sentence reason, if the elicitation supports it
    show_reasoning: bool = False  # show annotators what the judged model thought, where the messages have it
    prior: PriorConfig | None = None
    models: Annotated[list[ModelConfig], Field(min_length=1, max_length=100)] | None = None  # docs/juries.md
    design: Design = "crossed"  # which models answer as which personas, where there are several
    provider: ProviderConfig | None = None  # the one model, where there are no `models`
    replicates: Annotated[int, Field(gt=0, le=1000)] = 1
    max_reasks: Annotated[int, Field(ge=0, le=10)] = 2
    seed: int = 0
    mode: Literal["direct", "batch"] = "direct"  # batch: the provider's batch API, half the price, within a day
    engine: Literal["direct", "ray"] = "direct"  # ray: distributed over the actors of a Ray cluster
    ray: RayConfig = RayConfig()
    early_stop: EarlyStopConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    budget: BudgetConfig = BudgetConfig()
    fit: FitConfig = FitConfig()
    preferences: PreferencesConfig = PreferencesConfig()
    publish: PublishConfig = PublishConfig()
    generate: GenerateConfig | None = None  # responses are made first, for a source of prompts (docs/generate.md)
    output: str | None = None  # the run folder; default: runs/<name>
    # A file (default: in the run folder), or postgresql://user@host/database.
    ledger: Annotated[_Ledger | None, BeforeValidator(lambda text: text or None)] = None

    _folder: Path = PrivateAttr(default_factory=Path)
    _file: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        """The folder that relative input paths start from."""
        return self._folder

    @property
    def file(self) -> Path | None:
        """The file that the recipe was loaded from; None if it was made in Python."""
        return self._file

    @property
    def entries(self) -> list[ModelConfig]:
        """The models that are asked: those of `models`, or the one of `provider`."""
        return [only_model(self.provider)] if self.provider else list(self.models or ())

    @property
    def places(self) -> list[EndpointConfig]:
        """Where all models are asked."""
        return [place for entry in (*self.entries, *generators(self.generate)) for place in entry.places]

    @property
    def is_demo(self) -> bool:
        """Whether a model among them is too small to say what people think: views and cards say so."""
        return any(entry.kind is not None and entry.kind.is_demo_model(entry.model) for entry in self.entries)

    def limits_of(self, entry: ModelConfig) -> LimitsConfig:
        """The limits of one model: its own, and the recipe's where it sets none.

        Where neither sets `concurrency`, it is the sum over the model's endpoints, if all of them set one.
        """
        own = entry.limits.model_dump(exclude_none=True)
        each = [endpoint.concurrency for endpoint in entry.endpoints or []]
        if each and None not in each and "concurrency" not in {*own, *self.limits.model_fields_set}:
            own["concurrency"] = min(10_000, sum(filter(None, each)))
        return self.limits.model_copy(update=own)

    @property
    def calls_at_once(self) -> int:
        """The maximum number of concurrent calls, to all models together."""
        return sum(self.limits_of(entry).concurrency for entry in self.entries)

    @property
    def shares_ledger(self) -> bool:
        """Whether several processes may write to the ledger at the same time."""
        return self.ledger is not None and self.ledger.shared

    @property
    def output_folder(self) -> Path:
        return Path(self.output or f"runs/{self.name}")

    @field_validator("rationale", "replicates", "early_stop")
    @classmethod
    def _suits_the_elicitation(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.data.get("elicitation")
        if (
            name in (None, AUTO) or name not in ELICITATIONS
        ):  # rejected already, or of a run whose extension is not installed
            return value
        asked = ELICITATIONS.get(name)
        match info.field_name:
            case "rationale" if value and not asked.gives_rationale:
                raise ValueError(f"elicitation: {name} cannot say why; leave it out, or use choice")
            case "replicates" if value > 1 and not asked.repeatable:
                raise ValueError(f"elicitation: {name} gets the same answer when it asks again; leave it at 1")
            case "early_stop" if value and asked.is_calibrated:
                raise ValueError(
                    f"elicitation: {name} is calibrated when all calls are made, too late to stop; leave it out"
                )
        return value

    @field_validator("models")
    @classmethod
    def _are_distinct(cls, models: list[ModelConfig] | None, info: ValidationInfo) -> list[ModelConfig] | None:
        check_distinct(models or [])
        for i, model in enumerate(models or []):
            if reason := lacks_logprobs(model, info.data.get("elicitation"), frozen=is_frozen(info)):
                raise FieldError(f"{i}", f"{model.id}: {reason}")
        return models

    @field_validator("provider")
    @classmethod
    def _one_or_several(cls, provider: ProviderConfig | None, info: ValidationInfo) -> ProviderConfig | None:
        if provider is None and info.data.get("models", ()) is None and info.data.get("annotators", "") is None:
            raise ValueError("missing, and there is no default (annotators: people asks no model)")
        if provider is not None and info.data.get("models"):
            raise ValueError("models says which models are asked; give it or provider, not both")
        if provider is not None:
            reason = lacks_logprobs(provider, info.data.get("elicitation"), frozen=is_frozen(info))
            if reason:
                raise ValueError(reason)
        return provider

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        check_together(self)
        return self

    @model_validator(mode="before")
    @classmethod
    def _begun_before_auto(cls, content: Any, info: ValidationInfo) -> Any:
        """Run folders of earlier versions say nothing where they asked by choice, which was the default."""
        if not is_frozen(info) or not isinstance(content, dict) or content.get("annotators"):
            return content
        return {"elicitation": "choice"} | content

    @model_validator(mode="before")
    @classmethod
    def _asks_an_object(cls, content: Any, info: ValidationInfo) -> Any:
        """Fill in the provider section if the provider is an object: its family becomes the name, its model the default."""
        own = (info.context or {}).get("provider")
        if own is None or not isinstance(content, dict):
            return content
        if content.get("models"):
            raise FieldError("models", "a provider object takes the place of one model; give provider instead")
        section = content.get("provider") or {}
        default = {"model": getattr(own, "model", "") or own.family}
        return content | {
            "provider": default | section | {"name": own.family} if isinstance(section, dict) else section
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, provider: _WithFamily | None = None, frozen: bool = False) -> Recipe:
        """Load a recipe from a YAML file. Raises `RecipeError` with file, line, field, the value found and the values allowed.

        provider: as in `of`. frozen: of an existing run, so its provider need not be installed any more.
        """
        context = {"provider": provider} if provider is not None else {"frozen": True} if frozen else None
        if Path(path).suffix.lower() in _DATA and Path(path).is_file():
            raise RecipeError(f"{path} is data, not a recipe", hint=f"Write a recipe for it: dprm init {path}")
        recipe = read_model(Path(path), cls, RecipeError, "a recipe", context)
        recipe._folder, recipe._file = Path(path).absolute().parent, Path(path)
        return recipe

    @classmethod
    def of(
        cls, given: Recipe | str | os.PathLike[str] | dict[str, Any], *, provider: _WithFamily | None = None
    ) -> Recipe:
        """Return a recipe from a recipe, a file or a dict.

        provider: an object to use instead of the recipe's provider. Its `family` becomes the provider's name; its `model` (or
        its family) is the model if the recipe sets none.
        """
        if isinstance(given, Recipe) and provider is None:
            return given
        if not isinstance(given, Recipe | dict):
            return cls.load(given, provider=provider)
        content = given.model_dump(exclude_unset=True) if isinstance(given, Recipe) else given
        recipe = validated(
            content, cls, RecipeError, "recipe", context={"provider": provider} if provider is not None else None
        )
        if isinstance(given, Recipe):
            recipe._folder, recipe._file = given.folder, given.file
        return recipe
