"""Keys of comparisons are for ever too (`test_keys.py` has those of labels): computed by the first version that asked so."""

from __future__ import annotations

from typing import Any

import pytest

from dprm_data.core.registry import ELICITATIONS
from dprm_data.elicit.work import make_work
from dprm_data.labels.space import LabelSpace
from dprm_data.panel.panel_sources import load_panel
from dprm_data.recipe.recipe import Recipe
from tests.elicit.test_keys import calls, digest
from tests.elicit.test_side_by_side import item

PINNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "compare": ({"elicitation": "compare"}, "1076306b305f4dee24c9519798a752a4", "359f86e1963cb3d20eb0e561f8de6f8e"),
    "compare, as the recipe says": (
        {
            "elicitation": "compare",
            "rationale": True,
            "compare": {"steps": 7, "orders": "half", "criterion": "Which is kinder?"},
        },
        "c43e7457309cf3e5158ad1a7755da13d",
        "f0c4acde7eb5004dd8e551dca0dd5c9e",
    ),
    "best_worst": (
        {"elicitation": "best_worst"},
        "ad224ca7dbd587376132ec0dbaa5bcd8",
        "0ce9f78cc43047e714be0b19231fa247",
    ),
    "compare_logprobs": (
        {"elicitation": "compare_logprobs"},
        "83a579459bf0b7ae87509b58f8518aa2",
        "0097d1399d68b42d814227fd564093ca",
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_the_same_question_has_the_same_key(name: str) -> None:
    content, plan, keys = PINNED[name]
    recipe = Recipe.of({"provider": {"name": "openai", "model": "m"}, "panel": "small"} | content)
    asked = ELICITATIONS.get(recipe.elicitation)
    work = make_work(
        *(recipe, LabelSpace.load("hh6"), load_panel("small"), asked.default_template(rationale=recipe.rationale), None)
    )
    items = [item(text) for text in ("Eight minutes.", "I do not know.", "Ask your mother.", "Ten minutes.", "Why?")]
    shown = asked.shown_together(items, [each.group_id for each in items], recipe)
    made = [call.key for each in shown for task in work.tasks(each) for call in calls(task)]
    assert (work.plan_key().hex(), digest(made)) == (plan, keys)
