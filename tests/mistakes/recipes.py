"""Mistakes in recipes, sources, providers and budgets."""

from __future__ import annotations

import json

from tests.mistakes.mistake import PEOPLE, Mistake

_GPT = {"name": "openai", "model": "gpt-4o-mini"}


def _rows(*rows: object) -> dict[str, str | bytes]:
    return {"pairs.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}


RECIPES = [
    Mistake("The recipe does not exist.", "plan recipes.yaml", ("recipes.yaml", "'recipe.yaml'")),
    Mistake("A folder is given instead of a recipe.", "plan run/tables", ("run/tables", "recipe")),
    Mistake(
        "A line is indented with a tab.",
        "plan recipe.yaml",
        ("recipe.yaml", "line 2", "spaces"),
        before=lambda at: (at / "recipe.yaml").write_text("source:\n\tpath: pairs.jsonl\n"),
    ),
    Mistake(
        "A value with a colon is not in quotes.",
        "plan recipe.yaml",
        ("recipe.yaml", "line 1", "quotes"),
        before=lambda at: (at / "recipe.yaml").write_text("name: about: eggs\n"),
    ),
    Mistake(
        "A bracket is not closed.",
        "plan recipe.yaml",
        ("recipe.yaml", "line 2", "not closed"),
        before=lambda at: (at / "recipe.yaml").write_text("labels: [good, bad\npanel: small\n"),
    ),
    Mistake(
        "The recipe is empty.",
        "plan recipe.yaml",
        ("recipe.yaml", "empty"),
        before=lambda at: (at / "recipe.yaml").write_text(""),
    ),
    Mistake(
        "The recipe was saved as UTF-16.",
        "plan recipe.yaml",
        ("recipe.yaml", "UTF-8"),
        before=lambda at: (at / "recipe.yaml").write_text("name: test\n", encoding="utf-16-le"),
    ),
    Mistake(
        "A key appears twice.",
        "plan recipe.yaml",
        ("recipe.yaml:2", "panel"),
        before=lambda at: (at / "recipe.yaml").write_text("panel: small\npanel: paper\n"),
    ),
    Mistake(
        "A key is misspelt: `replicate`.", "plan recipe.yaml", ("recipe.yaml:", "'replicates'"), recipe={"replicate": 2}
    ),
    Mistake(
        "A key is in the wrong place: `max_cost` beside `budget`.",
        "plan recipe.yaml",
        ("recipe.yaml:", "did you mean budget.max_cost?"),
        recipe={"max_cost": 5},
    ),
    Mistake(
        "A number is written as a word: `replicates: two`.",
        "plan recipe.yaml",
        ("recipe.yaml:", "whole number"),
        recipe={"replicates": "two"},
    ),
    Mistake(
        "A number is out of its range: `replicates: 0`.",
        "plan recipe.yaml",
        ("recipe.yaml:", "replicates", "greater"),
        recipe={"replicates": 0},
    ),
    Mistake(
        "The panel's name is misspelt.",
        "plan recipe.yaml",
        ("papre", "'paper'"),
        recipe={"panel": "papre"},
    ),
    Mistake(
        "The label space's name is misspelt.",
        "plan recipe.yaml",
        ("hh5", "hh6"),
        recipe={"labels": "hh5"},
    ),
    Mistake("There is only one label.", "plan recipe.yaml", ("labels", "2 to 1000"), recipe={"labels": ["good"]}),
    Mistake(
        "The elicitation's name is misspelt.",
        "plan recipe.yaml",
        ("elicitation", "'choice'"),
        recipe={"elicitation": "choise"},
    ),
    Mistake(
        "The prompt file does not exist.",
        "plan recipe.yaml",
        ("my_prompt.jinja", "choice"),
        recipe={"prompt": "my_prompt.jinja"},
    ),
    Mistake(
        "The prompt uses an unknown variable.",
        "plan recipe.yaml",
        ("mine.jinja", "personna"),
        recipe={"prompt": "mine.jinja", "elicitation": "choice"},
        files={
            "mine.jinja": "{% block item %}{{ prompt }}{% endblock %}{% block persona %}{{ personna.name }}{% endblock %}"
        },
    ),
    Mistake(
        "There is nothing to annotate: the recipe has no source.",
        "plan recipe.yaml",
        ("source", "path"),
        recipe={"source": None},
    ),
    Mistake(
        "People's ratings and a model at the same time.",
        "plan recipe.yaml",
        ("annotators", "leave"),
        recipe=PEOPLE | {"source": None},
    ),
]

SOURCES = [
    Mistake(
        "The file does not exist, but one with a similar name does.",
        "plan recipe.yaml",
        ("pair.jsonl", "pairs.jsonl"),
        recipe={"source": {"path": "pair.jsonl"}},
    ),
    Mistake("The file is empty.", "plan recipe.yaml", ("pairs.jsonl", "empty"), files={"pairs.jsonl": ""}),
    Mistake(
        "The columns have unknown names.",
        "plan recipe.yaml",
        ("pairs.jsonl", "instruction_text", "columns"),
        files=_rows({"instruction_text": "A?", "completion_text": "B."}),
    ),
    Mistake(
        "`columns` names a column that does not exist.",
        "plan recipe.yaml",
        ("pairs.jsonl", "'respons'", "response"),
        recipe={"source": {"path": "pairs.jsonl", "columns": {"response": "respons"}}},
    ),
    Mistake(
        "The id column does not exist.",
        "plan recipe.yaml",
        ("ticket", "prompt"),
        recipe={"source": {"path": "pairs.jsonl", "id": "ticket"}},
    ),
    Mistake(
        "Every line is invalid JSON.",
        "plan recipe.yaml",
        ("pairs.jsonl:1", "JSON"),
        files={"pairs.jsonl": "{'prompt': 'A?', 'response': 'B.'}\n" * 2},
    ),
    Mistake(
        "A JSON list was saved with the extension of JSON lines.",
        "plan recipe.yaml",
        ("pairs.jsonl", "JSON"),
        files={"pairs.jsonl": '[\n {"prompt": "A?", "response": "B."}\n]\n'},
    ),
    Mistake(
        "A CSV file is in an encoding that is not UTF-8.",
        "plan recipe.yaml",
        ("pairs.csv", "UTF-8"),
        recipe={"source": {"path": "pairs.csv"}},
        files={"pairs.csv": "prompt,response\nOù?,Là.\n".encode("latin-1")},
    ),
    Mistake(
        "An unsupported file format.",
        "plan recipe.yaml",
        ("pairs.docx", ".jsonl"),
        recipe={"source": {"path": "pairs.docx"}},
        files={"pairs.docx": b"PK"},
    ),
    Mistake(
        "A truncated Parquet file.",
        "plan recipe.yaml",
        ("pairs.parquet", "Parquet"),
        recipe={"source": {"path": "pairs.parquet"}},
        files={"pairs.parquet": b"PAR1 and no more"},
    ),
    Mistake(
        "All responses are empty.",
        "plan recipe.yaml",
        ("pairs.jsonl:1", "empty"),
        files=_rows({"prompt": "A?", "response": ""}),
    ),
    Mistake(
        "The messages end with the user.",
        "plan recipe.yaml",
        ("pairs.jsonl:1", "assistant"),
        files=_rows({"messages": [{"role": "user", "content": "A?"}]}),
    ),
    Mistake("`dprm init` over an existing recipe.", "init recipe.yaml", ("recipe.yaml", "--overwrite")),
]

MODELS = [
    Mistake(
        "The provider's name is misspelt.",
        "plan recipe.yaml",
        ("opneai", "'openai'"),
        recipe={"provider": _GPT | {"name": "opneai"}},
    ),
    Mistake(
        "The model's name is misspelt.",
        "plan recipe.yaml",
        ("gpt-4o-mni", "gpt-4o-mini"),
        recipe={"provider": {"name": "openai", "model": "gpt-4o-mni"}},
    ),
    Mistake(
        "No model is named.",
        "plan recipe.yaml",
        ("provider.model", "dprm models"),
        recipe={"provider": {"name": "openai"}},
    ),
    Mistake(
        "The key's variable is not set.",
        "run recipe.yaml",
        ("OPENAI_API_KEY",),
        recipe={"provider": _GPT, "output": "new"},
    ),
    Mistake(
        "The key itself is written into the recipe.",
        "plan recipe.yaml",
        ("api_key", "'api_key_env'"),
        recipe={"provider": _GPT | {"api_key": "sk-proj-0123456789abcdef0123456789abcdef"}},
    ),
    Mistake(
        "The key is given in place of the variable's name.",
        "plan recipe.yaml",
        ("api_key_env", "variable"),
        recipe={"provider": _GPT | {"api_key_env": "sk-proj-0123456789abcdef0123456789abcdef"}},
    ),
    Mistake(
        "The address has no `http://`.",
        "run recipe.yaml",
        ("base_url", "http"),
        recipe={"provider": _GPT | {"base_url": "localhost:8000/v1"}, "output": "new"},
    ),
    Mistake(
        "A recipe from elsewhere would send your key to an unknown address.",
        "run recipe.yaml",
        ("unknown.example", "dprm trust"),
        recipe={"provider": _GPT | {"base_url": "https://unknown.example/v1"}, "output": "new"},
        environment={"OPENAI_API_KEY": "sk-test"},
    ),
    Mistake(
        "Azure without the address of the resource.",
        "run recipe.yaml",
        ("provider.base_url",),
        recipe={"provider": {"name": "azure", "model": "gpt-4o-mini"}, "output": "new"},
        environment={"AZURE_OPENAI_API_KEY": "k" * 20},
    ),
    Mistake(
        "The model file does not exist.",
        "plan recipe.yaml",
        ("model.gguf",),
        recipe={"provider": {"name": "local", "model": "./model.gguf"}},
    ),
    Mistake(
        "Log-probabilities from a model that gives none.",
        "plan recipe.yaml",
        ("logprobs", "choice"),
        recipe={"provider": {"name": "anthropic", "model": "claude-haiku-4-5"}, "elicitation": "logprobs"},
    ),
    Mistake(
        "A budget, and a model without a known price.",
        "run recipe.yaml",
        ("my-model", "price"),
        recipe={
            "provider": {"name": "openai", "model": "my-model", "base_url": "http://127.0.0.1:9/v1"},
            "output": "new",
        },
    ),
    Mistake(
        "A budget that does not pay for the first call.",
        "run recipe.yaml --max-cost 0.0001",
        ("budget of $", "--max-cost"),
        recipe={"output": "new"},
        code=3,
    ),
    Mistake("A negative budget.", "plan recipe.yaml", ("budget.max_cost", "0"), recipe={"budget": {"max_cost": -1}}),
    Mistake(
        "The jury names one model twice.",
        "plan recipe.yaml",
        ("models",),
        recipe={"provider": None, "models": [_GPT, _GPT]},
    ),
    Mistake(
        "Both `provider` and `models`.",
        "plan recipe.yaml",
        ("models", "provider"),
        recipe={"models": [_GPT]},
    ),
    Mistake(
        "Batch mode with a server that has none.",
        "run recipe.yaml",
        ("mode", "batch"),
        recipe={"provider": {"name": "local"}, "mode": "batch", "output": "new"},
    ),
    Mistake(
        "`engine: ray` with a ledger in a file.",
        "run recipe.yaml",
        ("ledger", "postgresql"),
        recipe={"engine": "ray", "output": "new"},
    ),
]
