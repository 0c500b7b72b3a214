"""`elicitation: auto`: how a model is asked where the recipe does not say.

What was begun goes on: a run folder keeps its elicitation, and a ledger with answers in it is asked as earlier versions asked, by `choice`.
A model on this machine is asked for `logprobs` where it answers in the label words; one short call finds that out. Any other is asked to
choose: services give 20 log-probabilities at most, and do not continue a beginning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dprm_data.core.errors import DprmError
from dprm_data.core.format import percent
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.elicit.logprobs import Logprobs
from dprm_data.engine.event_loop import run_in_loop
from dprm_data.ingest.items import Item
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.factory import exists
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.personas import NEUTRAL
from dprm_data.providers.construction import make_provider
from dprm_data.providers.provider import provider_class
from dprm_data.providers.request import CallFailed, Request
from dprm_data.recipe.consistency import AUTO
from dprm_data.recipe.model_config import ModelConfig
from dprm_data.recipe.recipe import Recipe
from dprm_data.runs.folder import RunFolder, is_run_folder

if TYPE_CHECKING:
    from dprm_data.providers.provider import Provider

_LEAST_SHARE = 0.05  # of the probability that the label words must have, in every question


@dataclass(frozen=True)
class Chosen:
    """An elicitation's name, and why it was chosen ("" where the run folder says it)."""

    name: str
    why: str = ""


def choose(
    recipe: Recipe, folder: RunFolder, ledger: LedgerAddress, space: Callable[[], LabelSpace], *, own_provider: bool
) -> Chosen:
    """The elicitation for a recipe that says `auto`. Asks a local model once; nobody else. Raises `InputError` if it cannot be loaded.

    own_provider: whether an object is asked in place of the recipe's provider.
    """
    if begun := _begun(recipe, folder):
        return Chosen(begun)
    entries = recipe.entries
    if len(entries) > 1:
        return Chosen("choice", "it works for every model of a jury")
    kind = provider_class(entries[0].name)
    if own_provider or not kind.answers_in_words:
        return Chosen("choice", f"it is the default for {kind.title or entries[0].name}")
    if wish := _needs_choice(recipe):
        return Chosen("choice", f"the recipe has {wish}")
    if exists(ledger) and _has_calls(ledger):
        return Chosen("choice", f"the ledger {ledger.shown} has answers already, and choice was the earlier default")
    return _ask(entries[0], space())


def _begun(recipe: Recipe, folder: RunFolder) -> str | None:
    """The elicitation with which the folder's run was begun, if it asks the same model."""
    if not is_run_folder(folder.path):
        return None
    begun = folder.recipe()
    asked, before = ([(entry.name, entry.model) for entry in each.entries] for each in (recipe, begun))
    return begun.elicitation if asked == before and begun.elicitation != AUTO else None


def _needs_choice(recipe: Recipe) -> str | None:
    """What in the recipe `logprobs` cannot do."""
    if recipe.prompt:
        return "a prompt of its own"
    if recipe.rationale:
        return "rationale: true"
    if recipe.early_stop:
        return "early_stop"
    return f"replicates: {recipe.replicates}" if recipe.replicates > 1 else None


def _has_calls(address: LedgerAddress) -> bool:
    with Ledger(address, readonly=True) as ledger:
        return ledger.counts()["calls"] > 0


def _ask(entry: ModelConfig, space: LabelSpace) -> Chosen:
    elicitation = Logprobs(
        space=space,
        template=Logprobs.default_template(),
        family=entry.name,
        model=provider_class(entry.name).model_name(entry.model),
    )
    task = elicitation.task(elicitation.open(_ITEM), NEUTRAL, 0)
    requests = [elicitation.call(task, question).request for question in task.questions]
    words = elicitation.words
    shares = run_in_loop(_shares(make_provider(entry), requests, words))
    if shares is None:
        return Chosen("choice", f"{elicitation.model} gives no log-probabilities")
    least = min(range(len(shares)), key=shares.__getitem__)
    said = f"{percent(shares[least])} of the answers of {elicitation.model} begin with {' or '.join(words[least])}"
    if shares[least] < _LEAST_SHARE:
        return Chosen("choice", f"only {said}")
    return Chosen("logprobs", said)


async def _shares(
    provider: Provider, requests: Sequence[Request], words: Sequence[Sequence[str]]
) -> list[float] | None:
    """For each question, the probability that the answer begins with one of its words."""
    found = []
    try:
        for request, said in zip(requests, words, strict=True):
            answer = await provider.complete(request)
            if not answer.top_logprobs:
                return None
            found.append(sum(math.exp(logprob) for token, logprob in answer.top_logprobs if _begins(token, said)))
    except CallFailed as error:
        raise DprmError(
            f"the model could not be asked how it answers: {error.message}",
            hint="Say how to ask it: elicitation: choice, or elicitation: logprobs.",
        ) from None
    finally:
        await provider.aclose()
    return found


def _begins(token: str, words: Sequence[str]) -> bool:
    start = token.strip().casefold()
    return len(start) >= 2 and any(word.casefold().startswith(start) for word in words)


_ITEM = Item(
    item_id="0" * 32,
    prompt=({"role": "user", "content": "How do I boil an egg?"},),
    completion=({"role": "assistant", "content": "Put it into boiling water for eight minutes."},),
    group_id="auto",
    role=None,
    source="auto",
    metadata={},
)
