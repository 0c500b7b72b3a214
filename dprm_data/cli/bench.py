"""The command `dprm bench`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dprm_data.cli.shared import (
    Json,
    MaxCost,
    Quiet,
    Yes,
    answer,
    app,
    confirm_start,
    interrupts_in_words,
    output_option,
    stderr,
)

_RECIPES = {".yaml", ".yml"}


@app.command()
def bench(
    benchmark: Annotated[str, typer.Argument(metavar="BENCHMARK", help="rewardbench2, rm-bench, judgebench or ppe.")],
    judge: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|MODEL",
            help="A recipe (YAML), whose panel judges; or a trained reward model: a folder, or its name on the Hub.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="The folder with the benchmark's files. Without it they are fetched from the Hub."),
    ] = None,
    items: Annotated[
        int | None,
        typer.Option("--items", min=2, help="How many prompts, the same part of every section. Default: all."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which prompts. With the same seed, more contain the fewer.")] = 0,
    output: Annotated[
        Path | None,
        output_option(
            "The folder to write to. Default: bench/<benchmark> in the run's folder, or bench/<benchmark>-<model>."
        ),
    ] = None,
    max_cost: MaxCost = None,
    yes: Yes = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a panel or a reward model on a judge benchmark.

    The benchmark's own protocol, per section and with intervals, beside judges that know nothing: random, the longer response, always the same. Interrupted, the same command goes on.
    """
    from dprm_data.ingest.judge_sets.judge_collection import judge_set, load_cases, sample_cases
    from dprm_data.terminal.bench_view import bench_view
    from dprm_data.terminal.progress import TerminalProgress
    from dprm_data.validation.judge_bench import measure_judge, write_bench

    judge_set(benchmark)
    with TerminalProgress(stderr(), quiet=quiet or as_json) as progress:
        if Path(judge).suffix.lower() in _RECIPES:
            loaded, judged, folder = _panel(
                Path(judge), benchmark, data, items, seed, output, max_cost, progress, not (yes or quiet or as_json)
            )
        else:
            _check_model(judge)
            folder = output or Path("bench") / f"{benchmark}-{_plain(judge)}"
            loaded = load_cases(benchmark, data)
            loaded = sample_cases(loaded, items or len(loaded.cases), seed=seed)
            judged = _reward_model(judge, loaded, progress)
        progress.stage("scoring")
        found = measure_judge(loaded, judged)
        write_bench(found, folder)
    content = found.as_dict()
    answer({"folder": str(folder), **content}, lambda: bench_view(content, folder), as_json)


def _panel(
    file: Path,
    benchmark: str,
    data: Path | None,
    items: int | None,
    seed: int,
    output: Path | None,
    max_cost: float | None,
    progress: Any,
    asks: bool,
) -> tuple[Any, Any, Path]:
    """The sampled cases, what the recipe's panel said of them, and the folder."""
    import pyarrow as pa

    from dprm_data.ingest.judge_sets.judge_collection import load_cases
    from dprm_data.pipeline.bench_run import ask_panel, prepare_bench
    from dprm_data.recipe.recipe import Recipe
    from dprm_data.recipe.trust import check
    from dprm_data.terminal.bench_view import bench_price

    recipe = Recipe.load(file)
    check(recipe, calls=True)
    pa.set_memory_pool(pa.system_memory_pool())
    folder = output or recipe.output_folder / "bench" / benchmark
    with interrupts_in_words(folder, progress):
        prepared = prepare_bench(
            recipe, load_cases(benchmark, data), folder, items=items, seed=seed, max_cost=max_cost, progress=progress
        )
        progress.say(bench_price(prepared))
        if prepared.calls and prepared.cost != 0 and asks:
            confirm_start(progress)
        return prepared.loaded, ask_panel(prepared, max_cost=max_cost), folder


def _check_model(name: str) -> None:
    from dprm_data.cli.train import needs_trainers

    needs_trainers()
    from dprm_trainers.core.references import check_model

    check_model("RECIPE|MODEL", name)


def _reward_model(name: str, loaded: Any, progress: Any) -> Any:
    """What a trained reward model says of the cases."""
    from dprm_data.cli.train import quiet_libraries

    quiet_libraries()
    from dprm_trainers.evaluation.bench_rewards import judged_by_model

    progress.stage("scoring responses")
    return judged_by_model(name, loaded)


def _plain(name: str) -> str:
    """A name for a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
