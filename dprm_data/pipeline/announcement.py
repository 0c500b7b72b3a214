"""What is said before a run starts: what it would send where, the keys that it needs, and how it will ask."""

from __future__ import annotations

from contextlib import suppress

from dprm_data.core.errors import InputError
from dprm_data.pipeline.item_lengths import say_what_is_giant
from dprm_data.providers.construction import check_keys
from dprm_data.recipe.trust import pending
from dprm_data.runs.run import Run


def say_sendings(run: Run) -> None:
    """Say which addresses the run will ask consent for: first of all, as whatever is said after may be an error."""
    for sending in pending(run.recipe, calls=run.provider is None):
        run.progress.say(f"{run.recipe.file}: {sending.sentence}")


def missing_keys(run: Run) -> list[InputError]:
    """What the run's models still need to be asked: keys and addresses. Nothing of a cluster, whose machines have their own."""
    found: list[InputError] = []
    if run.provider is None and run.recipe.engine != "ray":
        for entry in run.recipe.entries:
            try:
                check_keys(entry)
            except InputError as error:
                found.append(error)
    return found


def announce(run: Run) -> None:
    """Say which elicitation was chosen for the run, and which keys it will need."""
    for missing in missing_keys(run):
        run.progress.say(f"{missing.message}; a run needs it")
    if run.why_elicitation:
        run.progress.say(run.why_elicitation)
    with suppress(InputError):  # where responses are still to be made
        say_what_is_giant(run)
