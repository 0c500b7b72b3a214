"""Mistakes in Python."""

from __future__ import annotations

from tests.mistakes.mistake import Mistake


def _line(what: str, does: str, *says: str) -> Mistake:
    return Mistake(what, does, says, python=True)


PYTHON = [
    _line("A recipe that does not exist.", 'import dprm_data\ndprm_data.run("recipes.yaml")', "recipes.yaml"),
    _line(
        "A setting is misspelt.",
        'import dprm_data\ndprm_data.plan({"source": {"path": "pairs.jsonl"}, "provider": {"name": "local"}, "panels": "small"})',
        "panels",
        "'panel'",
    ),
    _line(
        "Rows without known columns.",
        'import dprm_data\ndprm_data.plan("recipe.yaml", source=[{"q": "A?", "a": "B."}])',
        "q, a",
        "columns",
    ),
    _line("No rows.", 'import dprm_data\ndprm_data.plan("recipe.yaml", source=[])', "rows"),
    _line(
        "A text is given instead of rows.",
        'import dprm_data\ndprm_data.plan("recipe.yaml", source="pairs.jsonl")',
        "source",
    ),
    _line(
        "Votes outside the scale.",
        'from dprm_data import LabelSpace, read_votes\nread_votes([{"item_id": "a", "annotator_id": "b", "label": 9}], LabelSpace.ordinal(5))',
        "9",
    ),
    _line("A scale with one level.", "from dprm_data import LabelSpace\nLabelSpace.ordinal(1)", "2"),
    _line(
        "Something other than votes is fitted.",
        "from dprm_data import LabelSpace, fit\nfit([1, 2, 3], LabelSpace.ordinal(3))",
        "rows as dicts",
    ),
    _line(
        "An unknown family.",
        'from dprm_data import LabelSpace, fit, read_votes\nspace = LabelSpace.ordinal(5)\nfit(read_votes("votes.csv", space), space, family="gauss")',
        "gauss",
        "beta",
    ),
    _line("A folder that is not a run folder.", 'import dprm_data\ndprm_data.Run.open("run/tables")', "run/tables"),
    _line("An unknown panel.", 'import dprm_data\ndprm_data.load_panel("papre")', "papre", "paper"),
]
