"""The configs of a published dataset, with schemas that `datasets` and the Hub understand.

    default        an item with its distribution and its origin
    preferences    two responses to one prompt, the preferred one first
    annotations    one annotator's label for one item, with its status
    comparisons    one annotator's comparison of two responses, in a run that has any
    personas       one persona of the panel
    unpaired       a response with whether it is good, on request
    ranked         a prompt with its responses in order, on request
    run            the texts from which everything can be computed again: recipe, manifest, label space, prior, panel, prompts

Labels are class labels in the label space's order; prompts and responses are lists of messages: role and text, or, where a run has messages
with more than that (calls of tools, images, reasoning), each as it came (`datasets.Json`); the source's other columns (`metadata`) have the
types that they have there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa

from dprm_data.core import tables
from dprm_data.core.errors import PublishError
from dprm_data.core.extras import extra
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.ranked import RANKED

if TYPE_CHECKING:
    from datasets import Features

Config = Literal["default", "preferences", "annotations", "comparisons", "unpaired", "ranked", "personas", "run"]
CONFIGS: tuple[Config, ...] = get_args(Config)
ON_REQUEST: tuple[Config, ...] = ("unpaired", "ranked")  # `publish.also`: made of the others, and so not pulled
WHOLE: tuple[Config, ...] = ("personas", "run")  # not split into train and test

_LABEL = pa.field("label", pa.int64())
ROW = pa.field(
    "row", pa.int64()
)  # the item's position in the run: what is learned across items may depend on their order
_TEXTS = ("item_id", "group_id", "prompt", "completion")
CONVERSATIONS: dict[Config, tuple[str, ...]] = {
    "default": ("prompt", "completion"),
    "preferences": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion"),
    "ranked": ("prompt", "completions"),  # the latter a list of conversations
}
ANNOTATED = ("source_id", "source")  # what annotations say of their item, beside its id
_METADATA = (
    "metadata",
    "chosen_metadata",
    "rejected_metadata",
)  # JSON in a run's tables, typed where they are published

SCHEMAS: dict[Config, pa.Schema] = {
    "default": pa.schema(
        [
            *[tables.DISTRIBUTIONS.field(name) for name in _TEXTS],
            _LABEL,  # the most probable one
            # Messages as they came are published in the messages themselves.
            *[field for field in tables.DISTRIBUTIONS if field.name not in ("item_id", *tables.FROM_ITEMS)],
            *[tables.ITEMS.field(name) for name in ("role", *tables.ORIGIN, "generator")],
            ROW,
        ]
    ),
    "preferences": pa.schema([field for field in tables.PREFERENCES if not field.name.endswith(tables.original(""))]),
    "annotations": pa.schema(
        [
            *[_LABEL if field.name == "label" else field for field in tables.ANNOTATIONS],
            *[tables.ITEMS.field(name) for name in ANNOTATED],
        ]
    ),
    "comparisons": pa.schema(list(tables.COMPARISONS)),
    "unpaired": pa.schema([*[tables.ITEMS.field(name) for name in _TEXTS], ("label", pa.bool_())]),
    "ranked": RANKED,
    "personas": pa.schema(list(tables.PERSONAS)),
    "run": pa.schema([("name", pa.string()), ("media_type", pa.string()), ("content", pa.string())]),
}


def schema_of(config: Config, metadata: pa.DataType, *, whole: bool) -> pa.Schema:
    """The config's Arrow schema. metadata: the type of the source's other columns (`JsonColumns.struct_type`); whole: each message is a JSON text, as it came."""
    schema = pa.schema([field.with_type(metadata) if field.name in _METADATA else field for field in SCHEMAS[config]])
    for name in CONVERSATIONS.get(config, ()) if whole else ():
        at = schema.get_field_index(name)
        as_came = pa.list_(pa.string())
        schema = schema.set(at, pa.field(name, pa.list_(as_came) if is_nested(schema.field(at).type) else as_came))
    return schema


def is_nested(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of conversations."""
    return bool(pa.types.is_list(kind) and pa.types.is_list(kind.value_type))


def features(config: Config, space: LabelSpace, metadata: pa.DataType, *, whole: bool = False) -> Features:
    """The config's columns as `datasets` types them, as in `schema_of`."""
    with extra("hub", what="publishing"):
        from datasets import ClassLabel, Features

    found = Features.from_arrow_schema(schema_of(config, metadata, whole=whole))
    for name in CONVERSATIONS.get(config, ()) if whole else ():
        found[name] = _lists_of_json(nested=is_nested(SCHEMAS[config].field(name).type))
    if _LABEL in list(SCHEMAS[config]):
        found["label"] = ClassLabel(names=space.names)
    return found


def map_metadata(table: pa.Table, change: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
    """The table with its metadata in another form."""
    for name in _METADATA:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, change(table[name]))
    return table


def _lists_of_json(*, nested: bool) -> Any:
    try:
        from datasets import Json, List
    except ImportError as error:
        raise PublishError(
            "messages with calls of tools or reasoning need a newer `datasets` to be published",
            hint="pip install -U 'datasets>=4.8'",
        ) from error
    return List(List(Json())) if nested else List(Json())


def typed_schema(config: Config, space: LabelSpace, metadata: pa.DataType, *, whole: bool = False) -> pa.Schema:
    """The config's Arrow schema, with its features and our tables' version in the metadata, so that every file is self-describing."""
    described = dict(features(config, space, metadata, whole=whole).arrow_schema.metadata or {})
    return schema_of(config, metadata, whole=whole).with_metadata({**described, **(tables.ITEMS.metadata or {})})


def dataset_info(
    space: LabelSpace,
    sizes: dict[Config, dict[str, tuple[int, int]]],
    download: dict[Config, int],
    metadata: pa.DataType,
    *,
    whole: bool = False,
) -> list[dict[str, Any]]:
    """The card's `dataset_info`. sizes: rows and bytes in memory of every split; download: bytes on disk of every config; metadata: its type."""
    from datasets import DatasetInfo, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    infos = DatasetInfosDict()
    for config, splits in sizes.items():
        parts = SplitDict()
        for name, (rows, size) in splits.items():
            parts[name] = SplitInfo(name=name, num_bytes=size, num_examples=rows)
        infos[config] = DatasetInfo(
            features=features(config, space, metadata, whole=whole),
            config_name=config,
            splits=parts,
            download_size=download[config],
            dataset_size=sum(size for _, size in splits.values()),
        )
    data = DatasetCardData()
    infos.to_dataset_card_data(data)
    found = dict(data.to_dict())[  # type: ignore[no-untyped-call]
        "dataset_info"
    ]
    return found if isinstance(found, list) else [found]
