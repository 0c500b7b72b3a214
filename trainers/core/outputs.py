"""What all trainings do before and after: precision, peak memory, the way to the Hub."""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dprm_data.publish.hub import connect, persist
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingError


def writable(folder: Path) -> Path:
    """The folder, which need not be there yet, and is not made. Raises `TrainingError`, before anything is computed, where it cannot be written, or is a run's, whose files would be lost."""
    if is_run_folder(folder):
        raise TrainingError(
            f"{folder} is a run folder", hint="Give another output: its card and a run's have one name."
        )
    absolute = folder.absolute()
    try:
        with tempfile.TemporaryFile(dir=next(place for place in (absolute, *absolute.parents) if place.exists())):
            pass
    except OSError as error:
        raise TrainingError(
            f"cannot write in {folder}: {error.strerror or error}",
            hint="Choose another output folder, or make this one writable.",
        ) from error
    return folder


def output_folder(folder: str, *, resume: bool, overwrite: bool, models: Sequence[str] = ("config.json",)) -> Path:
    """The output folder of a training, as `writable`; with `overwrite` (and no `resume`) its checkpoints are removed. Raises `TrainingError` where it holds a model already, which one
    of the files `models` tells, and neither is given."""
    output = Path(folder)
    if overwrite and not resume:
        shutil.rmtree(output / "checkpoints", ignore_errors=True)
    elif not resume and any((output / name).exists() for name in models):
        raise TrainingError(
            f"{output} holds a model already", hint="Give another output, or --overwrite to train it anew."
        )
    return writable(output)


def in_bf16(precision: str) -> bool:
    """Whether to compute in bf16: asked for, or `auto` on a GPU that has it."""
    return precision == "bf16" or (precision == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported())


def peak_memory() -> tuple[float, str]:
    """The peak of memory so far in MB, and of what: the GPU where there is one, else this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6, "the GPU (peak)"
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, "this process (peak)"


def push_folder(repo: str, folder: Path, say: Callable[[str], None], *, keep: Sequence[str] = ()) -> None:
    """Upload a trained model; its checkpoints and the files `keep` stay here. A new repository is private. Raises `PublishError`."""
    api = connect(needs_token=True)

    def upload() -> None:
        api.create_repo(repo, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            ignore_patterns=["checkpoints/**", *keep],
            commit_message="Train with dprm",
        )

    persist(f"pushing to {repo}", upload, say=say)
    say(f"pushed to {repo} (a new repository is private)")
