"""The command `dprm init`."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dprm_data.cli.shared import Json, answer, app, output_option, say
from dprm_data.core.errors import InputError, PriceUnknown

if TYPE_CHECKING:
    from dprm_data.recipe.scaffold import DataFound

_YAML = (".yaml", ".yml")


class Begin(StrEnum):
    """What there is to begin with."""

    prompts = "prompts"
    pairs = "pairs"
    ratings = "ratings"


@app.command()
def init(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            help="A file or folder of prompts and responses (.jsonl, .csv, .parquet): its columns go into the recipe. A .yaml name is the "
            "recipe to write.",
        ),
    ] = None,
    output: Annotated[Path | None, output_option("The recipe to write; by default recipe.yaml.")] = None,
    provider: Annotated[
        str, typer.Option("--provider", help="The provider: a name from `dprm models list`.")
    ] = "openai",
    model: Annotated[str | None, typer.Option("--model", help="The model to ask.")] = None,
    begin: Annotated[
        Begin,
        typer.Option(
            "--from",
            help="What there is: prompts (responses are generated first), pairs (prompts with responses), or people's ratings of responses.",
        ),
    ] = Begin.pairs,
    panel: Annotated[str, typer.Option("--panel", help="A panel from `dprm panel list`, or a file.")] = "paper",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented recipe, for your data if you name it."""
    from dprm_data.recipe.scaffold import (
        name_of,
        prompts_recipe_text,
        ratings_recipe_text,
        recipe_text,
        write_recipe,
    )

    if data and data.suffix in _YAML and not data.is_dir():
        if output:
            raise InputError(f"{data} and --output {output}: name only one recipe to write")
        data, output = None, data
    path = output or Path("recipe.yaml")
    _check_provider(provider, model)
    prompts = begin is Begin.prompts
    found = _look(data, path, begin) if data else None
    name = name_of(data or path) if data or path.stem != "recipe" else "my-run"
    if begin is Begin.ratings:
        text = ratings_recipe_text(name, found)
    else:
        make = prompts_recipe_text if prompts else recipe_text
        text = make(name, found, provider=provider, model=model, panel=_panel(panel, path))
    write_recipe(path, text, force=overwrite)
    notes = _notes(path) if data else []
    if as_json:
        answer({"recipe": str(path), "columns": found.columns if found else [], "notes": notes}, None, True)
        return
    say(f"wrote {path}")
    for note in notes:
        say(note)
    if found and found.shape == "":
        say(
            f"Its columns are {', '.join(found.columns)}: set source.columns in the recipe to {'that with the prompt' if prompts else 'those with the prompt and the response'}."
        )
    first = {"prompts": "plan", "pairs": "try", "ratings": "run"}[
        begin
    ]  # before there are responses, there is nothing to try
    say(
        f"Next: dprm {first} {path}"
        if data
        else f"Next: edit it, then dprm {'run' if begin is Begin.ratings else 'plan'} {path}"
    )


def _check_provider(name: str, model: str | None) -> None:
    """Raises `InputError` for a provider that is not registered, or that needs a model's name."""
    from dprm_data.core.registry import PROVIDERS
    from dprm_data.recipe.scaffold import MODELS

    kind = PROVIDERS.get(name)
    if kind.needs_model and not (model or name in MODELS):
        raise InputError(
            f"{kind.title or name} needs the model's name",
            hint=f"Add --model NAME. `dprm models list {name}` lists them.",
        )


def _look(data: Path, recipe: Path, begin: Begin) -> DataFound:
    from dprm_data.ingest.peek import peek
    from dprm_data.recipe.scaffold import DataFound

    columns, shape, row = peek(data, prompts=begin is Begin.prompts)
    return DataFound(_from(recipe, data), columns, None if begin is Begin.ratings else shape, row)


def _panel(panel: str, recipe: Path) -> str:
    """The panel's name, or its file as the recipe names it. Raises `PanelError` where there is none."""
    from dprm_data.panel.panel_sources import load_panel

    load_panel(panel)
    return _from(recipe, Path(panel)) if Path(panel).is_file() else panel


def _from(recipe: Path, file: Path) -> str:
    """The file's path as the recipe names it."""
    return Path(os.path.relpath(file, recipe.absolute().parent)).as_posix() if not file.is_absolute() else str(file)


def _notes(path: Path) -> list[str]:
    """What would stop this recipe now."""
    from dprm_data.engine.prices import prices_for
    from dprm_data.providers.provider import provider_class
    from dprm_data.recipe.generate_config import generators
    from dprm_data.recipe.recipe import Recipe

    recipe, notes = Recipe.load(path), []
    for entry in (*recipe.entries, *generators(recipe.generate)):
        variable = entry.api_key_env or provider_class(entry.name).key_variable
        if variable and not provider_class(entry.name).is_free and not os.environ.get(variable):
            notes.append(f"It needs your key: export {variable}=...")
        try:
            prices_for(entry)
        except PriceUnknown as error:
            notes.append(str(error))
    return list(dict.fromkeys(notes))
