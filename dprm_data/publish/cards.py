"""Cards: what a careful reader must know about a dataset, rendered from `hub_cards/`."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dprm_data.resources import bundled_folder

if TYPE_CHECKING:
    from dprm_data.run import Run
    from dprm_data.summary import Summary

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
_CONFIGS = ("default", "preferences", "annotations", "personas")


def dataset_card(run: Run, summary: Summary) -> str:
    """The README.md of the run's dataset, with the metadata that `datasets` and the Hub read."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string((bundled_folder("hub_cards") / "dataset.md.jinja").read_text(encoding="utf-8"))
    return template.render(_values(run, summary))


def _values(run: Run, summary: Summary) -> dict[str, Any]:
    manifest = run.folder.read_manifest()
    elicitations = [elicitation for elicitation in (run.work.elicitation, run.work.prior) if elicitation]
    texts = {
        "name": run.recipe.name,
        "location": str(run.folder.path),
        "metadata": yaml.safe_dump(_metadata(run, summary), sort_keys=False, allow_unicode=True).strip(),
        "written_at": datetime.now(UTC).date().isoformat(),
        "version": version("dprm-data"),
    }
    return (
        summary.as_dict()
        | texts
        | {
            "labels": [label.model_dump() for label in run.space.labels],
            "space": run.space.model_dump(),
            "panel": run.panel.model_dump(),
            "panel_config": run.recipe.panel.model_dump(),
            "local": run.recipe.provider.name == "local",
            "provider": run.recipe.provider.name,
            "sampling": run.work.elicitation.params,
            "elicitation": run.recipe.elicitation,
            "replicates": run.recipe.replicates,
            "prior_strength": run.recipe.prior.strength if run.recipe.prior else None,
            "fit": manifest["fit"],
            "prompts": [
                {"name": e.template.name, "version": e.template.version, "source": e.template.source}
                for e in elicitations
            ],
        }
    )


def _metadata(run: Run, summary: Summary) -> dict[str, Any]:
    tables = {"default": "distributions"}
    files: list[dict[str, Any]] = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"tables/{tables.get(name, name)}.parquet"}]}
        for name in _CONFIGS
        if name != "preferences" or summary.pairs  # a config without a row cannot be loaded
    ]
    files[0]["default"] = True
    return {
        "pretty_name": run.recipe.name,
        "annotations_creators": [
            kind for kind, count in (("machine-generated", summary.simulated), ("crowdsourced", summary.human)) if count
        ],
        "size_categories": [next((name for limit, name in _SIZES if summary.items < limit), "n>10M")],
        "task_categories": ["text-classification", "reinforcement-learning"],
        "tags": [
            "dprm",
            "preference-distributions",
            "rlhf",
            *(["synthetic", "simulated-annotators"] if summary.simulated else []),
        ],
        "configs": files,
    }
