"""Two runs side by side, on the items that both judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.core.errors import InputError
from dprm_data.preference.pairs import pairs_within

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_MOVERS = 12
_MOST_OF_A_PROMPT = 20  # responses; all their pairs are compared
_CUT = 400  # characters of a text


@dataclass(frozen=True)
class Mover:
    """An item whose expected reward differs greatly between this run (here) and the other (there)."""

    item_id: str
    prompt: str
    response: str
    here: float
    there: float
    shares_here: list[float]
    shares_there: list[float]


@dataclass(frozen=True)
class Comparison:
    """The items that both runs judged. rewards (n, 2): here and there. agree, flipped, tied: pairs of responses to one prompt that the runs
    order alike, order differently, or that one of them ties."""

    name: str
    models: list[str]
    items: int
    only_here: int
    only_there: int
    rewards: Floats
    correlation: float | None
    mean_difference: float
    mean_distance: float
    shares_here: list[float]
    shares_there: list[float]
    agree: int
    flipped: int
    tied: int
    movers: list[Mover]


def compare(run: Run, other: Run) -> Comparison:
    """Compare two runs. Raises `InputError` if their labels differ, or if they have no judged item in common."""
    if run.space.names != other.space.names or run.space.rewards.tolist() != other.space.rewards.tolist():
        raise InputError(
            f"{other.folder} ({other.space.name}) and {run.folder} ({run.space.name}) have different labels",
            hint="Only runs with the same label space can be compared.",
        )
    here, there = _figures(run), _figures(other)
    common = [item for item in here if item in there]
    if not common:
        raise InputError(f"{run.folder} and {other.folder} have no judged item in common")
    a = np.array([here[item][1] for item in common])
    b = np.array([there[item][1] for item in common])
    rewards = np.stack([a @ run.space.rewards, b @ run.space.rewards], axis=1)
    gap = rewards[:, 0] - rewards[:, 1]
    varied = len(common) > 2 and rewards.std(axis=0).min() > 1e-9
    order = np.argsort(-np.abs(gap), kind="stable")[:_MOVERS]
    agree, flipped, tied = _pairs([here[item][0] for item in common], rewards)
    texts = _texts(run, [common[i] for i in order])
    return Comparison(
        name=other.recipe.name,
        models=sorted({str(name) for name in _models(other)}),
        items=len(common),
        only_here=len(here) - len(common),
        only_there=len(there) - len(common),
        rewards=rewards,
        correlation=float(np.corrcoef(rewards[:, 0], rewards[:, 1]).item(1)) if varied else None,
        mean_difference=float(gap.mean()),
        mean_distance=float(np.abs(gap).mean()),
        shares_here=[float(share) for share in a.mean(axis=0)],
        shares_there=[float(share) for share in b.mean(axis=0)],
        agree=agree,
        flipped=flipped,
        tied=tied,
        movers=[
            Mover(
                common[i], *texts[common[i]], float(rewards[i, 0]), float(rewards[i, 1]), a[i].tolist(), b[i].tolist()
            )
            for i in order.tolist()
        ],
    )


def _figures(run: Run) -> dict[str, tuple[str, list[float]]]:
    """Every judged item's group and distribution."""
    columns = ["item_id", "group_id", "label_distribution", "evidence"]
    table = pq.read_table(run.folder.needs("distributions"), columns=columns)
    rows = zip(*(table[column].to_pylist() for column in columns), strict=True)
    return {item: (group, shares) for item, group, shares, evidence in rows if evidence > 0}


def _models(run: Run) -> list[str]:
    column = pq.read_table(run.folder.needs("annotations"), columns=["model"])["model"]
    return [name for name in column.unique().to_pylist() if name]


def _pairs(groups: list[str], rewards: Floats) -> tuple[int, int, int]:
    first, second = pairs_within(groups, _MOST_OF_A_PROMPT).T
    here, there = np.sign(np.round(rewards[first] - rewards[second], 6)).T
    order = here * there
    return int((order > 0).sum()), int((order < 0).sum()), int((order == 0).sum())


def _texts(run: Run, item_ids: list[str]) -> dict[str, tuple[str, str]]:
    table = pq.read_table(
        run.folder.needs("distributions"),
        columns=["item_id", "prompt", "completion"],
        filters=[("item_id", "in", item_ids)],
    )
    return {
        row["item_id"]: (_last(row["prompt"]), "\n".join(message["content"] for message in row["completion"])[:_CUT])
        for row in table.to_pylist()
    }


def _last(prompt: list[dict[str, str]]) -> str:
    return prompt[-1]["content"][:_CUT] if prompt else ""
