"""The border: what a repository says is checked here before any of it is used. It may be anybody's.

Nothing that is pulled names a file outside its folder, a variable or a ledger: the recipe is made to stand alone. Every table has its
columns, types and ranges. A fault names the file and the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dprm_data.core import tables
from dprm_data.core.errors import DprmError, LabelSpaceError, PanelError, PromptError, PublishError, RecipeError
from dprm_data.core.json_columns import json_texts
from dprm_data.core.resources import Kind, bundled_file
from dprm_data.core.scrub import OWN_MATTERS, public_recipe
from dprm_data.core.text import one_line
from dprm_data.core.validation import describe
from dprm_data.core.yamlfile import parse_yaml, validated
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.prior import Prior
from dprm_data.publish.configs import ANNOTATED, CONFIGS, CONVERSATIONS, SCHEMAS, Config, map_metadata
from dprm_data.publish.conversations import texts_and_originals
from dprm_data.publish.hub import MARKER, Marker
from dprm_data.recipe.recipe import FitConfig, Recipe
from dprm_data.review.annotator_model import AnnotatorModel
from dprm_data.review.calibrate import Calibration
from dprm_data.review.compare import Comparison

_DATA = re.compile(rf"data/({'|'.join(CONFIGS)})/\w[\w.-]{{0,100}}-\d{{5}}-of-\d{{5}}\.parquet", re.ASCII)
_PROMPT = re.compile(r"prompts/\w[\w.-]{0,100}\.jinja", re.ASCII)
_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_DEPTH = 100  # levels of JSON
_MOST_LABELS = 1000
_MOST_ROWS = 100_000  # in a row group; ours have 5,000
_ORIGIN = {f"{side}{name}" for name in tables.ORIGIN for side in ("", "chosen_", "rejected_")}
# Columns that older versions did not write.
_LATER = {"estimated_calls", "reasoning_tokens", "model_id", "reward_error", "chosen_item_id", "rejected_item_id"} | (
    _ORIGIN - {"source", "metadata"}
)
_OPTIONAL = {
    *(
        "label",
        "preference",
        "role",
        "probs",
        "reason",
        "model",
        "model_id",
        "prompt_version",
        "rationale",
        "call_key",
        "cost",
        "estimated_calls",
        "reasoning_tokens",
        "reward_error",
    ),
    *_ORIGIN,
    *(tables.original(name) for names in CONVERSATIONS.values() for name in names),
    *("chosen_item_id", "rejected_item_id", "created_at", "attributes", "alpha", "beta", "name", "media_type"),
}
_PER_LABEL = ("label_distribution", "votes", "probs", "chosen_distribution", "rejected_distribution")


def data_files(marker: Marker) -> dict[str, str]:
    """The data files that `dprm.json` lists, with their SHA-256. Raises `PublishError` for a name that dprm gives to none."""
    found = {}
    for path, names in marker.files.items():
        if not path.startswith("data/"):
            continue
        if not _DATA.fullmatch(path):
            raise PublishError(f"{MARKER}: files: {one_line(path, 80)!r} is not the name of a data file")
        sha256 = names.get("sha256") if isinstance(names, dict) else None
        if not isinstance(sha256, str):
            raise PublishError(f"{MARKER}: files: {path} has no sha256")
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
    for section in (content.get("provider"), *_items(content.get("models"))):
        if isinstance(section, dict):
            _without_own_places(section)
    recipe = validated(content, Recipe, RecipeError, "recipe.yaml", context={"frozen": True})
    _check_references(recipe, prompts)
    try:
        content = public_recipe(content)
    except ValueError as error:  # an address that is none
        raise RecipeError(f"recipe.yaml: provider.base_url: {one_line(str(error), 100)}") from error
    for section in (content.get("provider"), *_items(content.get("models"))):
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
    if _is_deep(text):
        raise PublishError(f"{name}: values are nested more than {_DEPTH} levels deep")
    return content


def _is_deep(text: str) -> bool:
    """Whether JSON is nested too deeply. Brackets inside of strings are counted only where there are many brackets."""
    if text.count("{") + text.count("[") <= _DEPTH:
        return False
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEPTH:
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


# -- tables -----------------------------------------------------------------------------------------------------------


def read_rows(file: Path, path: str, config: Config, space: LabelSpace | None) -> Iterator[pa.Table]:
    """The row groups of a data file, with the config's columns, types and ranges. Raises `PublishError`.

    path: its name in the repository. space: None for the config `run`, in which there are no labels.
    """
    schema = SCHEMAS[config]
    try:
        with pq.ParquetFile(file) as opened:
            found = set(opened.schema_arrow.names)
            later = _LATER | set(ANNOTATED) if config == "annotations" else _LATER
            missing = [name for name in schema.names if name not in found | later]
            if missing:
                raise PublishError(f"{path}: no column {missing[0]!r}")
            for group in range(opened.num_row_groups):
                if opened.metadata.row_group(group).num_rows > _MOST_ROWS:
                    raise PublishError(f"{path}: row group {group} has more than {_MOST_ROWS:,} rows")
                read = opened.read_row_group(group, columns=[name for name in schema.names if name in found])
                read = texts_and_originals(map_metadata(read, _as_json), config, path)
                table = tables.conformed(read, _with_originals(config))
                table.validate(full=True)
                _check_columns(table, path, space)
                if table.num_rows:
                    yield table
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        raise PublishError(f"{path}: not a table of {config}: {one_line(str(error), 150)}") from error


def _with_originals(config: Config) -> pa.Schema:
    schema = SCHEMAS[config]
    for name in CONVERSATIONS.get(config, ()):
        schema = schema.append(pa.field(tables.original(name), pa.string()))
    return schema


def _check_columns(table: pa.Table, path: str, space: LabelSpace | None) -> None:
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name not in _OPTIONAL and column.null_count:
            raise PublishError(f"{path}: {name}: a value is missing")
        if pa.types.is_list(column.type):
            _check_list(column, name, path, space)
        elif pa.types.is_floating(column.type) and name != "cost" and pc.any(pc.invert(pc.is_finite(column))).as_py():
            raise PublishError(f"{path}: {name}: a value is not a finite number")
        elif name == "attributes" or name.endswith("metadata"):
            _check_json(column, name, path)
        elif name == "label" and space is not None and column.null_count < len(column):
            low, high = (pc.min_max(column)[end].as_py() for end in ("min", "max"))
            if low < 0 or high >= space.K:
                raise PublishError(f"{path}: label: {low if low < 0 else high} is not one of the {space.K} labels")


def _check_list(column: pa.ListArray, name: str, path: str, space: LabelSpace | None) -> None:
    inner = column.flatten()
    parts = inner.flatten() if pa.types.is_struct(inner.type) else [inner]
    if inner.null_count or any(part.null_count for part in parts):
        raise PublishError(f"{path}: {name}: a value is missing")
    if name in _PER_LABEL and space is not None:
        lengths = set(pc.unique(pc.list_value_length(column)).drop_null().to_pylist())
        if lengths - {space.K}:
            raise PublishError(f"{path}: {name}: there are {space.K} labels, and {(lengths - {space.K}).pop()} numbers")
        if len(inner) and not pc.all(pc.and_(pc.is_finite(inner), pc.greater_equal(inner, 0))).as_py():
            raise PublishError(f"{path}: {name}: a number is negative or not finite")


def _check_json(column: pa.Array, name: str, path: str) -> None:
    for text in column.drop_null().to_pylist():
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise PublishError(f"{path}: {name}: not JSON: {error}") from error
        if not isinstance(content, dict) or _is_deep(text):
            raise PublishError(f"{path}: {name}: not a JSON object of at most {_DEPTH} levels")


def _as_json(column: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Metadata as a run's tables hold them; older versions published them so."""
    return json_texts(column) if pa.types.is_struct(column.type) else column


def check_ids(items: set[str], table: pa.Table, path: str) -> None:
    """Check that the annotations, or both sides of the comparisons, are of these items. Raises `PublishError`."""
    for name in ("item_id", "first_item_id", "second_item_id"):
        found = pc.unique(table[name]).to_pylist() if name in table.column_names else []
        unknown = next((item for item in found if item not in items), None)
        if unknown is not None:
            raise PublishError(f"{path}: {name}: {one_line(unknown, 60)!r} is no item of the dataset")


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
