"""The last stage of a run: from annotations to distributions, preferences, card and manifest. Makes no call."""

from __future__ import annotations

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.scrub import without_secrets
from dprm_data.core.tables import write_text
from dprm_data.ingest.ratings import ratings_of_items
from dprm_data.preference.coupling import TYPICAL, learn_coupling
from dprm_data.preference.fitting import Fit
from dprm_data.preference.pair_shares import Coupling
from dprm_data.providers.provider import provider_class
from dprm_data.publish.cards import dataset_card
from dprm_data.review.apply_calibration import applied_calibration, fit_calibrated, uncalibrated_file
from dprm_data.runs.active_budget import asks_actively
from dprm_data.runs.comparison_findings import comparison_record
from dprm_data.runs.comparison_table import compared_of
from dprm_data.runs.dataset import write_distributions
from dprm_data.runs.fit import counts_people, fit_annotations, panel_worth_record
from dprm_data.runs.origins import generators
from dprm_data.runs.preferences import Preferences, write_preferences
from dprm_data.runs.summary import summarise
from dprm_data.runs.utilities import write_utilities
from dprm_data.runs.variance_sentences import variance_record

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_LIBRARIES = ("dprm-data", "numpy", "scipy", "pyarrow", "genai-prices")  # and the provider's own


def fit_run(run: Run) -> Fit:
    """Fit the run's annotations, and write distributions, preferences, manifest and card."""
    folder = run.folder
    annotations, calibration = pq.read_table(folder.needs("annotations")), applied_calibration(folder)
    fitted = fit_calibrated(run, annotations)
    plain = fit_annotations(run, annotations) if calibration else fitted
    write_distributions(fitted, folder.needs("items"), folder.table("distributions"))
    uncalibrated = uncalibrated_file(folder)
    if calibration:
        write_distributions(plain, folder.needs("items"), uncalibrated)
    else:
        uncalibrated.unlink(missing_ok=True)
    preferences = _preferences(run, annotations, fitted)
    worth = (calibration or {}).get("worth") or panel_worth_record(annotations, plain)
    folder.update_manifest(**_manifest(run, fitted), panel_worth=worth, preferences=preferences)
    write_text(folder.card_file, dataset_card(run, summarise(folder, run.space)))
    return fitted


def _preferences(run: Run, annotations: pa.Table, fitted: Fit) -> dict[str, Any]:
    """Write the pairs, and fit the comparisons for them and for the order of the responses. Returns what the manifest says of both."""
    coupling = _coupling(run, annotations, fitted)
    found = compared_of(run.folder, fitted, run.recipe.fit.human_weight, active=asks_actively(run))
    how = Preferences(
        rewards=run.space.rewards,
        chosen=run.recipe.preferences,
        coupling=coupling or TYPICAL,
        level=fitted.level,
        compared=found,
        generator=generators(run.folder),
    )
    counts = write_preferences(run.folder.table("distributions"), run.folder.table("preferences"), how)
    write_utilities(run.folder, fitted, found)
    record = counts.to_dict() | {"coupling": asdict(how.coupling), "coupling_learned": coupling is not None}
    return record | ({"compared": comparison_record(found)} if found else {})


def _coupling(run: Run, annotations: pa.Table, fitted: Fit) -> Coupling | None:
    """How one person's rewards of two responses go together; None if nothing tells, or no prompt has two responses."""
    groups = pq.read_table(run.folder.needs("items"), columns=["group_id"])["group_id"]
    if pc.count_distinct(groups).as_py() == len(groups):
        return None
    ratings = ratings_of_items(annotations, run.space, fitted.votes.item_ids)
    return learn_coupling(ratings, fitted.distribution, fitted.reward_error, run.space)


def _manifest(run: Run, fitted: Fit) -> dict[str, Any]:
    work = run.work
    prompts = {each.template.name: each.template.version for each in work.elicitations}
    calibration = applied_calibration(run.folder)
    entries = run.recipe.entries
    libraries = [*_LIBRARIES, *(name for entry in entries for name in provider_class(entry.name).libraries)]
    return {
        "name": run.recipe.name,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": {name: found for name in libraries if (found := _version(name))},
        **(_asked(run) if entries else {"elicitation": "vote"}),
        "prompts": prompts,
        "plan_key": work.plan_key().hex(),
        "label_space": run.space.model_dump(mode="json"),
        "fit": fitted.summary()
        | {
            "settings": run.recipe.fit.model_dump(mode="json"),
            "calibrated": calibration is not None,
            "counts_people": counts_people(run.folder),
            "human_weight": calibration["human_weight"] if calibration else run.recipe.fit.human_weight,
        },
        "prior": fitted.prior.to_dict(),
        "variance": variance_record(run.folder, run.space),
    }


def _asked(run: Run) -> dict[str, Any]:
    """Who was asked, and how."""
    return {
        "seeds": {
            "labels": run.recipe.seed,
            "panel": run.recipe.panel.seed,
            "provider": run.recipe.entries[0].seed,
        },
        **_models(run),
        "elicitation": run.work.elicitation.name,
        "panel": {"name": run.panel.name, "personas": len(run.panel.personas)},
    }


def _models(run: Run) -> dict[str, Any]:
    """What was asked: one model, or by id all of them and how they shared the panel."""
    found = {
        juror.id: {
            "provider": juror.elicitation.family,
            "model": juror.elicitation.model,
            "sampling": without_secrets(juror.elicitation.params),
        }
        for juror in run.work.jury.jurors
    }
    if len(found) == 1:
        return next(iter(found.values()))
    weights = {entry.id: {"weight": entry.weight, "seed": entry.seed} for entry in run.recipe.entries}
    return {"design": run.recipe.design, "models": {id_: model | weights[id_] for id_, model in found.items()}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
