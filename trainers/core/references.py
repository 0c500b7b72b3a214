"""Checks of the models and data that a user names: a path, or a name on the Hub. Done before anything large is imported or loaded."""

from __future__ import annotations

from pathlib import Path

from dprm_data.core.errors import InputError
from dprm_data.core.resources import neighbour
from dprm_data.core.text import near_match
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.cache import BUNDLED

_OF_A_MODEL = ("config.json", "adapter_config.json")
_OF_A_TRAINING = ("dprm_training.json", "dprm_ppo.json")
_OF_DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".yaml", ".yml")


def check_model(setting: str, reference: str) -> None:
    """Check that the reference is a model's folder or a name on the Hub. setting: the option's name, for the message. Raises `InputError`."""
    path = Path(reference)
    if reference == BUNDLED:
        return
    if not path.is_dir():
        _check_name(setting, reference, "Give a model's folder, or a name on the Hub.")
    elif not any((path / name).is_file() for name in _OF_A_MODEL):
        raise InputError(
            f"{setting} {reference}: the folder holds no model (it has no config.json)",
            hint="Give the output folder of a training, or a name on the Hub.",
        )


def _is_ours(path: Path) -> bool:
    """Whether this is a run, or a model of a training of ours. (Folders of base models may be laid out as on the Hub.)"""
    return is_run_folder(path) or any((path / name).is_file() for name in _OF_A_TRAINING)


def check_data(setting: str, reference: str) -> None:
    """Check that a path exists, or that this can be owner/name on the Hub. setting: the option's name, for the message. Raises `InputError`."""
    if Path(reference).exists():
        return
    hint = "Give a run folder, a Parquet file, JSON lines of pairs, or owner/name of a dataset on the Hub."
    if "/" not in reference or Path(reference).suffix in _OF_DATA:
        raise InputError(f"{setting} {reference}: there is no such file or folder", hint=hint)
    _check_name(setting, reference, hint)


def _check_name(setting: str, reference: str, hint: str) -> None:
    """Raise `InputError` for what is meant as a path: by its form, or as something of ours beside it has nearly that name."""
    path = Path(reference)
    if guess := neighbour(path, _is_ours):
        raise InputError(f"{setting} {reference}: there is no such folder{guess}", hint=hint)
    if "/" not in reference and near_match(reference, [BUNDLED]):
        raise InputError(f"{setting} {reference}: there is no such model; did you mean {BUNDLED!r}?", hint=hint)
    if path.exists() or path.is_absolute() or reference.startswith(".") or reference.count("/") > 1:
        raise InputError(f"{setting} {reference}: there is no such folder", hint=hint)
