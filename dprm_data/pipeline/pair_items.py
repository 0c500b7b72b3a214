"""The pairs of a run's items are stored, where its models are asked to compare. Makes no call."""

from __future__ import annotations

from itertools import chain

import pyarrow.parquet as pq

from dprm_data.core.errors import SourceError
from dprm_data.core.tables import ITEMS, damage, sha256_of
from dprm_data.ingest.item_pairs import paired
from dprm_data.ingest.items import load_items, store_items
from dprm_data.pipeline.active_pairs import check_chain, chosen_before
from dprm_data.runs.asked_pairs import pairs_path
from dprm_data.runs.run import Run


def pair_items(run: Run) -> None:
    """Write the table of pairs, unless it is there and neither the items nor what is paired have changed. Raises `SourceError` if no prompt has two responses."""
    if not run.compares:
        return
    items, path, config = run.folder.needs("items"), pairs_path(run.folder), run.recipe.compare
    made_of = {"items": sha256_of(items), "pairs": config.pairs, "seed": run.recipe.seed}
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
        raise SourceError(f"elicitation: compare: no prompt{of} has two responses", hint=hint)
    check_chain(run, len(groups) - len(set(groups)))
    pairs = chain(paired(load_items(items), groups, config.pairs, run.recipe.seed), chosen_before(run))
    report = store_items(pairs, path, with_dropped=False)
    run.progress.say(f"{report.items // 2:,} pairs of responses, each shown both ways round")
    run.folder.update_manifest(pairs={"of": made_of, "pairs": report.items // 2})
