"""The pairs (or sets) of a run's items are stored, where its models are asked to compare. Makes no call."""

from __future__ import annotations

from itertools import chain

import pyarrow.parquet as pq

from dprm_data.core.errors import SourceError
from dprm_data.core.tables import ITEMS, damage, sha256_of
from dprm_data.ingest.items import load_items, store_items
from dprm_data.pipeline.active_pairs import check_chain, chosen_before
from dprm_data.runs.asked_pairs import comparing, pairs_path
from dprm_data.runs.run import Run


def pair_items(run: Run) -> None:
    """Write the table of pairs, unless it is there and neither the items nor what is paired have changed. Raises `SourceError` if no prompt has two responses."""
    if not run.compares:
        return
    items, path, config = run.folder.needs("items"), pairs_path(run.folder), run.recipe.compare
    asked = comparing(run.elicitation)
    made_of = {"items": sha256_of(items), "pairs": config.pairs, "seed": run.recipe.seed}
    if "sets" in asked.compare_settings:
        made_of |= {"sets": config.sets}
    if path.is_file() and not damage(path, ITEMS) and run.folder.read_manifest().get("pairs", {}).get("of") == made_of:
        return
    groups = pq.read_table(items, columns=["group_id"])["group_id"].to_pylist()
    if len(set(groups)) == len(groups):
        of, hint = (
            " of the source",
            "Give several rows with one prompt, or columns such as chosen and rejected, or responses.",
        )
        if run.recipe.generate:
            of, hint = (
                "",
                "tables/responses.parquet says what became of each. Add models, principles or temperatures to generate, and run again.",
            )
        raise SourceError(f"elicitation: {asked.name}: no prompt{of} has two responses", hint=hint)
    check_chain(run, len(groups) - len(set(groups)))
    shown = chain(asked.shown_together(load_items(items), groups, run.recipe), chosen_before(run))
    report = store_items(shown, path, with_dropped=False)
    run.progress.say(asked.said_of(report.items))
    run.folder.update_manifest(pairs={"of": made_of, "pairs": report.items // 2})
