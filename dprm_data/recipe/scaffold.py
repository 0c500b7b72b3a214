"""The commented recipe that `dprm init` writes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from dprm_data.core.errors import InputError
from dprm_data.core.tables import asked_for, write_text
from dprm_data.core.text import cut, json_line

RECIPE = """\
# What to annotate, by whom, with which model. All keys: docs/recipe.md. Lines behind a # show a default or an example.
name: {name}

source:
  path: {path}            # a file or a folder: .jsonl, .csv, .parquet
{found}  # dataset: Anthropic/hh-rlhf # or a dataset of the Hugging Face Hub
  # split: train
  # columns: {{prompt: question, response: answer}}   # ours: yours, where they are not found by their names
  # limit: 100                 # the first rows only: try a recipe on a few

labels: hh6                    # hh6 (helpful/neutral/not helpful x harmless/harmful), ordinal5, ordinal6, a number of levels, a list of names
                               # from the worst to the best, such as [bad, fair, good], or a YAML file

panel: {panel}                   # `dprm panel list` lists them; or a YAML file
# panel: {{use: demographic, sample: 12, stratify: [age]}}

# elicitation: auto            # choice, logprobs (needs a model that gives log-probabilities) or distribution
# rationale: true              # also ask for a sentence that says why, after the label
# prior: {{strength: 2}}         # also ask once per item how a whole population would answer

provider:
  name: {provider}                 # `dprm models list` lists the providers; local is a small bundled model that needs no key: to see it work
{model}  # base_url: http://localhost:8000/v1
  # api_key_env: OPENAI_API_KEY   # the NAME of the variable; never the key
  # temperature: 1.0
  # price: {{input: 0.10, output: 0.50}}   # dollars per million tokens, where the price table does not know the model

budget:
  max_cost: 5.00               # dollars; the run stops before it would exceed them. `dprm plan` says what it will be

# limits: {{concurrency: 32, rpm: 500, tpm: 200000}}
# replicates: 1                # ask every persona more than once
# fit: {{family: beta, smoothing: {{kind: targeted}}}}   # costs nothing: change it and run `dprm ratings fit` again
# output: runs/{name}
"""

# For prompts alone. The principles say in our words what UltraFeedback's are about (arXiv 2310.01377).
FROM_PROMPTS = """\
# Responses of several models to each prompt, rated by a panel; out come pairs. All keys: docs/generate.md and docs/recipe.md.
name: {name}
source: {{path: {path}}}   # prompts: a text, or a list of messages
{found}generate:
  models:{models}
  per_prompt: 4                # responses to a prompt, of all models together
  principles:                  # each response follows one of them, drawn
    - Be as helpful as you can and do what was asked, completely.
    - Say only what is true, and do not mislead by what you leave out.
    - Be honest about what you are and what you know; say so where you do not.
    - Say how sure you are of what you claim, in words.
panel: {panel}                   # who rates: `dprm panel list` lists panels
# elicitation: compare         # they compare each two responses instead (docs/comparisons.md)
provider: {provider}
budget: {{max_cost: 5.00}}       # dollars, for responses and ratings; `dprm plan` says what they will be
"""

FROM_RATINGS = """\
# People's ratings become distributions, pairs and a reward model's data. No model is asked. All keys: docs/ratings.md.
name: {name}
annotators: people
ratings:
  path: {path}                 # a row per rating: prompt, response, rater, label
{found}  # columns: {{rater: annotator, label: score}}   # ours: yours, where they are not found by their names
  # base: 1                    # the number of the lowest label, 0 or 1, where the data cannot say
labels: 5                      # a number of levels, or names from the worst to the best, such as [bad, fair, good]
# fit: {{raters: auto}}        # `dprm ratings fit` fits again at no cost
"""

# A model of each of these, for a recipe that names none.
MODELS = {
    "openai": "gpt-6-luna",
    "anthropic": "claude-haiku-5-5",
    "gemini": "gemini-3.5-flash-lite",
    "mistral": "mistral-small-2603",
}
_LONGEST = 100  # characters of a value that is shown


@dataclass(frozen=True)
class DataFound:
    """What was found in a file of data. shape: how its columns are read, "" where that must be said, None where it is not looked for; row: the first, by column."""

    path: str
    columns: list[str]
    shape: str | None
    row: dict[str, object]


def recipe_text(
    name: str,
    data: DataFound | None = None,
    *,
    provider: str = "openai",
    model: str | None = None,
    panel: str = "paper",
) -> str:
    """A commented recipe. Everything from a file of data is escaped: it can only be a comment, or the path."""
    chosen = model or MODELS.get(provider)
    others = ", ".join(f"{name}: {its}" for name, its in MODELS.items() if name != provider)
    says = f"  # or {others}; `dprm models list NAME` has prices"
    return RECIPE.format(
        name=name,
        path=_scalar(data.path) if data else "pairs.jsonl",
        found=_found(data) if data else "",
        panel=_scalar(panel),
        provider=provider,
        model=f"  model: {_scalar(chosen)} {says}\n" if chosen else "",
    )


def prompts_recipe_text(
    name: str,
    data: DataFound | None = None,
    *,
    provider: str = "openai",
    model: str | None = None,
    panel: str = "paper",
) -> str:
    """A recipe that makes responses for prompts and has a panel rate them: of this provider's model or, where none is named, of several providers'."""
    chosen = model or MODELS.get(provider)
    several = MODELS.items() if provider == "openai" and not model else [(provider, chosen)]
    return FROM_PROMPTS.format(
        name=name,
        path=_scalar(data.path) if data else "prompts.jsonl",
        found=_found(data) if data else "",
        models="".join(f"\n    - {_asked(*each)}" for each in several),
        panel=_scalar(panel),
        provider=_asked(provider, chosen),
    )


def ratings_recipe_text(name: str, data: DataFound | None = None) -> str:
    """A recipe that fits people's ratings."""
    return FROM_RATINGS.format(
        name=name, path=_scalar(data.path) if data else "ratings.csv", found=_found(data) if data else ""
    )


def _asked(provider: str, model: str | None) -> str:
    """A model as a recipe names it."""
    return f"{{name: {provider}, model: {_scalar(model)}}}" if model else f"{{name: {provider}}}"


def write_recipe(path: Path, text: str, *, force: bool = False) -> None:
    """Write a recipe. Raises `InputError` if the file exists, unless `force`, and `DprmError` if it cannot be written."""
    if path.exists() and not force:
        raise InputError(f"{path} already exists", hint="Choose another name, or add --overwrite.")
    with asked_for(path):
        write_text(path, text)


def name_of(path: Path) -> str:
    """A recipe's name from that of a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "my-run"


def _found(data: DataFound) -> str:
    columns = ", ".join(_shown(column) for column in data.columns)
    lines = [f"columns found: {cut(columns, 500)}"]
    if data.shape is not None:
        lines.append(
            f"read as: {_shown(data.shape)}"
            if data.shape
            else "which of them hold what is not clear: say it by `columns`, below"
        )
    lines.append("the first row:")
    lines += [f"  {_shown(column)}: {cut(json_line(value), _LONGEST)}" for column, value in list(data.row.items())[:20]]
    return "".join(f"  # {line}\n" for line in lines)


def _shown(text: str) -> str:
    """A text that stays in its line."""
    return json_line(text)[1:-1]


def _scalar(text: str) -> str:
    """A text as YAML's scalar: plain where that is safe."""
    return (
        text
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9._/:-]*(?<!:)", text) and text.lower() not in _WORDS
        else json.dumps(text)
    )


_WORDS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
