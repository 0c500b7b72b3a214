"""Self-preference: a model that made some of the responses and judges them, too. Its rewards for its own are compared with those for others'.

For each prompt that has both, d_j = the mean reward that judge j gives to its own responses, minus that to the others. What its own are worth is
in it, too; so where there are other judges, the same difference by them is taken off: mean over prompts of (d_j - d_others). The interval is a
bootstrap over prompts. (Models do prefer what they wrote: Panickssery et al., arXiv 2404.13076.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.core.tables import ANNOTATIONS, ITEMS, conformed, part
from dprm_data.elicit.work import POPULATION
from dprm_data.labels.statistics import NOTHING, Interval, Resamples
from dprm_data.runs.verdict_line import Line, counted

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_data.recipe.model_config import ModelConfig
    from dprm_data.runs.run import Run

_COLUMNS = ["item_id", "annotator_id", "annotator_kind", "status", "label", "probs", "weight", "model_id"]


@dataclass(frozen=True)
class SelfPreference:
    """One judge that made responses. own: its reward for its own minus that for others'; beyond: that minus the same by the other judges (without a value
    if there are none). Both in units of reward, with a 95 % interval over so many prompts, those with both."""

    judge: str
    prompts: int
    own: Interval
    beyond: Interval

    def sentence(self) -> str:
        """What was found."""
        if self.own.value is None:
            return f"{self.judge}: no prompt has both a response of its own and another's."
        more = f"{self.judge} gives its own {_signed(self.own)} more reward than others', over {self.prompts:,} prompts"
        if self.beyond.value is None:
            return f"{more}; without another judge, it cannot be told whether they are better."
        return f"{more}; beyond what the other judges do, that is {_signed(self.beyond)}."


@dataclass(frozen=True)
class OwnResponses:
    """The judges that made some of the responses."""

    judges: tuple[SelfPreference, ...]

    def line(self) -> Line:
        """Their flag, for the verdict."""
        said = " ".join(judge.sentence() for judge in self.judges)
        return Line("Own responses judged?", f"Yes, by {counted(len(self.judges), 'model')}", said, concern=True)


def own_responses(run: Run) -> OwnResponses | None:
    """What the judges that made some of the run's responses think of them; None if there are none. Makes no call."""
    made = {
        judge.id: {generator.id for generator in _generators(run) if _is_same(judge, generator)}
        for judge in run.recipe.entries
    }
    made = {id_: own for id_, own in made.items() if own}
    if not made:
        return None
    schema = part(ITEMS, ["item_id", "group_id", "generator"])
    items = conformed(pq.read_table(run.folder.needs("items"), columns=schema.names), schema)
    rewards = _rewards(run, items)
    group = items["group_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    generator = np.array(items["generator"].to_pylist(), dtype=object)
    judges = (_of_judge(id_, np.isin(generator, list(own)), group, rewards) for id_, own in made.items())
    return OwnResponses(tuple(judges))


def _generators(run: Run) -> list[ModelConfig]:
    return run.recipe.generate.models if run.recipe.generate else []


def _is_same(judge: ModelConfig, generator: ModelConfig) -> bool:
    """Whether two entries are one model, wherever it is served: `qwen/qwen3-8b` and `Qwen3-8B` are."""
    if not (judge.model or generator.model):
        return judge.name == generator.name
    one, other = (entry.model.rpartition("/")[2].casefold() for entry in (judge, generator))
    return one == other


def _rewards(run: Run, items: pa.Table) -> dict[str, Floats]:
    """Each judge's mean reward for every item (N,); NaN where it gave none."""
    table = pq.read_table(run.folder.needs("annotations"), columns=_COLUMNS, schema=ANNOTATIONS)
    voted = pc.and_(pc.equal(table["status"], "ok"), pc.equal(table["annotator_kind"], "persona"))
    table = table.filter(pc.and_(voted, pc.not_equal(table["annotator_id"], POPULATION.id)))
    item = pc.index_in(table["item_id"], value_set=items["item_id"].combine_chunks()).to_numpy(zero_copy_only=False)
    reward, weight = _reward_of(table, run.space), table["weight"].to_numpy(zero_copy_only=False)
    judge = np.array(table["model_id"].to_pylist(), dtype=object)
    found = {}
    for id_ in dict.fromkeys(judge):
        mine = (judge == id_) & ~np.isnan(item.astype(np.float64)) & np.isfinite(reward)
        rows, counted = item[mine].astype(np.int64), weight[mine]
        total = np.bincount(rows, counted, minlength=items.num_rows)
        with np.errstate(invalid="ignore"):
            found[id_] = np.bincount(rows, counted * reward[mine], minlength=items.num_rows) / total
    return found


def _reward_of(table: pa.Table, space: LabelSpace) -> Floats:
    """The reward of each annotation: of its label, or expected over its distribution."""
    by_name = dict(zip(space.names, space.rewards, strict=True))
    rows = zip(table["label"].to_pylist(), table["probs"].to_pylist(), strict=True)
    return np.array([np.dot(probs, space.rewards) if probs else by_name.get(label, np.nan) for label, probs in rows])


def _of_judge(id_: str, own: np.ndarray, group: np.ndarray, rewards: dict[str, Floats]) -> SelfPreference:
    nothing = np.full(len(own), np.nan)
    mine = _differences(rewards.get(id_, nothing), own, group)
    others = [reward for other, reward in rewards.items() if other != id_]
    theirs = _differences(_mean(others), own, group) if others else np.full(len(mine), np.nan)
    both = np.isfinite(mine) & np.isfinite(theirs)
    known = np.isfinite(mine)
    return SelfPreference(id_, int(known.sum()), _interval(mine[known]), _interval((mine - theirs)[both]))


def _mean(values: list[Floats]) -> Floats:
    """The mean of the judges that judged an item (N,)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))


def _differences(reward: Floats, own: np.ndarray, group: np.ndarray) -> Floats:
    """For every prompt, the mean reward of its own responses minus that of the others (G,); NaN where one of them is missing."""
    groups, known = int(group.max(initial=-1)) + 1, np.isfinite(reward)
    means = []
    for side in (known & own, known & ~own):
        with np.errstate(invalid="ignore"):
            means.append(np.bincount(group[side], reward[side], groups) / np.bincount(group[side], minlength=groups))
    return np.asarray(means[0] - means[1])


def _interval(values: Floats) -> Interval:
    return Resamples.of(np.arange(len(values))).mean(values) if len(values) else NOTHING


def _signed(found: Interval) -> str:
    ends = "" if found.low is None else f" ({found.low:+.2f} to {found.high:+.2f})"
    return f"{found.value:+.2f}{ends}"
