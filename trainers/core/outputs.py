"""Shared by all trainings: the output folder, precision, peak memory, pushing to the Hub."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from dprm_data.publish.hub import connect, persist
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.checkpoints import flush
from dprm_trainers.core.errors import TrainingError

MARKS = ("config.json", "adapter_config.json")  # a folder that has one of them holds a model
# What a model's folder may have that the next model's may not: weights, the layout of sentence-transformers, heads of groups.
_PARTS = (*MARKS, "*.safetensors*", "adapter_*", "modules.json", "[0-9]_*", "group_heads")


def writable(folder: Path) -> Path:
    """Check that a folder can be written, without creating it.

    Raises `TrainingError` if it cannot, or if it is a run folder, whose files would be overwritten.
    """
    if is_run_folder(folder):
        raise TrainingError(
            f"{folder} is a run folder", hint="Give another output: the model card would overwrite the run's README.md."
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


def output_folder(folder: str, *, resume: bool, overwrite: bool) -> Path:
    """The output folder of a training, checked by `writable`. With `overwrite` and without `resume` its checkpoints are
    removed.

    Raises `TrainingError` if the folder holds a model and neither flag is set.
    """
    output = Path(folder)
    if overwrite and not resume:
        shutil.rmtree(output / "checkpoints", ignore_errors=True)
    elif not resume and any((output / name).exists() for name in MARKS):
        raise TrainingError(
            f"{output} holds a model already", hint="Give another output, or --overwrite to train again."
        )
    return writable(output)


@contextmanager
def whole_model(output: Path) -> Iterator[Path]:
    """A staging folder for a model and its record, whose files are moved to the output folder when the block ends.

    Files of an earlier model are removed before, and the file that marks a model is moved last: if the process is
    killed, the output folder holds a whole model or none.
    """
    staged = output / ".model"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    yield staged
    flush(staged)
    for old in [found for pattern in _PARTS for found in output.glob(pattern)]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for file in sorted(staged.iterdir(), key=lambda file: (file.name in MARKS, file.name)):
        if (output / file.name).is_dir():
            shutil.rmtree(output / file.name)
        file.replace(output / file.name)
    staged.rmdir()


def in_bf16(precision: str) -> bool:
    """Whether to compute in bf16: requested, or `auto` on a GPU that supports it."""
    return precision == "bf16" or (precision == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported())


def peak_memory() -> tuple[float, str]:
    """Peak memory so far in MB, and whose: the GPU's if there is one, else this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6, "the GPU (peak)"
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        used = psutil.Process().memory_info()
        return getattr(used, "peak_wset", used.rss) / 1e6, "this process (peak)"
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, "this process (peak)"


def push_folder(repo: str, folder: Path, say: Callable[[str], None], *, keep: Sequence[str] = ()) -> None:
    """Upload a trained model, except its checkpoints and the files in `keep`.

    A new repository is private. Raises `PublishError`.
    """
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
