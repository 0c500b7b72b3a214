"""The sections of a recipe about comparisons: `comparisons` (people's, read from a table) and `compare` (how models are asked for them)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dprm_data.recipe.section import Section

Steps = Literal[2, 3, 5, 7]
CRITERION = "Which response is better, all in all?"


class ComparisonsConfig(Section):
    """Where people's comparisons are: a table with a row per comparison, with the prompt and both responses, or with the ids of two responses in `source`."""

    path: str  # .csv, .tsv, .xlsx, .jsonl, .parquet; relative to the recipe
    # Our field -> the table's column, if it is not found by its name. first, second: the responses in the order in which they were shown.
    columns: dict[
        Literal[
            "prompt",
            "system",
            "first",
            "second",
            "first_item_id",
            "second_item_id",
            "annotator_id",
            "preference",
            "weight",
        ],
        str,
    ] = {}
    positive: Literal["first", "second"] = "first"  # the response that a preference above 0 is for
    steps: Steps | None = None  # of an answer; default: as many as the numbers in the table need
    order: Literal["shown", "unknown"] = "shown"  # whether first is what was shown first


class CompareConfig(Section):
    """`elicitation: compare`, `compare_logprobs` or `best_worst`: which responses to a prompt are compared, and how an annotator is asked."""

    # best_worst, which has no other of these but criterion: sets of up to four per prompt; all: until every two responses have been in one set
    sets: Literal["all"] | Annotated[int, Field(gt=0)] = "all"
    # adjacent: each response with the next one of its prompt; active: those first, then where preferences are expected to change most; a number: so many per prompt, at random
    pairs: Literal["all", "adjacent", "active"] | Annotated[int, Field(gt=0)] = "all"
    budget: Annotated[int, Field(gt=0)] | None = (
        None  # of pairs: active: judgements in all (comparisons by an annotator)
    )
    steps: Literal[2, 3, 7] = 3  # of an answer: 2 has no tie
    orders: Literal["both", "half"] = "both"  # each annotator both ways, or half of the panel each way
    criterion: Annotated[str, Field(min_length=1, max_length=4_000)] = CRITERION

    @model_validator(mode="after")
    def _says_something(self) -> CompareConfig:
        if not self.criterion.strip():
            raise ValueError("criterion is empty: say in words what makes a response better")
        if (self.pairs == "active") != (self.budget is not None):
            raise ValueError(
                "pairs: active and budget (how many judgements to ask for) go together; give both or neither"
            )
        return self
