"""The Hugging Face Hub: the state of a repository, retries, and error messages that say what to do.

The client's own retries do not cover commits, so all retrying is here: an action that failed for a passing reason starts over, and reads the
repository's head first (`persist`). Every action that is retried is idempotent.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dprm_data.core.errors import PublishError
from dprm_data.core.extras import extra

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
MARKER = "dprm.json"  # in the repository: lists what we published there
ATTEMPTS = 7
_XET = re.compile(
    r"\b(CAS|reqwest|xet)\b", re.IGNORECASE
)  # failures of the storage for large files are plain RuntimeErrors


class Unreachable(PublishError):
    """The Hub cannot be reached, or keeps failing."""


@dataclass(frozen=True)
class Marker:
    """The content of `dprm.json`: the publication and the hashes of its files, by which others' changes are detected."""

    name: str
    version: int
    content: str
    files: dict[str, dict[str, str]]  # path -> sha256, git

    @classmethod
    def read(cls, text: str) -> Marker | None:
        """Parse a marker; None if the text is not one."""
        try:
            found = json.loads(text)
            files = {path: dict(names) for path, names in dict(found["files"]).items()}
            return cls(str(found["name"]), int(found["version"]), str(found["content"]), files)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def text(self) -> str:
        content = {"format": 1, "published_by": "dprm-data"} | self.__dict__
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Head:
    """The state of a repository. commit: None if there is no repository; files: path -> hash of the content (sha256 or git)."""

    commit: str | None
    private: bool = True
    files: dict[str, str] = field(default_factory=dict)
    marker: Marker | None = None
    tags: dict[str, str] = field(default_factory=dict)


def connect(*, needs_token: bool) -> HfApi:
    """A client for the Hub at HF_ENDPOINT. Raises `PublishError` if a token is needed and there is none."""
    with extra("hub", what="the Hugging Face Hub"):
        from huggingface_hub import HfApi, get_token

    if needs_token and not get_token():
        raise PublishError(
            "no token for the Hugging Face Hub",
            hint="Set HF_TOKEN to a token with write access, or log in: hf auth login.",
        )
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def no_progress_bars() -> None:
    """Turn off the client's own progress bars."""
    with extra("hub", what="the Hugging Face Hub"):
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    disable_progress_bars()


def read_head(api: HfApi, repo: str, revision: str | None = None) -> Head:
    """Read the current state of the repository."""
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = api.repo_info(repo, repo_type="dataset", revision=revision)
    except RepositoryNotFoundError as error:
        if _status(error) == 401:
            raise
        return Head(None)
    files: dict[str, str] = {}
    for entry in api.list_repo_tree(repo, repo_type="dataset", revision=info.sha, recursive=True):
        if isinstance(entry, RepoFile):
            files[entry.path] = entry.lfs.sha256 if entry.lfs else entry.blob_id
    marker = _read_marker(api, repo, str(info.sha)) if MARKER in files else None
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo, repo_type="dataset").tags}
    return Head(str(info.sha), bool(info.private), files, marker, tags)


def _read_marker(api: HfApi, repo: str, commit: str) -> Marker | None:
    local = api.hf_hub_download(repo, MARKER, repo_type="dataset", revision=commit)
    return read_marker(Path(local))


def read_marker(file: Path) -> Marker | None:
    """The marker in a file, or None where the file holds none."""
    return Marker.read(file.read_text(encoding="utf-8", errors="replace"))


# -- failures ---------------------------------------------------------------------------------------------------------

Kind = Literal["passing", "moved", "refused"]


def persist(
    task: str,
    action: Callable[[], T],
    *,
    say: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
    attempts: int = ATTEMPTS,
) -> T:
    """Run the action, and retry it up to `attempts` times if the failure may pass. Raises `PublishError`; `task` begins its message."""
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except PublishError:
            raise
        except Exception as error:
            kind = _kind(error)
            if kind in ("refused", None):
                refusal = _refusal(task, error)
                if refusal is None:
                    raise
                raise refusal from error
            if attempt == attempts:
                raise Unreachable(
                    f"{task}: the Hub failed {attempts} times, the last time with: {_first_line(error)}",
                    hint="Nothing is lost. Run the same command again to continue.",
                ) from error
            wait = _wait(error, attempt) if kind == "passing" else 0.1
            say(f"{_first_line(error)}; reading the repository again{f' in {wait:.0f} s' if wait >= 1 else ''}")
            pause(wait)
    raise AssertionError("unreachable")


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _kind(error: Exception) -> Kind | None:
    """Whether the failure may pass, the repository has moved, or the Hub refuses; None if the Hub did not cause it."""
    status = _status(error)
    if status in (409, 412):
        return "moved"
    if status is not None:
        return "passing" if status >= 500 or status in (408, 425, 429) else "refused"
    return "passing" if _is_transport(error) else None


def _is_transport(error: BaseException | None) -> bool:
    """Whether the connection broke: an error of httpx (any version), of the system, or one that the client raised from those."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if error is None:
        return False
    names = {f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError) or any(
        name.startswith("httpx") and name.endswith(".HTTPError") for name in names
    ):
        return True
    if type(error) is RuntimeError and _XET.search(str(error)):
        return True
    return type(error) in (RuntimeError, OSError) and _is_transport(error.__cause__)


def _wait(error: Exception, attempt: int) -> float:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    retry_after = str(headers.get("retry-after", ""))
    if retry_after.isdigit():
        return min(float(retry_after), 120.0)
    return min(0.5 * 2.0 ** (attempt - 1), 30.0) * random.uniform(0.75, 1.25)


def _refusal(task: str, error: Exception) -> PublishError | None:
    """Our message for the Hub's refusal; None if it is not one."""
    status = _status(error)
    if status == 401:
        return PublishError(
            f"{task}: the Hub does not accept the token (401)",
            hint="Set HF_TOKEN to a valid token with write access, or log in again: hf auth login.",
        )
    if status == 403:
        return PublishError(
            f"{task}: this token may not do that (403: {_first_line(error)})",
            hint="Use a token with write access to that organisation, or another owner/name.",
        )
    if status == 404:
        return PublishError(
            f"{task}: there is no such dataset or version, or this token may not read it",
            hint="Check owner/name and the version; for a private dataset, set HF_TOKEN.",
        )
    if status is not None:
        return PublishError(f"{task}: the Hub refuses ({status}: {_first_line(error)})")
    return None


def _first_line(error: BaseException) -> str:
    """The first line of the error's message that is not empty, without URL queries and tokens."""
    message: Any = getattr(error, "server_message", None) or str(error)
    line = next((line.strip() for line in str(message).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"hf_\w+|Bearer \S+|\?\S+", "…", line)[:200]
