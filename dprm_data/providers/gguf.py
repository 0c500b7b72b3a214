"""The header of a GGUF file: what llama.cpp would load, read before it does.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a magic, keys with values, then where each tensor lies. The file
may come from anybody, so every count and length is checked against what is left of the file.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dprm_data.core.errors import InputError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_ENTRIES = 1 << 20  # keys, or tensors
_MOST_NESTED = 4  # arrays in arrays
_KEPT = 200  # characters of a text, and entries of an array, that are kept: vocabularies are walked over
_STRING, _ARRAY = 8, 9
# The types of plain values: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#file-structure
_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Types of tensors: (weights in a block, bytes of a block). Others are left out of the check of the file's length.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
    12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 29: (256, 56), 30: (1, 2), 39: (32, 17),
}  # fmt: skip


class _Broken(Exception):
    """What is wrong with the file."""


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says of itself. 0 or "" where it does not.

    context: tokens that the model was trained for; token_bytes: memory that one token of context takes (16 bits a value).
    """

    name: str
    architecture: str
    license: str
    context: int
    token_bytes: int


def read_header(path: Path) -> ModelHeader:
    """Read a model file's header. Raises `InputError` if it is no GGUF file, or not whole."""
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise _Broken("it does not start like a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _header(_Reader(content))
    except _Broken as error:
        raise InputError(
            f"the model file {path} cannot be loaded: {error}",
            hint="Is it a complete .gguf file? Its size should be the one that its source states.",
        ) from None
    except OSError as error:
        raise InputError(f"the model file {path} cannot be read: {error.strerror or error}") from error


def _header(read: _Reader) -> ModelHeader:
    version = read.number("I")
    if version not in _VERSIONS:
        raise _Broken(f"version {version} of the format is not known")
    tensors, keys = read.count(), read.count()
    values: dict[str, Any] = {}
    for _ in range(keys):
        name = read.text()
        values[name] = read.value(read.number("I"))
    end = max(read.tensors(tensors), default=0)
    alignment = _count(values.get("general.alignment")) or 32
    start = -(-read.at // alignment) * alignment
    if start + end > len(read.content):
        raise _Broken(f"it should have {start + end:,} bytes and has {len(read.content):,}: it is incomplete")
    return _described(values)


def _described(values: dict[str, Any]) -> ModelHeader:
    architecture = _text(values.get("general.architecture"))

    def number(name: str) -> int:
        return _count(values.get(f"{architecture}.{name}"))

    heads = number("attention.head_count")
    kv_heads = number("attention.head_count_kv") or heads
    size = number("embedding_length") // heads if heads else 0
    keys, texts = number("attention.key_length") or size, number("attention.value_length") or size
    return ModelHeader(
        name=_text(values.get("general.name")),
        architecture=architecture,
        license=_text(values.get("general.license")),
        context=number("context_length"),
        token_bytes=2 * number("block_count") * kv_heads * (keys + texts),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    """A positive integer, or 0. Some models have one number per layer; the largest counts."""
    if isinstance(value, list):
        return max(map(_count, value), default=0)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 40 else 0


class _Reader:
    """Walks over the file. Raises `_Broken` where it would leave it."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = len(_MAGIC)

    def _skip(self, size: int) -> int:
        begin, self.at = self.at, self.at + size
        if self.at > len(self.content):
            raise _Broken("its header is cut off")
        return begin

    def number(self, kind: str) -> Any:
        begin = self._skip(struct.calcsize(f"<{kind}"))
        return struct.unpack_from(f"<{kind}", self.content, begin)[0]

    def count(self) -> int:
        count: int = self.number("Q")
        if count > _MOST_ENTRIES:
            raise _Broken(f"its header claims {count:,} entries")
        return count

    def text(self) -> str:
        size = self.number("Q")
        begin = self._skip(size)
        return self.content[begin : begin + min(size, _KEPT)].decode("utf-8", "replace")

    def value(self, kind: int, nested: int = 0) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY and nested < _MOST_NESTED:
            return self._array(self.number("I"), self.number("Q"), nested + 1)
        if kind not in _PLAIN:
            raise _Broken(f"its header has a value of type {kind}, which is not known")
        return self.number(_PLAIN[kind])

    def _array(self, kind: int, count: int, nested: int) -> list[Any]:
        if kind in _PLAIN:
            size = struct.calcsize(f"<{_PLAIN[kind]}")
            begin = self._skip(count * size)
            kept = min(count, _KEPT)
            return list(struct.unpack_from(f"<{kept}{_PLAIN[kind]}", self.content, begin))
        if kind == _STRING:
            return self._skip_texts(count)
        if count > _KEPT:
            raise _Broken(f"its header has an array of {count:,} arrays")
        return [self.value(kind, nested) for _ in range(count)]

    def _skip_texts(self, count: int) -> list[Any]:
        """Walks over a vocabulary of a hundred thousand texts, of which nothing is kept."""
        at, content, length = self.at, self.content, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + length(content, at)[0]
        except (struct.error, OverflowError):
            raise _Broken("its header is cut off") from None
        self._skip(at - self.at)
        return []

    def tensors(self, count: int) -> Iterator[int]:
        """Where each tensor's bytes end, counted from where the first one begins."""
        for _ in range(count):
            self.text()
            dimensions = self.number("I")
            if dimensions > 8:
                raise _Broken(f"a tensor has {dimensions} dimensions")
            weights = 1
            for _ in range(dimensions):
                weights *= self.number("Q")
            per_block, size = _BLOCKS.get(self.number("I"), (1, 0))
            yield self.number("Q") + weights // per_block * size
