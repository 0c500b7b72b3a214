"""Self-preference: a model that made some of the responses and judges them, too. Its rewards for its own are compared with those for others'.

For each prompt that has both, d_j = the mean reward that judge j gives to its own responses, minus that to the others. What its own are worth is
in it, too; so where there are other judges, the same difference by them is taken off: mean over prompts of (d_j - d_others). The interval is a
bootstrap over prompts. Where responses are compared, d_j is the share of comparisons of its own with another's in which it prefers its own. (Models do prefer what they wrote: Panickssery et al., arXiv 2404.13076.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.format import number, percent
from dprm_data.core.tables import ANNOTATIONS, COMPARISONS, ITEMS, conformed, part
from dprm_data.elicit.work import POPULATION
from dprm_data.labels.statistics import NOTHING, Interval, Resamples
from dprm_data.runs.verdict_line import Line, counted

if TYPE_CHECKING:
    from dprm_data.labels.space import LabelSpace
    from dprm_data.recipe.model_config import ModelConfig
    from dprm_data.runs.run import Run

Bools = NDArray[np.bool_]
# (a judge's id, whether it made each of N items, their prompts' numbers) -> for every prompt, by it and by the other judges, how its own fare against others' (G,) each; NaN where that is not known.
Measure = Callable[[str, Bools, Ints], tuple[Floats, Floats]]

_COLUMNS = ["item_id", "annotator_id", "annotator_kind", "status", "label", "probs", "weight", "model_id"]


@dataclass(frozen=True)
class SelfPreference:
    """One judge that made responses. own: its reward for its own minus that for others' or, in comparisons, the share in which it prefers its own (ties count half); beyond: that minus the same by the
    other judges (without a value if there are none). Both with a 95 % interval over so many prompts, those with both."""

    judge: str
    prompts: int
    own: Interval
    beyond: Interval
    compares: bool = False

    def sentence(self) -> str:
        """What was found."""
        if self.own.value is None:
            return f"{self.judge}: no prompt has both a response of its own and another's."
        signed = partial(number, digits=2, sign=True)
        if self.compares:
            found = f"prefers its own to others' in {_ends(self.own, percent)} of comparisons"
        else:
            found = f"gives its own {_ends(self.own, signed)} more reward than others'"
        more = f"{self.judge} {found}, over {self.prompts:,} prompts"
        if self.beyond.value is None:
            return f"{more}; without another judge, it cannot be told whether they are better."
        beyond = _ends(self.beyond, partial(percent, sign=True) if self.compares else signed)
        return f"{more}; beyond what the other judges do, that is {beyond}."


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
    group = items["group_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    generator = np.array(items["generator"].to_pylist(), dtype=object)
    measured = _shares(run, items) if run.compares else _differences_of(_rewards(run, items))
    judges = []
    for id_, own in made.items():
        mine, theirs = measured(id_, np.isin(generator, list(own)), group)
        known = np.isfinite(mine)
        both = known & np.isfinite(theirs)
        beyond = _interval((mine - theirs)[both])
        judges.append(SelfPreference(id_, int(known.sum()), _interval(mine[known]), beyond, run.compares))
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


def _differences_of(rewards: dict[str, Floats]) -> Measure:
    """From the judges' rewards for the items (N,)."""

    def measured(id_: str, own: Bools, group: Ints) -> tuple[Floats, Floats]:
        nothing = np.full(len(own), np.nan)
        others = [reward for other, reward in rewards.items() if other != id_]
        theirs = _mean(others) if others else nothing
        return _differences(rewards.get(id_, nothing), own, group), _differences(theirs, own, group)

    return measured


def _shares(run: Run, items: pa.Table) -> Measure:
    """From the judges' comparisons of one response with another."""
    table = pq.read_table(run.folder.needs("comparisons"), schema=COMPARISONS)
    table = table.filter(pc.and_(pc.equal(table["annotator_kind"], "persona"), pc.is_valid(table["preference"])))
    ids = items["item_id"].combine_chunks()
    first, second = (pc.index_in(table[f"{side}_item_id"], value_set=ids) for side in ("first", "second"))
    there = pc.and_(pc.is_valid(first), pc.is_valid(second))
    first, second = (side.filter(there).to_numpy().astype(np.int64) for side in (first, second))
    preference = np.sign(table["preference"].filter(there).to_numpy())
    judge = np.array(table["model_id"].filter(there).to_pylist(), dtype=object)

    def measured(id_: str, own: Bools, group: Ints) -> tuple[Floats, Floats]:
        mixed, groups = own[first] != own[second], int(group.max(initial=-1)) + 1
        for_own = (1 + np.where(own[first], preference, -preference)) / 2
        found = {}
        for each in dict.fromkeys(judge):
            asked = mixed & (judge == each)
            total = np.bincount(group[first[asked]], minlength=groups)
            with np.errstate(invalid="ignore"):
                found[each] = np.bincount(group[first[asked]], for_own[asked], groups) / total
        nothing = np.full(groups, np.nan)
        others = [share for other, share in found.items() if other != id_]
        return found.get(id_, nothing), _mean(others) if others else nothing

    return measured


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


def _ends(found: Interval, shown: Callable[[float | None], str]) -> str:
    ends = "" if found.low is None else f" ({shown(found.low)} to {shown(found.high)})"
    return f"{shown(found.value)}{ends}"
