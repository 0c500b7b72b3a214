"""Items that are too long for the model: said before the run, which will reject them one by one."""

from __future__ import annotations

import itertools

from dprm_data.ingest.items import Item, load_items
from dprm_data.ledger.call import Call
from dprm_data.providers.token_estimates import estimated_input_tokens
from dprm_data.runs.run import Run

_MOST = 5_000  # items that are looked at


def say_what_is_too_long(run: Run, context: int) -> None:
    """Say how many items have a prompt that, by its characters, leaves no room for the answer in so many tokens."""
    items = list(itertools.islice(load_items(run.folder.needs("items")), _MOST))
    too_long = sum(_tokens(run, item) > context for item in items)
    if too_long:
        run.progress.say(
            f"about {too_long:,} of {len(items):,} items are longer than the model's context of {context:,} tokens and will be rejected, each "
            "with its reason; provider.options.context sets another"
        )


def _tokens(run: Run, item: Item) -> float:
    """About the tokens of the first call about the item, and of its answer."""
    elicitation = run.work.elicitation
    prefix = elicitation.open(item)
    first = elicitation.task(prefix, run.panel.personas[0], 0).next(())
    if not isinstance(first, Call):
        return 0.0
    return estimated_input_tokens(first.request) + float(first.request.params.get("max_tokens") or 0)
