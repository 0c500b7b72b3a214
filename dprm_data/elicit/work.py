"""The work: which annotations a recipe asks for, item by item.

Plan, engine and replay all walk the same `Work`, so that what is priced, what is paid and what is counted cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from dprm_data.core.registry import ELICITATIONS
from dprm_data.elicit.distribution import Distribution
from dprm_data.elicit.elicitation import Elicitation, Prefix, Task
from dprm_data.elicit.jury import Juror, Jury, check_named_models, weighted
from dprm_data.elicit.template import PromptTemplate
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel, Persona
from dprm_data.providers.provider import provider_class
from dprm_data.recipe.consistency import AUTO
from dprm_data.recipe.model_config import ModelConfig
from dprm_data.recipe.provider_config import ProviderConfig
from dprm_data.recipe.recipe import EarlyStopConfig, PanelConfig, Recipe

# Rises when this program asks differently for the same recipe: items that were done under the old way are looked at again.
_ASKING_VERSION = 1

# Who "answers" when the model states a whole population's distribution.
POPULATION = Persona(
    id="population", name="Population", description="people of all ages, backgrounds, values and degrees of expertise"
)


@dataclass(frozen=True)
class Work:
    """Everything that decides what is asked.

    jury: the models that are asked as the panel and, where the recipe has a prior, once per item for the whole population's distribution.
    only: the one of them whose part of the work this is.
    """

    jury: Jury
    panel: Panel
    panel_config: PanelConfig
    replicates: int
    early_stop: EarlyStopConfig | None = None
    only: Juror | None = None

    @property
    def asked(self) -> tuple[Juror, ...]:
        """The models whose tasks these are."""
        return (self.only,) if self.only else self.jury.jurors

    @property
    def parts(self) -> dict[str, Work]:
        """Each model's part of the work, by the model's id. Together they have the same tasks."""
        return {juror.id: replace(self, only=juror) for juror in self.jury.jurors}

    @property
    def elicitation(self) -> Elicitation:
        """How the panel is asked. (Models differ in name and parameters only: this is the first one's.)"""
        return self.asked[0].elicitation

    @property
    def prior(self) -> Elicitation | None:
        """How the first model is asked for the whole population's distribution."""
        return self.asked[0].prior

    @property
    def elicitations(self) -> tuple[Elicitation, ...]:
        """How the panel is asked, and how the model for the whole population; none where no model is asked."""
        return tuple(each for each in (self.elicitation, self.prior) if each) if self.asked else ()

    @property
    def space(self) -> LabelSpace:
        return self.elicitation.space

    def tasks(self, item: Item) -> list[Task]:
        """All annotations of one item, the population's first."""
        return list(self._tasks(item))

    def _tasks(self, item: Item) -> Iterator[Task]:
        if self.prior:
            prefix = self.prior.open(item)
            for juror in self.asked:
                if juror.prior:
                    yield juror.prior.task(prefix, weighted(POPULATION, juror.weight), 0)
        prefix = self.elicitation.open(item)
        drawn_by = self.elicitation.drawn_by(item)
        personas = self.elicitation.answering(item, self.panel.for_item(drawn_by, self.panel_config))
        for persona, juror in self.jury.seats(drawn_by, personas):
            if self.only is None or juror.id == self.only.id:
                for replicate in range(self.replicates):
                    yield juror.elicitation.task(prefix, persona, replicate)

    @property
    def annotations_per_item(self) -> int:
        """The number of tasks of an item: the mean, where items differ (a part of a balanced jury), and at least one where anybody is asked."""
        return max(self.annotations_of(1), 1) if self.asked else 0

    def annotations_of(self, items: int) -> int:
        """The number of tasks of so many items."""
        if not self.asked:
            return 0
        people = self.jury.answers_per_item(self.panel, self.panel_config.sample, self.only)
        votes = people * self.elicitation.part_asked * self.replicates
        return round(items * votes) + items * sum(juror.prior is not None for juror in self.asked)

    def calibration_tasks(self) -> list[Task]:
        """What must be asked to calibrate each model, once per run."""
        return [task for juror in self.asked for task in juror.elicitation.calibration_tasks()]

    def prefix_keys(self, item: Item) -> tuple[bytes, ...]:
        """What every call about the item begins with, hashed: calls that are the same begin the same, whichever recipe makes them."""
        opened = [each.open(item) for each in (self.elicitation, self.prior) if each]
        keys = {_beginning(juror.elicitation, prefix) for juror in self.asked for prefix in opened}
        return tuple(sorted(keys))

    def keys_of(self, tasks: Iterable[Task]) -> tuple[bytes, ...]:
        """Hashes of these tasks' beginnings, sorted: 16 bytes each."""
        return tuple(sorted({_beginning(task.elicitation, task.prefix) for task in tasks}))

    def plan_key(self) -> bytes:
        """A hash of all that decides which calls an item needs, but the item: 16 bytes."""
        asked = [_identity(each) for juror in self.asked for each in (juror.elicitation, juror.prior) if each]
        panel = [persona.model_dump(mode="json") for persona in self.panel.personas]
        drawn = self.panel_config.model_dump(
            mode="json", exclude={"use"}
        )  # a panel is its personas, whatever it was named by
        identity = [_ASKING_VERSION, asked, panel, drawn, self.replicates]
        if self.early_stop:
            identity.append(self.early_stop.model_dump(mode="json"))
            if self.prior:
                identity.append("every item has a prior")  # it was left out of some before
        if len(self.jury.jurors) > 1 and (self.jury.design == "balanced" or any(p.model for p in self.panel.personas)):
            # Who answers as whom depends on all models. (In a crossed jury each part is what it would be alone.)
            identity.append([self.jury.design, [juror.id for juror in self.jury.jurors], self.only and self.only.id])
        return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).digest()[:16]


def is_population(annotator: Persona) -> bool:
    """Whether the annotator is the population as a whole and not a persona of the panel."""
    return (annotator.id, annotator.description) == (POPULATION.id, POPULATION.description)


def _beginning(elicitation: Elicitation, prefix: Prefix) -> bytes:
    beginning = [elicitation.family, elicitation.model, prefix.system, prefix.shared]
    return hashlib.sha256(orjson.dumps(beginning)).digest()[:16]


def _identity(elicitation: Elicitation) -> dict[str, Any]:
    names = ("family", "model", "params", "max_tokens", "rationale", "max_reasks", "seed")
    identity = {name: getattr(elicitation, name) for name in names}
    if elicitation.show_reasoning:
        identity["show_reasoning"] = True
    return (
        identity
        | elicitation.identity
        | {
            "kind": elicitation.name,
            "space": elicitation.space.model_dump(mode="json"),
            "template": elicitation.template.version,
        }
    )


def make_work(
    recipe: Recipe,
    space: LabelSpace,
    panel: Panel,
    template: PromptTemplate,
    prior_template: PromptTemplate | None,
    *,
    names: Mapping[str, str] | None = None,
) -> Work:
    """The work of a recipe whose parts have been loaded. Raises `PanelError` for a persona that names a model which is not there.

    names: the name that requests carry, by the model's id, where it is not the recipe's `model`.
    """
    entries = recipe.entries
    mean = sum(entry.weight for entry in entries) / len(entries)
    check_named_models(panel, [entry.id for entry in entries])

    def made(entry: ModelConfig, cls: type[Elicitation], template: PromptTemplate, *, rationale: bool) -> Elicitation:
        return cls(
            **{"space": space} | cls.settings(recipe),
            template=template,
            family=entry.name,
            model=(names or {}).get(entry.id, entry.model),
            params=call_params(entry),
            max_tokens=entry.max_tokens,
            rationale=rationale,
            max_reasks=recipe.max_reasks,
            seed=recipe.seed,
            model_id=entry.id,
            capabilities=provider_class(entry.name).capabilities(entry),
            show_reasoning=recipe.show_reasoning,
        )

    # A run has put another in the place of `auto` before it comes here (runs/auto_elicitation.py).
    panel_asked = ELICITATIONS.get("choice" if recipe.elicitation == AUTO else recipe.elicitation)
    jurors = [
        Juror(
            id=entry.id,
            elicitation=made(entry, panel_asked, template, rationale=recipe.rationale),
            prior=made(entry, Distribution, prior_template, rationale=False) if prior_template else None,
            weight=entry.weight / mean,
        )
        for entry in entries
    ]
    return Work(
        jury=Jury(tuple(jurors), recipe.design, recipe.panel.seed),
        panel=panel,
        panel_config=recipe.panel,
        replicates=recipe.replicates,
        early_stop=recipe.early_stop,
    )


def call_params(provider: ProviderConfig) -> dict[str, Any]:
    """What is sent beside the messages, and so is part of a call's key."""
    params: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_p", "seed", "effort")
        if (value := getattr(provider, name)) is not None
    }
    if provider.extra:
        params["extra"] = provider.extra
    if provider.structured != "json_schema":
        params["structured"] = provider.structured
    return params
