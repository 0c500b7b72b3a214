"""A search engine in memory for argilla-server, in the place of Elasticsearch.

The server speaks to its engine in Elasticsearch's query language, of which it uses a dozen words; `matches` understands those. Runs in the
server's own virtual environment, not in the project's.
"""

from __future__ import annotations

import copy
import fnmatch
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from argilla_server.search_engine.base import SearchEngine
from argilla_server.search_engine.commons import BaseElasticAndOpenSearchEngine, es_field_for_vector_settings

Document = dict[str, Any]
Query = dict[str, Any]

# The server makes an engine per request: what is indexed belongs to the module.
INDEXES: dict[str, dict[str, Document]] = {}


def plain(value: Any) -> Any:
    """Enumerations and UUIDs as the texts that queries name them by."""
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(getattr(value, "value", value))


def values_at(document: Any, path: str) -> list[Any]:
    """All values at a dotted path; lists fan out, `*` stands for any name."""
    found = [document]
    for part in path.split("."):
        objects = [inner for outer in found for inner in (outer if isinstance(outer, list) else [outer])]
        found = [
            value
            for inner in objects
            if isinstance(inner, dict)
            for name, value in inner.items()
            if name == part or ("*" in part and fnmatch.fnmatch(name, part))
        ]
    return [value for outer in found for value in (outer if isinstance(outer, list) else [outer]) if value is not None]


def words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(words, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(words, value)) if value else set()
    return set(re.findall(r"\w+", str(value).lower()))


def _listed(clauses: Any) -> list[Query]:
    return clauses if isinstance(clauses, list) else [clauses] if clauses else []


def _between(value: Any, limits: Query) -> bool:
    low, high = limits.get("gte"), limits.get("lte")
    value = plain(value)
    return (low is None or value >= plain(low)) and (high is None or value <= plain(high))


def _matches_bool(document: Document, body: Query) -> bool:
    required = _listed(body.get("must")) + _listed(body.get("filter"))
    if not all(matches(document, clause) for clause in required):
        return False
    if any(matches(document, clause) for clause in _listed(body.get("must_not"))):
        return False
    wanted = _listed(body.get("should"))
    needed = body.get("minimum_should_match", 0 if required else 1) if wanted else 0
    return sum(matches(document, clause) for clause in wanted) >= needed


def matches(document: Document, query: Query) -> bool:
    """Does the document answer the query?"""
    ((kind, body),) = query.items()
    match kind:
        case "match_all":
            return True
        case "bool":
            return _matches_bool(document, body)
        case "function_score":
            return matches(document, body["query"])
        case "ids":
            return document["_id"] in {str(wanted) for wanted in body["values"]}
        case "exists":
            return bool(values_at(document, body["field"]))
        case "term" | "terms":
            ((path, wanted),) = body.items()
            wanted = wanted if kind == "terms" else [wanted]
            return bool({str(plain(w)) for w in wanted} & {str(plain(v)) for v in values_at(document, path)})
        case "range":
            ((path, limits),) = body.items()
            return any(_between(value, limits) for value in values_at(document, path))
        case "nested":
            path = body["path"]
            inner = document.get(path) or []
            return any(matches({"_id": document.get("_id", ""), path: [one]}, body["query"]) for one in inner)
        case "simple_query_string":
            there = set().union(
                *[words(value) for path in body["fields"] for value in values_at(document, path)] or [set()]
            )
            return words(body["query"]) <= there
    raise NotImplementedError(f"this search engine does not know {kind!r}")


def _sort_value(document: Document, path: str, how: Any) -> Any:
    if isinstance(how, dict) and "filter" in how.get("nested", {}):
        chosen = [
            one
            for one in document.get("responses") or []
            if matches({"_id": "", "responses": [one]}, how["nested"]["filter"])
        ]
        document = {"responses": chosen}
    values = [plain(value) for value in values_at(document, path)]
    if not values:
        return None
    numbers = all(isinstance(value, (int, float)) for value in values)
    return sum(values) / len(values) if numbers else min(map(str, values))


def ordered(documents: list[Document], sort: list[Query]) -> list[Document]:
    """Sorted by all keys, the first counting most; what has no value comes last."""
    for key in reversed(sort):
        ((path, how),) = key.items()
        direction = str(plain(how["order"] if isinstance(how, dict) else how))
        keyed = [(_sort_value(document, path, how), document) for document in documents]
        have = sorted(
            (pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0], reverse=direction == "desc"
        )
        documents = [document for _, document in have] + [document for value, document in keyed if value is None]
    return documents


def aggregated(documents: list[Document], aggregation: Query) -> Query:
    """`value_count`, `stats` or `terms` of a field."""
    ((kind, body),) = aggregation.items()
    values = [plain(value) for document in documents for value in values_at(document, body["field"])]
    match kind:
        case "value_count":
            return {"value": len(values)}
        case "stats":
            return {"min": min(values, default=None), "max": max(values, default=None)}
        case "terms":
            counts = Counter(map(str, values)).most_common(body["size"])
            return {"buckets": [{"key": key, "doc_count": count} for key, count in counts]}
    raise NotImplementedError(f"this search engine does not know the aggregation {kind!r}")


def cosine(a: list[float], b: list[float]) -> float:
    lengths = (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5
    return sum(x * y for x, y in zip(a, b, strict=True)) / (lengths or 1.0)


@SearchEngine.register(engine_name="memory")
@dataclass
class MemoryEngine(BaseElasticAndOpenSearchEngine):
    """What argilla-server asks of an engine."""

    def __post_init__(self) -> None:
        self.client = None

    @classmethod
    async def new_instance(cls) -> MemoryEngine:
        return cls(number_of_shards=1, number_of_replicas=0)

    async def close(self) -> None: ...

    async def ping(self) -> bool:
        return True

    async def info(self) -> dict[str, Any]:
        return {"name": "memory", "version": {"number": "0"}}

    def _mapping_for_vector_settings(self, vector_settings: Any) -> dict[str, Any]:
        return {es_field_for_vector_settings(vector_settings): {"type": "dense_vector"}}

    async def put_index_mapping_request(self, index: str, mappings: Any) -> None: ...

    async def _create_index_request(self, index_name: str, mappings: Any, settings: Any) -> None:
        INDEXES.setdefault(index_name, {})

    async def _delete_index_request(self, index_name: str) -> None:
        INDEXES.pop(index_name, None)

    async def _index_exists_request(self, index_name: str) -> bool:
        return index_name in INDEXES

    async def _bulk_op_request(self, actions: list[dict[str, Any]]) -> None:
        for action in actions:
            content = dict(action)
            kind, key, index = content.pop("_op_type"), str(content.pop("_id")), content.pop("_index")
            documents = INDEXES.setdefault(index, {})
            if kind == "index":
                documents[key] = copy.deepcopy(content) | {"_id": key}
            else:
                documents.pop(key, None)

    async def _update_document_request(self, index_name: str, id: str, body: dict[str, Any]) -> None:
        document = INDEXES[index_name].get(str(id))
        if document is None:
            return
        if "doc" in body:
            for name, value in body["doc"].items():
                document[name] = {**(document.get(name) or {}), **value} if isinstance(value, dict) else value
        elif isinstance(body["script"], str):  # takes one suggestion away
            name = re.search(r'remove\("(.*)"\)', body["script"])
            (document.get("suggestions") or {}).pop(name.group(1) if name else "", None)
        else:  # puts a response in, or takes it away
            given = body["script"]["params"]["response"]
            others = [one for one in document.get("responses") or [] if str(one["id"]) != str(given["id"])]
            document["responses"] = others + ([dict(given)] if ".add(" in body["script"]["source"] else [])

    async def _index_search_request(
        self,
        index: str,
        query: Query,
        size: int | None = None,
        from_: int | None = None,
        sort: list[Query] | None = None,
        aggregations: dict[str, Query] | None = None,
    ) -> dict[str, Any]:
        found = [document for document in INDEXES.get(index, {}).values() if matches(document, query)]
        start, count = from_ or 0, 10 if size is None else size
        page = ordered(found, sort or [])[start : start + count]
        answer: dict[str, Any] = {
            "hits": {"total": {"value": len(found)}, "hits": [{"_id": one["_id"], "_score": 1.0} for one in page]}
        }
        if aggregations:
            answer["aggregations"] = {name: aggregated(found, one) for name, one in aggregations.items()}
        return answer

    async def _request_similarity_search(
        self,
        index: str,
        vector_settings: Any,
        value: list[float],
        k: int,
        excluded_id: Any = None,
        query_filters: list[Query] | None = None,
    ) -> dict[str, Any]:
        name = es_field_for_vector_settings(vector_settings).split(".", 1)[1]
        hits = [
            {"_id": key, "_score": (1.0 + cosine(vector, value)) / 2.0}
            for key, document in INDEXES.get(index, {}).items()
            if (vector := (document.get("vectors") or {}).get(name)) is not None
            and key != str(excluded_id)
            and all(matches(document, one) for one in query_filters or [])
        ]
        hits = sorted(hits, key=lambda hit: -hit["_score"])[:k]
        return {"hits": {"total": {"value": len(hits)}, "hits": hits}}
