"""The command `dprm generate`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from dprm_data.cli.shared import Json, MaxCost, Output, Quiet, RecipeFile, answer, app, open_job
from dprm_data.core.errors import DprmError, InputError


@app.command()
def generate(
    recipe: RecipeFile,
    output: Output = None,
    max_cost: MaxCost = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again where a call gave no complete response.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the responses of a recipe of prompts.

    Writes tables/responses.parquet in the run folder, and the items to be rated or compared. `dprm run` does this first, and goes on. Repeat to resume.
    """
    from dprm_data.pipeline import generate_stage, stages
    from dprm_data.terminal.generated_view import generated_view

    with open_job(recipe, output, quiet or as_json) as job:
        if job.recipe.generate is None:
            raise InputError(
                f"{recipe}: it has no generate, so there is nothing to make",
                hint="Say which models answer the prompts: generate: {models: [{name: openai, model: ...}]}. "
                "`dprm init --from prompts` writes such a recipe.",
            )
        stages.prepare(job)
        counters = generate_stage.generate(job, max_cost=max_cost, retry_failed=retry_failed)
        found = generate_stage.record(job)
        with suppress(DprmError):  # the pairs to be compared, if there are any; dprm run says why not
            generate_stage.make_usable(job)
    content = {"run": str(job.folder), "responses": found, "generate": counters.as_dict() if counters else None}
    answer(content, lambda: generated_view(found, job.folder, recipe), as_json)
