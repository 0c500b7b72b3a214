"""Checks of the models and data that a user names: a path, or a name on the Hub. Done before anything large is imported or loaded."""

from __future__ import annotations

from pathlib import Path

from dprm_data.core.errors import InputError

_OF_A_MODEL = ("config.json", "adapter_config.json")
_OF_DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".yaml", ".yml")


def check_model(setting: str, reference: str) -> None:
    """Check that the reference is a model's folder or a name on the Hub. setting: the option's name, for the message. Raises `InputError`."""
    path = Path(reference)
    if not path.is_dir():
        _check_name(setting, reference, "Give a model's folder, or a name on the Hub.")
    elif not any((path / name).is_file() for name in _OF_A_MODEL):
        raise InputError(
            f"{setting} {reference}: the folder holds no model (it has no config.json)",
            hint="Give the output folder of a training, or a name on the Hub.",
        )


def check_data(setting: str, reference: str) -> None:
    """Check that a path exists, or that this can be owner/name on the Hub. setting: the option's name, for the message. Raises `InputError`."""
    if Path(reference).exists():
        return
    hint = "Give a run folder, a Parquet file, JSON lines of pairs, or owner/name of a dataset on the Hub."
    if "/" not in reference or Path(reference).suffix in _OF_DATA:
        raise InputError(f"{setting} {reference}: there is no such file or folder", hint=hint)
    _check_name(setting, reference, hint)


def _check_name(setting: str, reference: str, hint: str) -> None:
    path = Path(reference)
    if path.exists() or path.is_absolute() or reference.startswith(".") or reference.count("/") > 1:
        raise InputError(f"{setting} {reference}: there is no such folder", hint=hint)
