"""The config `run`: the texts from which a dataset can be computed again, one per row, with name and media type."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from dprm_data.core.errors import RecipeError
from dprm_data.core.scrub import local_hosts, public_recipe, public_text, without_secrets
from dprm_data.core.yamlfile import read_yaml

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

RECIPE, MANIFEST = "recipe.yaml", "manifest.json"
_PARTS = ("label_space", "prior")  # parts of the manifest that also get a row of their own
_PASSING = ("last_annotate", "pulled", "written_at")  # of the manifest: of the last command, not of the dataset
_DATA = ("label_space", "prior", "prompts", "versions")  # of the manifest: published unchanged


def run_texts(run: Run) -> list[dict[str, str]]:
    """Recipe, manifest, label space, fitted prior, panel and prompts."""
    manifest = _public_manifest(run)
    recipe = public_recipe(read_yaml(run.folder.recipe_file, RecipeError, "a recipe"))
    # The settings of this publication, not those of the run.
    chosen = run.recipe.publish.model_dump(mode="json", exclude_defaults=True)
    recipe = {name: part for name, part in recipe.items() if name != "publish"} | (
        {"publish": chosen} if chosen else {}
    )
    rows = [
        _row(RECIPE, "application/yaml", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)),
        _row(MANIFEST, "application/json", _json(manifest)),
        *[_row(f"{name}.json", "application/json", _json(manifest[name])) for name in _PARTS if name in manifest],
        _row("panel.json", "application/json", _json(run.panel.model_dump(mode="json"))),
    ]
    prompts = sorted((run.folder.path / "prompts").glob("*.jinja"))
    return rows + [_row(f"prompts/{p.name}", "text/x-jinja", p.read_text(encoding="utf-8")) for p in prompts]


def _public_manifest(run: Run) -> dict[str, Any]:
    """The manifest without this machine's hosts and folders, and without what changes though the dataset does not."""
    content = {name: part for name, part in run.folder.read_manifest().items() if name not in _PASSING}
    hosts = local_hosts(place.base_url for place in run.recipe.places)
    own = {name: part if name in _DATA else _public(part, hosts) for name, part in content.items()}
    models = {"models": {id_: _sampled(model) for id_, model in own["models"].items()}} if "models" in own else {}
    return _sampled(own) | models


def _sampled(content: dict[str, Any]) -> dict[str, Any]:
    return content if "models" in content else content | {"sampling": without_secrets(content.get("sampling", {}))}


def _public(value: Any, hosts: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: _public(inner, hosts) for name, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner, hosts) for inner in value]
    return public_text(value, hosts) if isinstance(value, str) else value


def _row(name: str, media_type: str, content: str) -> dict[str, str]:
    return {"name": name, "media_type": media_type, "content": content}


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
