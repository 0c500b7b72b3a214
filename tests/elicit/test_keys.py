"""Keys are for ever: a call whose key changes is paid for again, an item whose plan key changes is looked at again.

The values below were computed by the first version that wrote ledgers; they change only with the words that are sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from dprm_data.elicit.template import load_prompt
from dprm_data.elicit.work import Task, Work, make_work
from dprm_data.ingest.items import Item, ids_of
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.call import Call, Reply
from dprm_data.panel.panel_sources import load_panel
from dprm_data.recipe.recipe import Recipe

COLOURS = {
    "name": "colours",
    "labels": [{"name": name, "reward": i} for i, name in enumerate(("red", "green", "blue"))],
}
EVERYTHING_SENT = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "max_tokens": 50, "extra": {"top_k": 5}}

# What is asked; the plan's key; the hash of the keys of all calls, re-asks and calibration included.
PINNED: dict[str, tuple[dict[str, Any], str, str]] = {
    "choice": ({}, "498f460d22ffb767ddc67c7bf82b02c8", "57900d0849a4e873bbe94ceefd589dd4"),
    "choice, no axes": ({"labels": COLOURS}, "2d8f41ba8435798c4dd80cd75fd2829d", "21a09e5a635584f2df4284dad06c6c28"),
    "choice with a rationale": (
        {"rationale": True},
        "627e90dc97614528e258f3c56b08489a",
        "f39aca61cd952e57166c5f0257d8add5",
    ),
    "choice with all parameters": (
        {"provider": {"name": "openai", "model": "m"} | EVERYTHING_SENT},
        "810395b63ca4aebac2c4167e26ddde1a",
        "1e601b1c0d88a1516074f45626eefba2",
    ),
    "choice without a schema": (
        {"provider": {"name": "openai", "model": "m", "structured": "none"}},
        "79d50f5fe34df49c9c6efe478305b5e4",
        "83221512db9914ae0ef870e12c775629",
    ),
    "choice of another provider": (
        {"provider": {"name": "anthropic", "model": "m"}},
        "c575f66f17d43b56e654fdb4fe28c533",
        "9b5bfc51c05248c37163e8dcdb0018c2",
    ),
    "choice with a prior": ({"prior": {}}, "3e408f64eabbaa7f9738bf2c5f4c4bdc", "8abfbe817e9a20be37e8b456259c8f79"),
    "choice with a rationale and a prior": (
        {"rationale": True, "prior": {}},
        "6464dcaf95cad86f9e319afe75c3bad2",
        "7a4bd6f3794fc0dfeee6adc6ed6a8fe7",
    ),
    "choice, three replicates": (
        {"replicates": 3},
        "b3150a1f089cf603d523d409cf217ebc",
        "2752dc4e6e17b6548089ddff3faee7ca",
    ),
    "choice, no re-asks": ({"max_reasks": 0}, "58862460bd7474ab2169fc02977692f1", "543f6491b4dc7e231e3c14fa2d282536"),
    "choice, four re-asks": ({"max_reasks": 4}, "18b53867c8b81a4c04c785ae2d281017", "4b134b8afe75d58dc4e7bbb271bdd82d"),
    "choice, another seed": ({"seed": 7}, "6f35c9002b294ac7463a954b9d15d418", "31a7e48a56d1df98187776e085dc9af2"),
    "choice of two personas": (
        {"panel": {"use": "small", "sample": 2}},
        "a2e8e796a3d6e3a3e9cab146eabfb966",
        "26212b0a3f0074ea10eaa05e6dfdc79b",
    ),
    "choice that stops early": (
        {"early_stop": {"within": 0.3}},
        "73079275b361b231d9c9c21f1a1d4455",
        "57900d0849a4e873bbe94ceefd589dd4",
    ),
    "distribution": (
        {"elicitation": "distribution"},
        "79941350d17adced4adee5f300073f6d",
        "687315d8f1dace5e1fd37a984e186dba",
    ),
    "distribution, no axes": (
        {"elicitation": "distribution", "labels": COLOURS},
        "fe99de59545a8d082cf9bc6c5b5973aa",
        "9efde1feab7b17a299f2dc441a99c872",
    ),
    "distribution with a prior": (
        {"elicitation": "distribution", "prior": {}},
        "70041f16efa257bd5b390720dc534f40",
        "30ac8f56105a0502038e3686070da63b",
    ),
    "distribution, three replicates": (
        {"elicitation": "distribution", "replicates": 3},
        "88c647bf7e5eade0152dd0a159d3b8c0",
        "f1cbf3e83a5dbd2cf66dbfa7a60fc4e2",
    ),
    "distribution with all parameters": (
        {"elicitation": "distribution", "provider": {"name": "openai", "model": "m"} | EVERYTHING_SENT},
        "97ee021ab7f1081bb6d4d2973ad2bc92",
        "478ac0be494bf521f00b77f34a0ce692",
    ),
    "logprobs": ({"elicitation": "logprobs"}, "91d68791b328dbd8af1ebea6534d7993", "d03a58d066444eda2d5bfee23ec7943f"),
    "logprobs, no axes": (
        {"elicitation": "logprobs", "labels": COLOURS},
        "6ff2364a1a007f304d181538347ad589",
        "757de8b9d0bbda184510b8bbf4a13adb",
    ),
    "logprobs, one axis": (
        {"elicitation": "logprobs", "labels": "ordinal5"},
        "cde936b843091421a345c9365a8d68ed",
        "58c29731b0c30836c9911f3f98cc8c69",
    ),
    "logprobs, another seed": (
        {"elicitation": "logprobs", "labels": "ordinal5", "seed": 7},
        "cf138bd03ba82c98e7fecffbb03a03d2",
        "10f0211dff4a45e8ac8162fdaaa3a312",
    ),
    "logprobs with a prior": (
        {"elicitation": "logprobs", "prior": {}},
        "4ee5088cffe7eb2635fee759badc73ec",
        "6f7a1b3fdaf0ae0d56f43f5ba024e0c2",
    ),
    "logprobs with all parameters": (
        {"elicitation": "logprobs", "provider": {"name": "openai", "model": "m"} | EVERYTHING_SENT},
        "78fe2e26fdabd144478a5131b1cbd071",
        "c2bce0da147d01676ab8e134ea57534a",
    ),
}


def work_of(recipe: dict[str, Any]) -> Work:
    parsed = Recipe.of(
        {"provider": {"name": "openai", "model": "m"}, "panel": "small", "elicitation": "choice"} | recipe
    )
    return make_work(
        parsed,
        LabelSpace.load(parsed.labels),
        load_panel("small"),
        load_prompt(parsed.prompt or parsed.elicitation),
        load_prompt("distribution") if parsed.prior else None,
    )


def items() -> list[Item]:
    made = []
    for said in ("Paris.", "I do not know."):
        prompt = ({"role": "user", "content": "The capital of France?"},)
        completion = ({"role": "assistant", "content": said},)
        item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
        made.append(Item(item_id, prompt, completion, group_id, None, "test:1", {}))  # type: ignore[arg-type]
    return made


def calls(task: Task) -> list[Call]:
    """All calls of a task whose answers cannot be read."""
    replies: list[Reply] = []
    made = []
    while isinstance(step := task.next(replies), Call):
        made.append(step)
        replies.append(Reply("answered", text=f"I say {len(replies)}"))
    return made


def digest(keys: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(keys)).hexdigest()[:32]


def keys_of(recipe: dict[str, Any]) -> tuple[str, str]:
    work = work_of(recipe)
    tasks = [*work.calibration_tasks(), *(task for item in items() for task in work.tasks(item))]
    return work.plan_key().hex(), digest([call.key for task in tasks for call in calls(task)])


@pytest.mark.parametrize("name", PINNED)
def test_keys_do_not_change(name: str) -> None:
    recipe, *keys = PINNED[name]
    assert keys_of(recipe) == tuple(keys)


def test_they_are_the_keys_of_different_questions() -> None:
    assert len({plan for _, plan, _ in PINNED.values()}) == len(PINNED)
