"""Push: one commit and one tag per publication. Interrupted and repeated pushes end in the same state.

`dprm.json` in the repository lists what we published there, file by file. Each time a push reads the head, it checks

    who published the repository       not dprm: refused, unless forced
    what others have changed           our files: refused, unless forced; their own files: kept
    whether we know this version       published from another folder: refused, unless forced
    whether the content is the same    then only a missing tag is added

A commit names the head that it was made for. If the head has moved in the meantime, the Hub refuses the commit and the checks start over.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import PublishError
from dprm_data.core.secret_scan import check_text
from dprm_data.core.tables import write_text
from dprm_data.publish.gate import check_public, check_repo_name, check_tag
from dprm_data.publish.hub import (
    ATTEMPTS,
    MARKER,
    Head,
    Marker,
    Unreachable,
    connect,
    persist,
    read_head,
)
from dprm_data.publish.publication import Publication

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUBS_OWN = {".gitattributes"}  # the Hub puts it into every new repository


@dataclass(frozen=True)
class Changes:
    """What a push does to the repository. add, change, delete, same: paths; kept: others' files; nothing: it has this publication already."""

    create: bool
    private: bool
    version: int
    tag: str
    add: list[str] = field(default_factory=list)
    change: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        return not (self.create or self.add or self.change or self.delete)


@dataclass(frozen=True)
class Pushed:
    """The result of a push or of a dry run."""

    repo: str
    url: str
    changes: Changes
    commit: str | None
    dry_run: bool = False


class Known:
    """The publications that this run folder was published as or pulled from: `published.json`, by repository.

    A publication is noted before it is sent. If the Hub's answer is lost, the next push still knows it as its own.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "published.json"

    def of(self, repo: str) -> list[str]:
        """Hashes of contents, the newest last."""
        return list(self._read().get(repo, []))

    def note(self, repo: str, content: str) -> None:
        seen = [known for known in self.of(repo) if known != content]
        write_text(self._file, json.dumps(self._read() | {repo: [*seen, content]}, indent=1) + "\n")

    def _read(self) -> dict[str, list[str]]:
        try:
            found: dict[str, list[str]] = json.loads(self._file.read_text(encoding="utf-8"))
            return found
        except (FileNotFoundError, ValueError):
            return {}


def push(
    publication: Publication,
    repo: str,
    known: Known,
    *,
    public: bool = False,
    force: bool = False,
    dry_run: bool = False,
    tag: str | None = None,
    message: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Publish to `repo` (owner/name). A new repository is private unless `public`, which needs a licence and a statement on personal data.

    Raises `PublishError` if the Hub refuses, or if the push would overwrite what is not ours; then nothing has changed there.
    """
    check_repo_name(repo)
    check_tag(tag)
    check_text(message or "", "the commit message", publication.secrets)
    if public:
        check_public(publication.settings)
    api = connect(needs_token=not dry_run)

    def once() -> Pushed:
        head = read_head(api, repo)
        changes = what_changes(head, publication, known.of(repo), public=public, force=force, tag=tag)
        if dry_run:
            return Pushed(repo, _url(api, repo), changes, head.commit, dry_run=True)
        if changes.create:
            api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
            head = read_head(api, repo)
            changes = what_changes(head, publication, known.of(repo), public=public, force=force, tag=tag)
        known.note(repo, publication.content)
        commit = head.commit if changes.nothing else _commit(api, repo, head, publication, changes, message)
        if changes.tag not in head.tags:
            note = f"{publication.name}, version {changes.version}"
            api.create_tag(repo, repo_type="dataset", tag=changes.tag, revision=commit, tag_message=note, exist_ok=True)
        return Pushed(repo, _url(api, repo), changes, commit)

    try:
        return persist(f"publishing to {repo}", once, say=say, pause=pause, attempts=2 if dry_run else ATTEMPTS)
    except Unreachable as error:
        if not dry_run:
            raise
        say(f"{error.message}; showing what a new repository would get")
        changes = what_changes(Head(None), publication, [], public=public, force=force, tag=tag)
        return Pushed(repo, _url(api, repo), changes, None, dry_run=True)


def what_changes(
    head: Head, publication: Publication, known: list[str], *, public: bool, force: bool, tag: str | None = None
) -> Changes:
    """Compare the publication with the head. Raises `PublishError` if it must not be pushed there."""
    if head.commit is None:
        return Changes(True, not public, 1, tag or "v1", add=[*publication.files, MARKER])
    if not head.private and not public:
        raise PublishError(
            "the repository is public, so everything pushed there is public at once",
            hint="Add --public if you want that, or make the repository private on the Hub first.",
        )
    ours = head.marker.files if head.marker else {}
    if not force:
        _refuse_what_is_not_ours(head, publication, known)
    files = publication.files
    add = [path for path in files if path not in head.files]
    same = [path for path, file in files.items() if path in head.files and file.has_hash(head.files[path])]
    change = [path for path in files if path in head.files and path not in same]
    delete = [path for path in ours if path not in files and path in head.files]
    kept = [path for path in head.files if path not in files and path not in ours and path not in _HUBS_OWN | {MARKER}]
    unchanged = not (add or change or delete) and head.marker is not None and head.marker.content == publication.content
    numbers = [int(name[1:]) for name in head.tags if name[:1] == "v" and name[1:].isdecimal()]
    if unchanged and head.marker:
        version = head.marker.version
    else:
        version = 1 + max([*numbers, head.marker.version if head.marker else 0])
        (change if MARKER in head.files else add).append(MARKER)
    return Changes(False, head.private, version, _tag(head, tag, version, unchanged), add, change, delete, kept, same)


def _tag(head: Head, tag: str | None, version: int, unchanged: bool) -> str:
    if tag and tag in head.tags and not unchanged:
        raise PublishError(f"there is a tag {tag!r} already", hint="Choose another --tag: tags never move.")
    return tag or f"v{version}"


def _refuse_what_is_not_ours(head: Head, publication: Publication, known: list[str]) -> None:
    marker = head.marker
    if marker is None:
        foreign = sorted(path for path in head.files if path not in _HUBS_OWN)
        if foreign:
            raise PublishError(
                f"the repository exists and was not published by dprm (it holds {_some(foreign)})",
                hint="Choose another name, or add --force: it overwrites files of the same names and keeps the others.",
            )
        return
    if marker.name != publication.name:
        raise PublishError(
            f"the repository holds another run: {marker.name!r}, this one is {publication.name!r}",
            hint="Choose another name, or replace it with --force.",
        )
    if marker.content != publication.content and marker.content not in known:
        raise PublishError(
            f"version {marker.version} in the repository was published from another folder, and this one does not know it",
            hint="Continue from it with dprm pull, or replace it with --force.",
        )
    changed = sorted(path for path, names in marker.files.items() if head.files.get(path) not in names.values())
    if changed:
        raise PublishError(
            f"others have changed what was published there as version {marker.version}: {_some(changed)}",
            hint="Save their changes first; --force overwrites them.",
        )


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")


def _commit(api: HfApi, repo: str, head: Head, publication: Publication, changes: Changes, message: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    names = {path: {"sha256": file.sha256, "git": file.git_oid} for path, file in publication.files.items()}
    marker = Marker(publication.name, changes.version, publication.content, names)
    operations: list[Any] = [CommitOperationAdd(MARKER, marker.text().encode())]
    for path in changes.add + changes.change:
        if path != MARKER:
            operations.append(CommitOperationAdd(path, publication.files[path].local))
    operations += [CommitOperationDelete(path) for path in changes.delete]
    done = api.create_commit(
        repo,
        operations,
        repo_type="dataset",
        commit_message=message or f"{publication.name}, version {changes.version}",
        commit_description="Published with dprm-data.",
        parent_commit=head.commit,
    )
    return str(done.oid)


def _url(api: HfApi, repo: str) -> str:
    return f"{api.endpoint}/datasets/{repo}"
