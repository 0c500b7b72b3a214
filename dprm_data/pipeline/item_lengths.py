"""Items that are too long for the model: said before the run, which will reject them one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.format import percent, size
from dprm_data.ingest.items import Item, load_items
from dprm_data.ledger.call import Call
from dprm_data.providers.token_estimates import estimated_input_tokens
from dprm_data.runs.run import Run

_MOST = 5_000  # items that are looked at
_GIANT, _GIANT_TIMES = 50_000, 20  # bytes of an item, and times the median, from which on it is said


def say_what_is_too_long(run: Run, context: int) -> None:
    """Say how many items have a prompt that, by its characters, leaves no room for the answer in so many tokens."""
    items = list(itertools.islice(load_items(run.asked_items), _MOST))
    too_long = sum(_tokens(run, item) > context for item in items)
    if too_long:
        run.progress.say(
            f"about {too_long:,} of {len(items):,} items are longer than the model's context of {context:,} tokens and will be rejected, each "
            "with its reason; provider.options.context sets another"
        )


def say_what_is_giant(run: Run) -> None:
    """Say how long the longest item is, where it is far longer than the others: it may cost more than all of them, or be rejected."""
    lengths = np.concatenate([np.zeros(0, dtype=np.int64), *_lengths(run)])
    if not len(lengths):
        return
    longest, median = int(lengths.max()), float(np.median(lengths))
    giants = int((lengths > _GIANT_TIMES * max(median, 1.0)).sum())
    if longest < _GIANT or not giants:
        return
    share = lengths[lengths > _GIANT_TIMES * max(median, 1.0)].sum() / max(1, lengths.sum())
    item = next(itertools.islice(load_items(run.asked_items), int(lengths.argmax()), None))
    which = "1 item is" if giants == 1 else f"{giants:,} items are"
    run.progress.say(
        f"{which} far longer than the others, with {percent(float(share))} of all text: the longest has {size(longest)} (half of the items have less than "
        f"{size(median)}), item {item.item_id[:8]} from {item.source}"
    )


def _lengths(run: Run) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Bytes of every item's prompt and response."""
    with pq.ParquetFile(run.asked_items) as file:
        for batch in file.iter_batches(columns=["prompt", "completion"]):
            summed = np.zeros(batch.num_rows, dtype=np.int64)
            for column in batch.columns:
                each = pc.binary_length(pc.struct_field(column.flatten(), "content"))
                rows = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
                np.add.at(summed, rows, each.fill_null(0).to_numpy(zero_copy_only=False))
            yield summed


def _tokens(run: Run, item: Item) -> float:
    """About the tokens of the first call about the item, and of its answer."""
    elicitation = run.work.elicitation
    prefix = elicitation.open(item)
    first = elicitation.task(prefix, run.panel.personas[0], 0).next(())
    if not isinstance(first, Call):
        return 0.0
    return estimated_input_tokens(first.request) + float(first.request.params.get("max_tokens") or 0)
