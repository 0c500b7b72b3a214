"""The pilot: a few items, asked twice, before the whole run is paid for.

A pilot is a run of its own in the folder `pilot` inside the run's. Its recipe is the run's with other replicates, with one stated distribution per item,
and without early stopping; its items are drawn from the run's. It writes to the run's own ledger: a call of the pilot that the run makes too is paid once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import BudgetReached, InputError
from dprm_data.core.tables import ITEMS, conformed, write_parquet
from dprm_data.elicit.work import POPULATION
from dprm_data.engine.plan import Plan
from dprm_data.labels.statistics import NOTHING, Interval, Resamples
from dprm_data.ledger.factory import exists
from dprm_data.pipeline import stages
from dprm_data.pipeline.announcement import announce
from dprm_data.preference.model_agreement import StatedCheck
from dprm_data.recipe.recipe import PriorConfig
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.panel_variance import PanelVariance, panel_variance
from dprm_data.runs.run import Run
from dprm_data.runs.stated_votes import stated_against_votes
from dprm_data.runs.summary import known_cost
from dprm_data.runs.variance_sentences import sentences, warns

FOLDER = "pilot"
_ENOUGH_CALLS = 20  # for a pace


@dataclass(frozen=True)
class Projection:
    """The whole run, as the pilot's answers foresee it. cost: dollars for all of its annotations, with a 95 % interval over items (None: no price is known);
    left: what is still to pay, of calls_left calls; seconds: at the pilot's pace (None: too few calls to tell, or batches, which take up to a day)."""

    items: int
    cost: Interval
    left: float | None
    calls: int
    calls_left: int
    seconds: float | None
    at_most: bool  # early stopping asks fewer


@dataclass(frozen=True)
class Pilot:
    """What a pilot found. cost: dollars of its annotations; variance and stated: None where there is nothing to compare."""

    folder: str
    items: int
    replicates: int
    annotations: int
    ok: int
    cost: float | None
    variance: PanelVariance | None
    stated: StatedCheck | None
    projection: Projection
    notes: tuple[str, ...]

    @property
    def warns(self) -> bool:
        """Whether the personas do not move the answers beyond noise."""
        return self.variance is not None and warns(self.variance.components)

    def as_dict(self) -> dict[str, Any]:
        said = sentences(self.variance.components) if self.variance else []
        return asdict(self) | {"personas_above_noise": _above(self.variance), "findings": said}


def _above(variance: PanelVariance | None) -> bool | None:
    effect = variance.components.effect("persona") if variance else None
    return effect.beyond_noise if effect else None


def prepare_pilot(run: Run, *, items: int = 25, replicates: int = 2, seed: int = 0) -> tuple[Run, Plan]:
    """The pilot of a run whose items are stored (`stages.prepare`), and what it will cost. Makes no call.

    A larger pilot with the same seed contains the smaller one. Raises `InputError` for a run without a model, or one that was pulled.
    """
    check_can_ask(run, "a pilot", FOLDER)
    prior = run.recipe.prior or (None if run.elicitation.states_population else PriorConfig())
    pilot = derived(run, FOLDER, replicates=replicates if run.elicitation.repeatable else 1, prior=prior)
    store_sample(run, pilot, items, seed)
    announce(run)
    return pilot, stages.estimate(pilot)


def check_can_ask(run: Run, what: str, command: str) -> None:
    """Raise `InputError` where a run has no model to ask, or no ledger because it was pulled."""
    if not run.asks_models:
        raise InputError(
            f"annotators: people: {what} asks a model, and the recipe has none",
            hint="Run it: dprm run RECIPE. It makes no call.",
        )
    if run.recipe.generate and not run.folder.table("items").is_file():
        raise InputError(
            f"{run.folder} has no responses yet, and {what} asks about some of them",
            hint="Make them first: dprm generate RECIPE. The run does not pay for them again.",
        )
    if run.compares:
        raise InputError(
            f"elicitation: {run.recipe.elicitation}: {what} looks at labels, and comparisons have none",
            hint="dprm plan RECIPE says what it costs; budget: {max_cost: ...} ends it early, and no answer is paid for again.",
        )
    if run.is_pulled():
        raise InputError(
            f"{run.folder} was pulled from a published dataset, without the ledger of its calls: {what} would pay for them again",
            hint=f"Give another folder: dprm {command} RECIPE --output FOLDER.",
        )


def derived(run: Run, name: str, **changes: Any) -> Run:
    """A run in a folder of this name inside the run's, on the run's own ledger: asked directly, about all items in full."""
    folder = RunFolder(run.folder.path / name)
    changes |= {
        "early_stop": None,
        "mode": "direct",
        "engine": "direct",
        "ledger": run.ledger_address.absolute(),
        "output": str(folder),
    }
    return Run(run.recipe.model_copy(update=changes), folder, progress=run.progress, provider=run.provider)


def store_sample(run: Run, pilot: Run, count: int, seed: int) -> None:
    """Store a random sample of the run's items, in their order."""
    with pq.ParquetFile(run.folder.needs("items")) as file:
        total = file.metadata.num_rows
        rows = _sample(total, min(count, total), seed)
        batches, start = [], 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = rows[(rows >= start) & (rows < end)] - start
            if len(here):
                batches.append(conformed(file.read_row_group(group).take(pa.array(here)), ITEMS))
            start = end
    write_parquet(pilot.folder.table("items"), ITEMS, batches)


def _sample(total: int, count: int, seed: int) -> Ints:
    """`count` of `total` row numbers, sorted; a larger sample with the same seed contains the smaller."""
    rng = np.random.default_rng(seed)
    found: dict[int, None] = {}
    while len(found) < count:
        found.setdefault(int(rng.integers(total)), None)
    return np.array(sorted(found), dtype=np.int64)


def run_pilot(run: Run, pilot: Run, *, max_cost: float | None = None) -> Pilot:
    """Ask what is missing of the pilot, and say what it found. max_cost: dollars for this pilot; the recipe's budget holds too.

    Raises what `stages.annotate_and_keep` raises. All answers are kept.
    """
    with pilot.at_work():
        stages.annotate_and_keep(pilot, max_cost=spending_limit(run, max_cost), fitted=False)
        found = _found(run, pilot)
        pilot.folder.update_manifest(pilot=found.as_dict())
    return found


def spending_limit(run: Run, max_cost: float | None) -> float | None:
    """The budget counts everything that was spent under the run's name."""
    budget = run.recipe.budget.max_cost
    if max_cost is None:
        return budget
    spent = 0.0
    if exists(run.ledger_address):
        with run.ledger(readonly=True) as ledger:
            spent = ledger.spent()
    if budget is not None and spent >= budget:
        raise BudgetReached(
            f"the budget of ${budget:.4g} is spent already: ${spent:.4g}",
            hint="Raise the recipe's budget (budget: max_cost) for a pilot.",
        )
    return min(spent + max_cost, budget) if budget is not None else spent + max_cost


# -- findings -----------------------------------------------------------------------------------------------------------


def _found(run: Run, pilot: Run) -> Pilot:
    space, folder = run.space, pilot.folder
    table = pq.read_table(folder.needs("annotations"), columns=["item_id", "annotator_id", "status", "cost"])
    replicates = pilot.recipe.replicates
    return Pilot(
        folder=str(folder),
        items=pq.read_metadata(folder.needs("items")).num_rows,
        replicates=replicates,
        annotations=table.num_rows,
        ok=int(pc.sum(pc.equal(table["status"], "ok")).as_py() or 0),
        cost=known_cost(table),
        variance=panel_variance(folder, space),
        stated=stated_against_votes(folder, space) if pilot.recipe.prior else None,
        projection=projected(run, pilot, table),
        notes=tuple(_notes(run, replicates)),
    )


def projected(run: Run, pilot: Run, table: pa.Table) -> Projection:
    """The whole run, as the annotations of a derived run foresee it."""
    planned = stages.estimate(run)
    calls = planned.calls_known + planned.calls_needed
    # The plan of a large run counts a sample of its items, which the pilot's need not be in.
    changes = {"ledger": pilot.recipe.ledger, "output": pilot.recipe.output}
    on_pilot = Run(run.recipe.model_copy(update=changes), pilot.folder, provider=run.provider)
    left_to_ask = min(planned.calls_needed, calls - stages.estimate(on_pilot).calls_known)
    per_item = _cost_per_item(run, pilot, table)
    cost = NOTHING
    if len(per_item):
        drawn = Resamples.of(np.arange(len(per_item)))
        factor = planned.items * _batch_discount(run, planned)
        mean = drawn.mean(per_item)
        cost = Interval(*(None if end is None else end * factor for end in (mean.value, mean.low, mean.high)))
    left = None if cost.value is None else cost.value * left_to_ask / max(calls, 1)
    pace = _pace(pilot) if run.recipe.mode == "direct" else None
    return Projection(
        items=planned.items,
        cost=cost,
        left=left,
        calls=calls,
        calls_left=left_to_ask,
        seconds=left_to_ask / pace if pace else None,
        at_most=run.recipe.early_stop is not None,
    )


def _cost_per_item(run: Run, pilot: Run, table: pa.Table) -> Floats:
    """What every item of the pilot would have cost in the run, which asks another number of replicates and perhaps for no stated distribution; empty if a price is
    not known."""
    if table["cost"].null_count or not table.num_rows:
        return np.zeros(0)
    items = table["item_id"].combine_chunks().dictionary_encode()
    population = pc.equal(table["annotator_id"], POPULATION.id).to_numpy()
    factor = np.where(population, float(run.recipe.prior is not None), run.recipe.replicates / pilot.recipe.replicates)
    return np.asarray(
        np.bincount(items.indices.to_numpy(), weights=table["cost"].to_numpy() * factor), dtype=np.float64
    )


def _batch_discount(run: Run, planned: Plan) -> float:
    """The price of the run, as planned, over that of the same calls made directly, as the pilot makes them."""
    if run.recipe.mode != "batch":
        return 1.0
    direct = Run(
        run.recipe.model_copy(update={"mode": "direct"}), run.folder, progress=run.progress, provider=run.provider
    )
    asked, full = planned.cost, stages.estimate(direct).cost
    return asked / full if asked and full else 1.0


def _pace(pilot: Run) -> float | None:
    """Calls per second of the last pilot that made enough of them."""
    manifest = pilot.folder.read_manifest()
    last = manifest.get("last_annotate", {})
    if last.get("calls", 0) >= _ENOUGH_CALLS and last.get("seconds"):
        pace = float(last["calls"] / last["seconds"])
        pilot.folder.update_manifest(pace=pace)
        return pace
    return manifest.get("pace")


def _notes(run: Run, replicates: int) -> list[str]:
    notes = []
    if not run.elicitation.repeatable:
        notes.append(
            f"elicitation: {run.recipe.elicitation} gives the same answer when it asks again, so replicate noise was not measured"
        )
    elif replicates < 2:
        notes.append("with one replicate, noise is not measured")
    if run.recipe.mode == "batch":
        notes.append("the pilot asked directly, at the full price; the projection is for batches")
    if run.recipe.early_stop:
        notes.append(
            "early_stop asks fewer personas about clear items: the projection is the most that the run can take"
        )
    return notes
