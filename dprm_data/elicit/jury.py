"""The jury: the models of a recipe, and which of them answers as which persona.

    crossed    every model answers as every persona
    balanced   one model answers as each persona: every item meets each model equally often (to within one answer), and every persona
               meets each model equally often over the items

A persona that names its model is answered by that one only. *Balanced* draws a random order of the models per item for each run of M
consecutive personas (M models): a Latin square's columns, drawn from the item's id. So neither further items nor further personas
change who has answered before, and no two personas always meet the same model.

A vote's weight is its persona's weight times its model's, where the models' weights are scaled to a mean of 1: n answers of personas
of equal weight give n votes. In *crossed*, where others answer once per model, the one answer of a persona that names its model weighs as
much as all of another's together: a panel stands for its population whichever models play it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dprm_data.core.errors import PanelError
from dprm_data.elicit.elicitation import Elicitation
from dprm_data.panel.personas import Panel, Persona
from dprm_data.recipe.model_config import Design


@dataclass(frozen=True)
class Juror:
    """One model. elicitation asks it as a persona; prior (where the recipe has one) asks it for a whole population's distribution.

    weight: of its votes; the mean over the jury is 1.
    """

    id: str
    elicitation: Elicitation
    prior: Elicitation | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Jury:
    """All models of a recipe."""

    jurors: tuple[Juror, ...]
    design: Design = "crossed"
    seed: int = 0

    def seats(self, item_id: str, personas: Sequence[Persona]) -> Iterator[tuple[Persona, Juror]]:
        """Who answers about an item, by persona: each with the weight by which this vote counts. personas: as the panel drew them."""
        if len(self.jurors) == 1:
            yield from ((persona, self.jurors[0]) for persona in personas)
            return
        free = [persona for persona in personas if persona.model is None]
        shared = iter(self._shared_out(item_id, len(free))) if self.design == "balanced" else None
        each = 1 if shared else len(self.jurors)  # answers of a persona that names no model
        scale = (len(free) * each + len(personas) - len(free)) / (len(personas) * each)
        for persona in personas:
            if persona.model is not None:
                yield weighted(persona, each * scale), self._juror(persona.model)
                continue
            for juror in self.jurors if shared is None else (self.jurors[next(shared)],):
                yield weighted(persona, juror.weight * scale), juror

    def _juror(self, id_: str) -> Juror:
        return next(juror for juror in self.jurors if juror.id == id_)

    def _shared_out(self, item_id: str, count: int) -> list[int]:
        """The model (its place in the jury) of each of so many personas."""
        seed = hashlib.sha256(f"jury\0{self.seed}\0{item_id}".encode()).digest()
        shuffle = random.Random(seed)
        order = list(range(len(self.jurors)))
        drawn: list[int] = []
        while len(drawn) < count:
            shuffle.shuffle(order)
            drawn += order
        return drawn[:count]

    def answers_per_item(self, panel: Panel, sample: int | None, juror: Juror | None = None) -> float:
        """How many answers about an item there are on average, or this juror's of them; replicates and priors not counted."""
        jurors, named = len(self.jurors), [persona.model for persona in panel.personas if persona.model is not None]
        free = len(panel.personas) - len(named)
        if jurors == 1:
            named, free = [], len(panel.personas)
        each = 1.0 if self.design == "balanced" else float(jurors)
        whole = free * each / jurors + named.count(juror.id) if juror else free * each + len(named)
        return whole * min(sample or len(panel.personas), len(panel.personas)) / len(panel.personas)


def check_named_models(panel: Panel, ids: Sequence[str]) -> None:
    """Check that the models which personas name are the recipe's. Raises `PanelError`."""
    for persona in panel.personas:
        if persona.model is not None and persona.model not in ids:
            raise PanelError(
                f"panel {panel.name!r}: the persona {persona.id!r} names the model {persona.model!r}, which the recipe does not have "
                f"(has: {', '.join(ids)})",
                hint="Give it in models, with that id, or leave model out of the persona.",
            )


def weighted(persona: Persona, factor: float) -> Persona:
    """The persona with its weight multiplied."""
    return persona if factor == 1 else persona.model_copy(update={"weight": round(persona.weight * factor, 12)})
