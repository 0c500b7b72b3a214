"""`compare: {pairs: active, budget: N}`: in rounds, the pairs whose comparison is expected to put most preferences in their right order, until N judgements are asked for. Makes no call.

The table of pairs begins with a chain through each prompt, so that all its responses are compared with each other at least indirectly. When all that is in the table has been asked, the fit of the answers says
which pairs come next, a fifth more each time; they are added to the table, and asked like any others. So whatever holds for a run's pairs holds for them: the table says what was chosen, after a kill too, and nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq

from dprm_data.core.arrays import Ints
from dprm_data.core.errors import RecipeError
from dprm_data.core.tables import ITEMS, damage
from dprm_data.engine.counters import Counters
from dprm_data.ingest.item_pairs import pair_of
from dprm_data.ingest.items import Item, load_items, store_items
from dprm_data.preference.next_judgement import compared, next_judgements
from dprm_data.preference.pairs import group_numbers
from dprm_data.runs.active_budget import asks_actively, pairs_in, pairs_left
from dprm_data.runs.asked_pairs import pairs_path
from dprm_data.runs.comparison_table import compared_of
from dprm_data.runs.fit import fit_annotations
from dprm_data.runs.run import Run

_ROUND = 5  # a round adds one pair for so many that are there


def check_chain(run: Run, pairs: int) -> None:
    """Raise `RecipeError` if the budget is not enough for these pairs, the first."""
    budget, needed = run.recipe.compare.budget, pairs * run.work.annotations_of(2)
    if budget is not None and budget < needed:
        raise RecipeError(
            f"compare.budget: {budget:,} judgements, and the first comparisons, a chain through the responses to each prompt, are {needed:,}",
            hint=f"Give {needed:,} or more, or fewer personas (panel.sample), or orders: half.",
        )


def in_rounds(run: Run, annotate: Callable[[bool], Counters], collect: Callable[[], object]) -> Counters:
    """Ask about the pairs that are there, then about those chosen from the answers, until the budget is used or nothing more is to be gained. annotate takes whether
    it is called again. Returns what was counted in all rounds."""
    asked = pairs_in(run) if asks_actively(run) and not run.is_pulled() else 0
    counters = annotate(False)
    while pairs_left(run):
        with run.by_turns():
            if pairs_in(run) == asked:  # else another worker has chosen
                collect()
                if not _add_pairs(run):
                    break
            asked = pairs_in(run)
        counters = _together(counters, annotate(True))
    return counters


def chosen_before(run: Run) -> Iterator[Item]:
    """The pairs that were chosen before the items changed, beyond the chain: those whose responses are still there, as far as the budget is enough for them."""
    path, earlier = pairs_path(run.folder), run.folder.read_manifest().get("pairs", {}).get("of", {})
    if not asks_actively(run) or earlier.get("pairs") != "active" or not path.is_file() or damage(path, ITEMS):
        return
    items = pq.read_table(run.folder.needs("items"), columns=["item_id", "group_id"])
    group = group_numbers(items["group_id"])
    order = np.argsort(group, kind="stable")
    neighbours = np.stack([order[:-1], order[1:]], axis=1)[group[order[1:]] == group[order[:-1]]]
    pairs = np.sort(_stored_pairs(path, items["item_id"].to_pylist()), axis=1)
    pairs = pairs[pairs[:, 0] >= 0]
    chosen = pairs[~np.isin(_key(pairs, len(group)), _key(neighbours, len(group)))]
    room = (run.recipe.compare.budget or 0) // run.work.annotations_of(2) - len(neighbours)
    yield from _items(run, chosen[: max(0, room)])


def _add_pairs(run: Run) -> bool:
    """Add the next pairs to the table. Returns whether there are any that gain something."""
    chosen = _next_pairs(run, min(pairs_left(run), max(1, pairs_in(run) // _ROUND)))
    if not len(chosen):
        run.progress.say(
            "no further comparison is expected to change the preferences; the rest of compare.budget is left"
        )
        return False
    path = pairs_path(run.folder)
    report = store_items(chain(load_items(path), _items(run, chosen)), path, with_dropped=False)
    pairs = run.folder.read_manifest()["pairs"]
    run.folder.update_manifest(pairs=pairs | {"pairs": report.items // 2})
    run.progress.say(f"{len(chosen):,} more pairs, chosen from the answers: {report.items // 2:,} so far")
    return True


def _next_pairs(run: Run, count: int) -> Ints:
    """Rows of the items, (P, 2), the earlier one first."""
    fitted = fit_annotations(run, pq.read_table(run.folder.needs("annotations")))
    found = compared_of(run.folder, fitted, run.recipe.fit.human_weight, active=asks_actively(run))
    if found is None:
        return np.zeros((0, 2), dtype=np.int64)
    ids = fitted.votes.item_ids
    known = _key(_stored_pairs(run.asked_items, ids), len(ids))
    each = run.work.annotations_of(2)
    parts = compared(found.fit)
    for part in parts:
        part.free = ~np.isin(_key(part.kinds, len(ids)), known)
    return np.sort(next_judgements(parts, count, each=each, once=True), axis=1)


def _stored_pairs(path: Path, ids: list[str]) -> Ints:
    """The pairs of a table as rows of the items with these ids, (P, 2); -1 for one that is not there."""
    row = {id_: at for at, id_ in enumerate(ids)}
    pairs = map(orjson.loads, pq.read_table(path, columns=["metadata"])["metadata"].to_pylist()[::2])
    found = [[row.get(pair["first"], -1), row.get(pair["second"], -1)] for pair in pairs]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _key(pairs: Ints, items: int) -> Ints:
    """A number for each pair (…, 2), whichever is first."""
    return np.asarray(pairs.min(axis=-1) * items + pairs.max(axis=-1))


def _items(run: Run, pairs: Ints) -> Iterator[Item]:
    """The pairs as items, in both orders."""
    wanted = set(pairs.ravel().tolist())
    responses = {at: item for at, item in enumerate(load_items(run.folder.needs("items"))) if at in wanted}
    for first, second in pairs.tolist():
        yield pair_of(responses[first], responses[second])
        yield pair_of(responses[second], responses[first])


def _together(before: Counters, last: Counters) -> Counters:
    """The last round's counts, which include what earlier rounds asked as replayed, with the calls of those."""
    last.replayed -= before.annotations - before.replayed - before.elsewhere
    last.add_calls(before)
    for name, each in last.models.items():
        if name in before.models:
            each.add_calls(before.models[name])
    last.started = before.started
    return last
