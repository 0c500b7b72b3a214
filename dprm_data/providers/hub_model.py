"""A model file on the Hugging Face Hub: `org/repo:file.gguf` or `org/repo:Q4_K_M`, each also with a revision, `org/repo@v1:file.gguf`.

Files are fetched by `huggingface_hub` into its cache (HF_HOME), at HF_ENDPOINT and with HF_TOKEN where they are set. A download goes on where the connection
broke; one whose process ended begins anew, with the next part where the file is split. With HF_HUB_OFFLINE, or where the Hub cannot be reached, what the cache holds is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.extras import extra
from dprm_data.core.text import one_line

_REFERENCE = re.compile(
    r"(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w.-][\w./-]*))?:(?P<wanted>[\w.-][\w.+ /-]*)", re.ASCII
)
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_SHOWN = 12  # files that a message lists


@dataclass(frozen=True)
class HubModel:
    """A reference to a file on the Hub. wanted: its path in the repository, or a quantisation that is part of its name."""

    repo: str
    wanted: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubModel | None:
        """The reference that a recipe's `model` is, if it is one."""
        found = _REFERENCE.fullmatch(text)
        return cls(found["repo"], found["wanted"], found["revision"]) if found else None

    def __str__(self) -> str:
        return f"{self.repo}{f'@{self.revision}' if self.revision else ''}:{self.wanted}"

    def choose(self, files: Sequence[str]) -> list[str]:
        """The wanted file among those of the repository, with its other parts if it is split; the first is the one to load. Raises
        `InputError`."""
        models = sorted(file for file in files if file.lower().endswith(".gguf"))
        if self.wanted in models:
            return parts_of(self.wanted, models)
        by_quantisation = re.compile(rf"(?:^|[^a-z0-9]){re.escape(self.wanted)}(?:[^a-z0-9]|$)", re.IGNORECASE)
        matching = [file for file in models if by_quantisation.search(PurePosixPath(file).name)]
        whole = [file for file in matching if not (part := _PART.fullmatch(file)) or int(part["number"]) == 1]
        if len(whole) == 1:
            return parts_of(whole[0], models)
        found = f"{len(whole)} files match it" if whole else "no .gguf file matches it"
        listed = [one_line(file, 120) for file in (whole or models)[:_SHOWN]]
        more = f" and {len(whole or models) - _SHOWN} more" if len(whole or models) > _SHOWN else ""
        raise InputError(
            f"provider.model: {self}: {found}",
            hint=f"Name one of them: {', '.join(listed)}{more}." if listed else f"{self.repo} has no .gguf file.",
        )


@dataclass(frozen=True)
class Fetched:
    """A model file in the cache. revision: the commit it is of; license: what the model card states, "" if it states none."""

    file: Path
    revision: str
    license: str


_fetched: dict[
    HubModel, Fetched
] = {}  # by this process: a run looks several times, and must not see another commit each time


def fetch(model: HubModel, say: Callable[[str], None] = lambda text: None) -> Fetched:
    """The file, from the cache or from the Hub, which is asked once. Calls `say` with what is downloaded. Raises `InputError`."""
    if model not in _fetched or not _fetched[model].file.exists():
        _fetched[model] = _fetch(model, say)
    return _fetched[model]


def _fetch(model: HubModel, say: Callable[[str], None]) -> Fetched:
    from httpx2 import HTTPError, InvalidURL  # what the Hub's client speaks over

    with extra("hub", what="a model on the Hub"):
        from huggingface_hub import constants
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if constants.HF_HUB_OFFLINE:
        return _cached(model, "HF_HUB_OFFLINE is set")
    try:
        return _download(model, say)
    except (HFValidationError, InvalidURL) as error:
        raise InputError(f"provider.model: {model}: {one_line(str(error), 300)}") from None
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code >= 500:
            return _cached(model, f"the Hub returned an error ({one_line(str(error), 200)})")
        raise _refused(model, error) from None
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            raise InputError(f"provider.model: {model} cannot be stored: {error.strerror}: {error.filename}") from error
        return _cached(model, f"the Hub cannot be reached ({one_line(str(error), 200)})")


def cached(model: HubModel) -> Fetched | None:
    """The file as the cache has it; None where it does not. Asks nobody."""
    try:
        return _cached(model, "")
    except InputError:
        return None


def _download(model: HubModel, say: Callable[[str], None]) -> Fetched:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    info = api.model_info(model.repo, revision=model.revision)
    files = model.choose([entry.rfilename for entry in info.siblings or []])
    license = _license(info.card_data)
    revision = str(info.sha)
    say(f"{model.repo} at {revision[:8]}, licence: {license or 'its model card states none'}")
    paths = [
        # By the name of the revision, which is then found in the cache by that name.
        api.hf_hub_download(
            model.repo, file, revision=model.revision, tqdm_class=_reporting(say, PurePosixPath(file).name)
        )
        for file in files
    ]
    return Fetched(Path(paths[0]), revision, license)


def _cached(model: HubModel, why: str) -> Fetched:
    """What the cache holds of the wanted revision. Raises `InputError` with `why` the Hub is not asked."""
    with extra("hub", what="a model on the Hub"):
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model.repo, repo_type="model")
    revision = model.revision or "main"
    ref = folder / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    snapshots = [folder / "snapshots" / commit]
    if model.revision is None and not snapshots[0].is_dir():
        snapshots = sorted((folder / "snapshots").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for snapshot in snapshots:
        files = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        try:
            chosen = model.choose(files)
        except InputError:
            continue
        return Fetched(snapshot / chosen[0], snapshot.name, "")
    raise InputError(
        f"provider.model: {model} is not in the cache {folder.parent}, and {why}",
        hint="Fetch it where the Hub can be reached, or give the path of a .gguf file.",
    )


def parts_of(file: str, models: Sequence[str]) -> list[str]:
    """The file, or all parts of a split one in their order. Raises `InputError` where one is missing."""
    part = _PART.fullmatch(file)
    if part is None:
        return [file]
    count = int(part["count"])
    names = [f"{part['name']}-{i:05}-of-{part['count']}.gguf" for i in range(1, min(count, 1000) + 1)]
    missing = [name for name in names if name not in models]
    if missing:
        raise InputError(f"provider.model: {one_line(file, 120)} is split, and {one_line(missing[0], 120)} is missing")
    return names


def _license(card: Any) -> str:
    """The licence that the model card's data states; where it is "other", by the name that the card gives it."""
    data = card.to_dict() if card is not None else {}
    stated = data.get("license_name") if data.get("license") == "other" else data.get("license")
    return one_line(str(stated), 80) if stated else ""


def _refused(model: HubModel, error: Any) -> InputError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return InputError(
            f"provider.model: {model.repo} is gated: its owner must allow you to read it",
            hint="Accept its terms on its page on the Hub, and set HF_TOKEN to a token of that account.",
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(f"provider.model: {model.repo} has no revision {model.revision!r}")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"provider.model: the Hub has no model {model.repo}, or does not show it to you",
            hint="Check the name; for a private model, set HF_TOKEN.",
        )
    return InputError(f"provider.model: {model}: {one_line(str(error), 300)}")


def _reporting(say: Callable[[str], None], name: str) -> Any:
    """A progress bar of the kind that `huggingface_hub` takes, which says a line at the beginning and at every tenth."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    class Reporting(tqdm):
        """Draws nothing."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]
            self._done, self._all = kwargs.get("initial") or 0, kwargs.get("total") or 0
            self._next = self._done
            self._tell()

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            if self._done >= min(self._next, self._all):
                self._tell()
            return None

        def _tell(self) -> None:
            self._next = self._done + max(1, self._all // 10)
            if self._all:
                say(f"downloading {name}: {self._done / self._all:.0%} of {self._all / 1e9:.2f} GB")

    return Reporting
