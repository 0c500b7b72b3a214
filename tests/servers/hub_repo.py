"""What the double of the Hub keeps: repositories with commits, branches and tags."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import Any

LARGE = (
    ".parquet",
    ".arrow",
    ".bin",
    ".safetensors",
    ".png",
    ".zip",
    ".gz",
    ".gguf",
)  # files that are uploaded by their SHA-256


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


@dataclass(frozen=True)
class Blob:
    """A file's content, named as the Hub names it: small files by git's hash, large ones by their SHA-256."""

    data: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n" % (
            self.sha256.encode(),
            len(self.data),
        )

    @property
    def oid(self) -> str:
        content = self.pointer if self.large else self.data
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": self.oid, "size": len(self.data)}
        if self.large:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return entry


@dataclass
class Commit:
    oid: str
    parent: str | None
    title: str
    tree: dict[str, Blob]


@dataclass
class Repo:
    """One repository, of a dataset or a model."""

    name: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def commit(self, tree: dict[str, Blob], title: str, branch: str = "main") -> str:
        parent = self.branches.get(branch)
        oid = hashlib.sha1(f"{self.name} {next(self.numbers)} {title}".encode()).hexdigest()
        self.commits[oid] = Commit(oid, parent, title, tree)
        self.branches[branch] = oid
        return oid

    def at(self, revision: str) -> Commit:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    @property
    def files(self) -> dict[str, bytes]:
        """What is at the head, for tests."""
        return {path: blob.data for path, blob in self.at("main").tree.items()}

    @property
    def log(self) -> list[str]:
        """The titles of the commits of the main branch, the newest first."""
        titles, oid = [], self.branches["main"]
        while oid:
            titles.append(self.commits[oid].title)
            oid = self.commits[oid].parent or ""
        return titles

    def write(self, path: str, data: bytes, title: str = "by somebody else") -> str:
        """Somebody else commits a file."""
        return self.commit(self.at("main").tree | {path: Blob(data, path.endswith(LARGE))}, title)
