"""The commented recipe that `dprm init` writes."""

from __future__ import annotations

from pathlib import Path

from dprm_data.core.errors import InputError
from dprm_data.core.tables import write_text

RECIPE = """\
# What to annotate, by whom, with which model. All keys: docs/recipe.md. Lines behind a # show a default or an example.
name: {name}

source:
  path: pairs.jsonl            # a file or a folder: .jsonl, .csv, .parquet
  # dataset: Anthropic/hh-rlhf # or a dataset of the Hugging Face Hub
  # split: train
  # columns: {{prompt: question, response: answer}}   # ours: yours, where they are not found by their names
  # limit: 100                 # the first rows only: try a recipe on a few

labels: hh6                    # hh6 (helpful/neutral/not helpful x harmless/harmful), ordinal5, ordinal6, a number of levels, or a YAML file

panel: paper                   # `dprm panels` lists them; or a YAML file
# panel: {{use: demographic, sample: 12, stratify: [age]}}

# elicitation: auto            # choice, logprobs (needs a model that gives log-probabilities) or distribution
# rationale: true              # also ask for a sentence that says why, after the label
# prior: {{strength: 2}}         # also ask once per item how a whole population would answer

provider:
  name: openai                 # `dprm models` lists the providers; local is a small bundled model that needs no key: to see it work
  model: gpt-6-luna            # or anthropic: claude-haiku-5-5, gemini: gemini-3.5-flash-lite, mistral: mistral-small-2603; `dprm models NAME` has prices
  # base_url: http://localhost:8000/v1
  # api_key_env: OPENAI_API_KEY   # the NAME of the variable; never the key
  # temperature: 1.0
  # price: {{input: 0.10, output: 0.50}}   # dollars per million tokens, where the price table does not know the model

budget:
  max_cost: 5.00               # dollars; the run stops before it would exceed them. `dprm plan` says what it will be

# limits: {{concurrency: 32, rpm: 500, tpm: 200000}}
# replicates: 1                # ask every persona more than once
# fit: {{family: beta, smoothing: {{kind: targeted}}}}   # costs nothing: change it and run `dprm fit` again
# output: runs/{name}
"""


def write_recipe(path: Path, *, force: bool = False) -> None:
    """Write a commented recipe. Raises `InputError` if the file exists, unless `force`."""
    if path.exists() and not force:
        raise InputError(f"{path} exists already", hint="Choose another name, or add --force to overwrite it.")
    write_text(path, RECIPE.format(name=path.stem if path.stem != "recipe" else "my-run"))
