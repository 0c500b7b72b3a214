"""Dataset cards: what a careful reader must know, rendered from `hub_cards/`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from jinja2 import FileSystemLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dprm_data.core.format import count, percent
from dprm_data.core.markdown import as_code, as_text, fence
from dprm_data.core.resources import bundled_folder
from dprm_data.core.scrub import file_name, local_hosts, public_text
from dprm_data.core.tables import ANNOTATIONS
from dprm_data.core.version import __version__
from dprm_data.publish.card_figures import CAPTIONS
from dprm_data.publish.configs import CONFIGS, ON_REQUEST, Config, dataset_info
from dprm_data.publish.models import models_asked, prompts_sent
from dprm_data.publish.panel_findings import PanelFindings, panel_findings
from dprm_data.publish.validation_section import validation_section
from dprm_data.runs.comparison_findings import comparison_sentences
from dprm_data.runs.verdict import Verdict, verdict

if TYPE_CHECKING:
    from dprm_data.publish.parts import Parts
    from dprm_data.runs.run import Run
    from dprm_data.runs.summary import Summary

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_BY_MODEL = [("model_id", "ascending"), ("model", "ascending")]
_MOST_PERSONAS = 60  # described in the card; the dataset has all of them


def dataset_card(
    run: Run,
    summary: Summary,
    *,
    findings: PanelFindings | None = None,
    repo: str | None = None,
    parts: Parts | None = None,
    pictures: Iterable[str] = (),
) -> str:
    """The README.md of the run's dataset, with the metadata that `datasets` and the Hub read.

    repo (owner/name), parts (the data files) and pictures (the names of those beside the card) belong to a publication. Without them, the card
    describes the run folder, from which `datasets` loads the tables.
    """
    metadata = _metadata(run, summary, parts)
    return render_card(
        "dataset", metadata, _values(run, summary, findings or panel_findings(run), repo, parts, pictures)
    )


def render_card(name: str, metadata: dict[str, Any], values: dict[str, Any]) -> str:
    """Render a card: `metadata` as its YAML block, then the template `hub_cards/<name>.md.jinja` with `values`."""
    template = _environment().get_template(f"{name}.md.jinja")
    block = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120).strip()
    body = template.render(values | {"version": __version__})
    return f"---\n{block}\n---\n{re.sub(chr(10) + '{3,}', chr(10) * 2, body).lstrip()}"


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """It keeps the templates that it has compiled, and compiles a file that has changed again."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(bundled_folder("hub_cards")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": as_text, "code": as_code, "percent": percent, "figure": _figure, "fence": fence}
    return environment


def _values(
    run: Run,
    summary: Summary,
    findings: PanelFindings,
    repo: str | None,
    parts: Parts | None,
    pictures: Iterable[str],
) -> dict[str, Any]:
    recipe, manifest = run.recipe, run.folder.read_manifest()
    found = verdict(run)
    hosts = local_hosts(place.base_url for place in recipe.places)
    return summary.as_dict() | {
        "verdict": _public_lines(found, hosts),
        "failures": {public_text(reason, hosts): count for reason, count in summary.failures.items()},
        "name": recipe.name,
        "location": repo or str(run.folder.path),
        "repo": repo,
        "last_day": _last_day(run),
        "space": run.space.model_dump(),
        "panel": run.panel.model_dump(),
        "described": [persona.model_dump() | {"said": persona.said} for persona in run.panel.personas[:_MOST_PERSONAS]],
        "panel_config": recipe.panel.model_dump(),
        "local": recipe.is_demo,
        "models_asked": models_asked(run),
        "design": recipe.design,
        "asked": _asked(run),
        "elicitation": recipe.elicitation,
        "states_population": run.states_population,
        "replicates": recipe.replicates,
        "early_stop": recipe.early_stop is not None,
        "expected": run.expected_annotations,
        "prior_strength": recipe.prior.strength if recipe.prior else None,
        "fit": manifest["fit"],
        "versions": manifest.get("versions", {}),
        "prompts": prompts_sent(run),
        "agreement": findings.agreement,
        "positions": findings.positions,
        "compared": findings.rows,
        "compared_by": comparison_sentences(manifest),
        "soft": findings.soft,
        "validation": found.validated and found.validated.on_items,
        "validated": validation_section(run),
        "review": manifest.get("review"),
        "ratings": manifest.get("ratings"),
        "publish": recipe.publish.model_dump(),
        "source_dataset": _hub_dataset(run) or (file_name(recipe.source.dataset or "") if recipe.source else None),
        "source_is_on_the_hub": _hub_dataset(run) is not None,
        "source_revision": recipe.source.revision if recipe.source else None,
        "splits": parts.splits if parts else None,
        "sizes": {c: {s: n for s, (n, _) in found.items()} for c, found in parts.sizes.items()} if parts else {},
        "pictures": {name: CAPTIONS[name] for name in pictures},
    }


def _public_lines(found: Verdict, hosts: Collection[str]) -> list[dict[str, str]]:
    """The verdict's lines, without addresses of this machine."""
    lines = found.lines()
    return [
        {name: public_text(getattr(line, name), hosts) for name in ("question", "answer", "detail")} for line in lines
    ]


def _asked(run: Run) -> list[dict[str, Any]]:
    """What answered, by the model's id and the provider's name for it, with its number of annotations and its first and last day."""
    names = ["model", "model_id", "annotator_kind", "created_at"]
    table = pq.read_table(run.folder.needs("annotations"), columns=names, schema=ANNOTATIONS)  # an older one has no ids
    places = {model["id"]: model for model in models_asked(run)}
    table = table.filter(pc.and_(pc.equal(table["annotator_kind"], "persona"), pc.is_valid(table["model"])))
    times = [("created_at", "min"), ("created_at", "max"), ("created_at", "count")]
    return [
        {
            "model": row["model"],
            "id": row["model_id"],
            **_provider(places, row["model_id"]),
            "annotations": row["created_at_count"],
            "first": f"{row['created_at_min']:%Y-%m-%d}" if row["created_at_min"] else "?",
            "last": f"{row['created_at_max']:%Y-%m-%d}" if row["created_at_max"] else "?",
        }
        for row in table.group_by(["model", "model_id"]).aggregate(times).sort_by(_BY_MODEL).to_pylist()
    ]


def _provider(models: dict[str, dict[str, Any]], id_: str | None) -> dict[str, Any]:
    """Whose model this is; the recipe's first where the table does not say, or the recipe has changed since."""
    found = models.get(id_ or "", next(iter(models.values())))
    return {name: found[name] for name in ("provider", "base_url")}


def _hub_dataset(run: Run) -> str | None:
    """The source's id on the Hub; None if it is not from there (a path can stand in its place)."""
    name = run.recipe.source.dataset if run.recipe.source else None
    return name if name and re.fullmatch(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", name, re.ASCII) else None


def _last_day(run: Run) -> str | None:
    """The day of the latest annotation: unlike the day of a fit, it changes only with the dataset."""
    latest = pc.max(pq.read_table(run.folder.needs("annotations"), columns=["created_at"])["created_at"]).as_py()
    return f"{latest:%Y-%m-%d}" if latest else None


def _metadata(run: Run, summary: Summary, parts: Parts | None) -> dict[str, Any]:
    publish = run.recipe.publish
    stated = {"license": publish.license, "language": publish.language}
    kinds = (("machine-generated", summary.simulated), ("crowdsourced", summary.human))
    return {
        "pretty_name": run.recipe.name,
        **{name: value for name, value in stated.items() if value},
        "annotations_creators": [kind for kind, count in kinds if count],
        "source_datasets": [_hub_dataset(run) or "original"],
        "size_categories": [next((name for limit, name in _SIZES if summary.items < limit), "n>10M")],
        "task_categories": ["text-classification", "reinforcement-learning"],
        "tags": [
            "dprm",
            "preference-distributions",
            "rlhf",
            "trl",
            *(["synthetic", "simulated-annotators"] if summary.simulated else []),
            *(["human-annotators"] if summary.human else []),
        ],
        "configs": _published_configs(parts) if parts else _local_configs(summary),
        **({"dataset_info": _info(run, parts)} if parts else {}),
    }


def _info(run: Run, parts: Parts) -> list[dict[str, Any]]:
    return dataset_info(run.space, parts.sizes, parts.download, parts.metadata, whole=parts.whole)


def _local_configs(summary: Summary) -> list[dict[str, Any]]:
    """Configs of a run folder: each is one table, not split."""
    files = {
        config: f"tables/{'distributions' if config == 'default' else config}.parquet"
        for config in CONFIGS
        if config != "run" and config not in ON_REQUEST  # its texts are files of the folder; these have none
    }
    rows = {
        "preferences": summary.pairs,
        "personas": summary.simulated,
        "annotations": summary.annotations - summary.comparisons,
        "comparisons": summary.comparisons,
    }
    return [
        _config(config, {"train": path})
        for config, path in files.items()
        if rows.get(config, 1)  # one without a row cannot be loaded
    ]


def _published_configs(parts: Parts) -> list[dict[str, Any]]:
    return [
        _config(config, {split: f"data/{config}/{split}-*.parquet" for split in splits})
        for config, splits in parts.sizes.items()
    ]


def _config(name: Config, files: dict[str, str]) -> dict[str, Any]:
    content: dict[str, Any] = {"config_name": name}
    content["data_files"] = [{"split": split, "path": path} for split, path in files.items()]
    return content | ({"default": True} if name == "default" else {})


# -- filters ----------------------------------------------------------------------------------------------------------


def _figure(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return count(value)
    return f"{value:.4g}" if isinstance(value, float) else as_text(value)
