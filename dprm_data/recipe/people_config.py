"""The `ratings` section of a recipe: a table of people's ratings, instead of a model's answers or beside them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from dprm_data.core.validation import FieldError
from dprm_data.recipe.section import Section

# What is said about how a model is asked, and so means nothing where none is.
_ABOUT_CALLS = (
    *("panel", "elicitation", "compare", "prompt", "rationale", "prior", "design", "replicates", "max_reasks", "mode"),
    *("engine", "ray", "early_stop", "limits", "budget", "ledger", "generate"),
)


class RatingsConfig(Section):
    """Where people's ratings are: a table with a row per rating, each with the prompt and the response, or with the id of one in `source`."""

    path: str | None = (
        None  # .csv, .tsv, .xlsx, .jsonl, .parquet; relative to the recipe. None: rows are given in Python
    )
    # Our field -> the table's column, if it is not found by its name.
    columns: dict[
        Literal["prompt", "response", "messages", "system", "item_id", "annotator_id", "label", "weight", "replicate"],
        str,
    ] = {}
    attributes: list[str] = []  # columns about the rater, for `dprm ratings groups --by`; never published
    keep: list[str] = []  # columns that say something of the item, kept as its metadata; its id is kept anyway
    base: Literal[0, 1] | None = None  # the number of the lowest label, where the table does not show it
    duplicates: Literal["error", "first", "last", "all", "mean"] = "error"  # where a rater judged an item twice

    @property
    def text_columns(self) -> dict[str, str]:
        """Those of `columns` that hold prompts and responses."""
        texts = ("prompt", "response", "messages", "system")
        return {field: column for field, column in self.columns.items() if field in texts}

    @model_validator(mode="after")
    def _known_once(self) -> RatingsConfig:
        twice = set(self.attributes) & set(self.keep)
        if twice:
            raise ValueError(f"{sorted(twice)[0]!r} is among attributes (of the rater) and in keep (of the item)")
        return self


def check_people(recipe: Any) -> None:
    """Check what a recipe says of people's ratings, without a model or beside one. Raises `FieldError`."""
    if recipe.annotators is None:
        return
    if recipe.entries:
        raise FieldError(
            "annotators",
            "people says that no model is asked; leave it out to have people's ratings beside the model's, or leave the model out",
        )
    for name in _ABOUT_CALLS:
        if name in recipe.model_fields_set and getattr(recipe, name) is not None:
            raise FieldError(name, "is about what a model is asked; with annotators: people, leave it out")
    if "labels" not in recipe.model_fields_set and (recipe.ratings or not recipe.comparisons):
        raise FieldError(
            "labels",
            "missing: say what people rated on: a number of levels, the name of a bundled label space, or a file",
        )
