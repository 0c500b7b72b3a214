"""The work: which annotations a recipe asks for, item by item.

Plan, engine and replay all walk the same `Work`, so that what is priced, what is paid and what is counted cannot differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from dprm_data.core.registry import ELICITATIONS
from dprm_data.elicit.distribution import Distribution
from dprm_data.elicit.elicitation import Elicitation, Prefix, Task
from dprm_data.elicit.template import PromptTemplate
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.personas import Panel, Persona
from dprm_data.recipe.recipe import AUTO, EarlyStopConfig, PanelConfig, Recipe

# Rises when this program asks differently for the same recipe: items that were done under the old way are looked at again.
_ASKING_VERSION = 1

# Who "answers" when the model states a whole population's distribution.
POPULATION = Persona(
    id="population", name="Population", description="people of all ages, backgrounds, values and degrees of expertise"
)


@dataclass(frozen=True)
class Work:
    """Everything that decides what is asked.

    elicitation asks the panel; prior (where the recipe has one) asks the model once per item for the whole population's distribution.
    """

    elicitation: Elicitation
    panel: Panel
    panel_config: PanelConfig
    replicates: int
    prior: Elicitation | None = None
    early_stop: EarlyStopConfig | None = None

    @property
    def space(self) -> LabelSpace:
        return self.elicitation.space

    @property
    def family(self) -> str:
        return self.elicitation.family

    def tasks(self, item: Item) -> list[Task]:
        """All annotations of one item, the population's first."""
        return list(self._tasks(item))

    def _tasks(self, item: Item) -> Iterator[Task]:
        if self.prior:
            yield self.prior.task(self.prior.open(item), POPULATION, 0)
        prefix = self.elicitation.open(item)
        for persona in self.panel.for_item(item.item_id, self.panel_config):
            for replicate in range(self.replicates):
                yield self.elicitation.task(prefix, persona, replicate)

    @property
    def annotations_per_item(self) -> int:
        people = min(self.panel_config.sample or len(self.panel.personas), len(self.panel.personas))
        return people * self.replicates + (self.prior is not None)

    def calibration_tasks(self) -> list[Task]:
        return self.elicitation.calibration_tasks()

    def prefix_keys(self, item: Item) -> tuple[bytes, ...]:
        """What every call about the item begins with, hashed: calls that are the same begin the same, whichever recipe makes them."""
        return self.keys_of(elicitation.open(item) for elicitation in (self.elicitation, self.prior) if elicitation)

    def keys_of(self, prefixes: Iterable[Prefix]) -> tuple[bytes, ...]:
        """Hashes of these beginnings, sorted: 16 bytes each."""
        model = self.elicitation.model
        beginnings = ([self.family, model, prefix.system, prefix.shared] for prefix in prefixes)
        return tuple(sorted({hashlib.sha256(orjson.dumps(each)).digest()[:16] for each in beginnings}))

    def plan_key(self) -> bytes:
        """A hash of all that decides which calls an item needs, but the item: 16 bytes."""
        asked = [_identity(elicitation) for elicitation in (self.elicitation, self.prior) if elicitation]
        panel = [persona.model_dump(mode="json") for persona in self.panel.personas]
        drawn = self.panel_config.model_dump(
            mode="json", exclude={"use"}
        )  # a panel is its personas, whatever it was named by
        identity = [_ASKING_VERSION, asked, panel, drawn, self.replicates]
        if self.early_stop:
            identity.append(self.early_stop.model_dump(mode="json"))
            if self.prior:
                identity.append("every item has a prior")  # it was left out of some before
        return hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).digest()[:16]


def _identity(elicitation: Elicitation) -> dict[str, Any]:
    names = ("family", "model", "params", "max_tokens", "rationale", "max_reasks", "seed")
    identity = {name: getattr(elicitation, name) for name in names}
    return identity | {
        "kind": elicitation.name,
        "space": elicitation.space.model_dump(mode="json"),
        "template": elicitation.template.version,
    }


def make_work(
    recipe: Recipe,
    space: LabelSpace,
    panel: Panel,
    template: PromptTemplate,
    prior_template: PromptTemplate | None,
    *,
    family: str,
    model: str,
) -> Work:
    """The work of a recipe whose parts have been loaded. `model` is the name that requests carry."""
    provider = recipe.provider
    params: dict[str, Any] = {
        name: value for name in ("temperature", "top_p", "seed") if (value := getattr(provider, name)) is not None
    }
    if provider.extra:
        params["extra"] = provider.extra
    if provider.structured != "json_schema":
        params["structured"] = provider.structured  # it changes what is sent, so it is part of a call's key

    def made(cls: type[Elicitation], template: PromptTemplate, *, rationale: bool = False) -> Elicitation:
        return cls(
            space=space,
            template=template,
            family=family,
            model=model,
            params=params,
            max_tokens=provider.max_tokens,
            rationale=rationale,
            max_reasks=recipe.max_reasks,
            seed=recipe.seed,
        )

    return Work(
        # A run has put another in the place of `auto` before it comes here (runs/auto_elicitation.py).
        elicitation=made(
            ELICITATIONS.get("choice" if recipe.elicitation == AUTO else recipe.elicitation),
            template,
            rationale=recipe.rationale,
        ),
        panel=panel,
        panel_config=recipe.panel,
        replicates=recipe.replicates,
        prior=made(Distribution, prior_template) if prior_template else None,
        early_stop=recipe.early_stop,
    )
