"""What a user names as a model or as data: a path, or a name on the Hub. Looked at before anything large is imported or loaded."""

from __future__ import annotations

from pathlib import Path

from dprm_data.core.errors import InputError

_OF_A_MODEL = ("config.json", "adapter_config.json")


def check_model(setting: str, reference: str) -> None:
    """Refuse what is neither a model's folder nor a name on the Hub. setting: what names it, for the message. Raises `InputError`."""
    path = Path(reference)
    if not path.is_dir():
        _check_name(setting, reference, "Give a model's folder, or a name on the Hub.")
    elif not any((path / name).is_file() for name in _OF_A_MODEL):
        raise InputError(
            f"{setting} {reference}: the folder holds no model (it has no config.json)",
            hint="Give the folder that a training wrote, or a name on the Hub.",
        )


def check_data(setting: str, reference: str) -> None:
    """Refuse a path at which there is nothing. setting: what names it, for the message. Raises `InputError`."""
    if not Path(reference).exists():
        _check_name(
            setting,
            reference,
            "Give a run folder, a Parquet file, or owner/name of a dataset on the Hub.",
        )


def _check_name(setting: str, reference: str, hint: str) -> None:
    path = Path(reference)
    if path.exists() or path.is_absolute() or reference.startswith(".") or reference.count("/") > 1:
        raise InputError(f"{setting} {reference}: there is no such folder", hint=hint)
