"""The border: what a repository says is checked here before any of it is used. It may be anybody's.

Nothing that is pulled names a file outside its folder, a variable or a ledger: the recipe is made to stand alone. Every table has its
columns, types and ranges. A fault names the file and the field.
"""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dprm_data.core.errors import DprmError, LabelSpaceError, PanelError, PromptError, PublishError, RecipeError
from dprm_data.core.resources import Kind, bundled_file
from dprm_data.core.scrub import OWN_MATTERS, public_recipe
from dprm_data.core.text import one_line
from dprm_data.core.validation import describe
from dprm_data.core.yamlfile import parse_yaml, validated
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.prior import Prior
from dprm_data.publish.configs import CONFIGS, ON_REQUEST
from dprm_data.publish.hub import MARKER, Marker
from dprm_data.recipe.fit_config import FitConfig
from dprm_data.recipe.recipe import Recipe
from dprm_data.review.annotator_model import AnnotatorModel
from dprm_data.review.calibrate import Calibration
from dprm_data.review.compare import Comparison

_DATA = re.compile(rf"data/({'|'.join(CONFIGS)})/\w[\w.-]{{0,100}}-\d{{5}}-of-\d{{5}}\.parquet", re.ASCII)
_PROMPT = re.compile(r"prompts/\w[\w.-]{0,100}\.jinja", re.ASCII)
_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
DEPTH = 100  # levels of JSON
_MOST_LABELS = 1000


def data_files(marker: Marker) -> dict[str, str]:
    """The data files that `dprm.json` lists, but for those that are made of the others, with their SHA-256. Raises `PublishError` for a name that dprm gives to none."""
    found = {}
    for path, names in marker.files.items():
        if not path.startswith("data/"):
            continue
        if not _DATA.fullmatch(path):
            raise PublishError(f"{MARKER}: files: {one_line(path, 80)!r} is not the name of a data file")
        sha256 = names.get("sha256") if isinstance(names, dict) else None
        if not isinstance(sha256, str):
            raise PublishError(f"{MARKER}: files: {path} has no sha256")
        if path.split("/")[1] not in ON_REQUEST:
            found[path] = sha256
    return found


# -- texts ------------------------------------------------------------------------------------------------------------


def prompts_of(texts: dict[str, str]) -> dict[str, str]:
    """The prompt templates among the texts, by their file's path in a run folder."""
    return {name: content for name, content in texts.items() if _PROMPT.fullmatch(name)}


def standalone_recipe(text: str, prompts: dict[str, str]) -> str:
    """The recipe without files, variables and addresses of the publisher's machine. Raises `RecipeError`, or `PublishError`."""
    content = parse_yaml(text, RecipeError, "recipe.yaml")
    if not isinstance(content, dict):
        raise RecipeError(f"recipe.yaml: a recipe is a mapping of keys to values, found {type(content).__name__}")
    content = {name: value for name, value in content.items() if name not in OWN_MATTERS}
    for section in _models(content):
        if isinstance(section, dict):
            _without_own_places(section)
    recipe = validated(content, Recipe, RecipeError, "recipe.yaml", context={"frozen": True})
    _check_references(recipe, prompts)
    try:
        content = public_recipe(content)
    except ValueError as error:  # an address that is none
        raise RecipeError(f"recipe.yaml: provider.base_url: {one_line(str(error), 100)}") from error
    for section in _models(content):
        model = PurePosixPath((section or {}).get("model", ""))
        if model.is_absolute() or ".." in model.parts:
            section["model"] = model.name
    return "# The recipe of a published dataset; written by dprm.\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, width=120
    )


def _without_own_places(provider: dict[str, Any]) -> None:
    """Take out the variables that hold keys; endpoints that then are alike become one."""
    for place in (provider, *_items(provider.get("endpoints"))):
        if isinstance(place, dict):
            place.pop("api_key_env", None)
    if isinstance(provider.get("endpoints"), list):
        by_url = {each.get("base_url"): each for each in provider["endpoints"] if isinstance(each, dict)}
        provider["endpoints"] = list(by_url.values())


def _models(content: dict[str, Any]) -> list[Any]:
    """The sections of all models: those that are asked, and those that generated."""
    sections = (content, generate) if isinstance(generate := content.get("generate"), dict) else (content,)
    return [content.get("provider"), *(model for each in sections for model in _items(each.get("models")))]


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _check_references(recipe: Recipe, prompts: dict[str, str]) -> None:
    use = recipe.panel.use
    named: list[tuple[str, object, Kind, str]] = [("labels", recipe.labels, "label_spaces", ".yaml")]
    named += [("panel.use", use, "personas", ".yaml")]
    if recipe.prompt not in prompts:
        named += [("prompt", recipe.prompt, "prompts", ".jinja")]
    for field, reference, kind, suffix in named:
        if isinstance(reference, str) and not (reference.isdigit() or bundled_file(kind, reference, suffix)):
            raise RecipeError(f"recipe.yaml: {field}: {one_line(reference, 80)!r} names a file that was not published")
    if isinstance(use, dict) and "personas" not in use:
        raise RecipeError("recipe.yaml: panel.use: a published panel has its personas, not a source of them")
    dataset = recipe.source.dataset if recipe.source else None
    if dataset is not None and not _DATASET.fullmatch(dataset):
        raise RecipeError(
            f"recipe.yaml: source.dataset: {one_line(dataset, 80)!r} is not the name of a dataset on the Hub"
        )


class _FitSection(BaseModel):
    model_config = ConfigDict(extra="allow")
    family: str
    settings: FitConfig
    notes: list[str] = []
    items_without_votes: int = 0
    human_weight: float = 1.0


class _Ratings(BaseModel):
    model_config = ConfigDict(extra="allow")
    ratings: int
    people: int | None
    unrated: int
    base: int | None


class _Manifest(BaseModel):
    """What commands read from a manifest. Everything else is kept as it is."""

    model_config = ConfigDict(extra="allow")
    fit: _FitSection
    prior: dict[str, Any] | None = None
    label_space: dict[str, Any] | None = None
    versions: dict[str, str] = {}
    source: dict[str, Any] = {}
    ratings: _Ratings | None = None
    sampling: dict[str, Any] = {}
    last_annotate: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    written_at: str | None = None
    model: str = ""


def checked_manifest(text: str, space: LabelSpace) -> dict[str, Any]:
    """The manifest's content. Raises `PublishError`, or what its prior and its label space raise."""
    content = _json(text, "manifest.json")
    try:
        _Manifest.model_validate(content)
    except ValidationError as error:
        raise PublishError(describe(error, "manifest.json", _Manifest)) from error
    if content.get("label_space") is not None:
        LabelSpace.load(content["label_space"])
    if content.get("prior") is not None and Prior.from_dict(content["prior"]).labels != tuple(space.names):
        raise PublishError("manifest.json: prior: its labels are not those of the recipe's label space")
    for name, problem in (("review", _review_problem), ("calibration", _calibration_problem)):
        if content.get(name) is not None and (found := problem(content[name], space)):
            raise PublishError(f"manifest.json: {name}: {found}")
    return content


def _review_problem(content: Any, space: LabelSpace) -> str | None:
    found = _dataclass_problem(Comparison, content | {"compared": []} if isinstance(content, dict) else content)
    if found is None and (content["labels"] != space.names or len(content["confusion"]) != space.K):
        return "it is of other labels"
    return found


def _calibration_problem(content: Any, space: LabelSpace) -> str | None:
    found = _dataclass_problem(Calibration, content)
    if found:
        return found
    reading = content["reading"]
    try:
        if reading["labels"] != space.names:
            return "it is of other labels"
        model = AnnotatorModel.from_dict(reading, list(reading["own"]) + list(reading["ratio"]))
        whole = model.shared.shape == (space.K, space.K) and all(
            np.isfinite(numbers.astype(np.float64)).all() for numbers in (model.shared, model.bias, model.ratio)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    return None if whole else "reading: not a reading of the panel on these labels"


def _dataclass_problem(kind: type, content: Any) -> str | None:
    try:
        TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
    return None


def _json(text: str, name: str) -> dict[str, Any]:
    """The JSON object in a text. Raises `PublishError` for anything else, and for one that is nested too deeply."""
    try:
        content = json.loads(text)
        text.encode()
        json.dumps(content, ensure_ascii=False).encode()  # no halves of surrogate pairs
    except (ValueError, RecursionError) as error:
        raise PublishError(f"{name}: not JSON: {one_line(str(error), 100)}") from error
    if not isinstance(content, dict):
        raise PublishError(f"{name}: a JSON object was expected, found {type(content).__name__}")
    if is_deep(text):
        raise PublishError(f"{name}: values are nested more than {DEPTH} levels deep")
    return content


def is_deep(text: str) -> bool:
    """Whether JSON is nested too deeply. Brackets inside of strings are counted only where there are many brackets."""
    if text.count("{") + text.count("[") <= DEPTH:
        return False
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > DEPTH:
            return True
    return False


def check_parts(folder: Path) -> LabelSpace:
    """Load the label space, panel and prompt of an unpacked recipe. Returns the space. Raises `DprmError`."""
    from dprm_data.runs.run import Run

    run = Run.open(folder)
    try:
        space, _ = run.space, run.panel
        if run.asks_models:
            run.template  # noqa: B018 - raises for an unusable one
    except (LabelSpaceError, PanelError, PromptError) as error:
        raise PublishError(f"recipe.yaml: {error.message}") from error
    if space.K > _MOST_LABELS:
        raise PublishError(f"recipe.yaml: labels: {space.K:,} labels are more than {_MOST_LABELS:,}")
    return space


Faults = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    pa.ArrowException,
)


def refused(repo: str, error: Exception) -> DprmError:
    """What a fault in pulled content that no check names becomes."""
    return PublishError(
        f"{repo} is not whole: {type(error).__name__}: {one_line(str(error), 150)}",
        hint="Nothing was written. Tell its owner, or pull an earlier version: --revision v1.",
    )
