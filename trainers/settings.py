"""Where the settings of a training come from: a YAML file, flags that go before it, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from dprm_data.core.yamlfile import read_model, validated
from dprm_trainers.errors import TrainingError

Settings = TypeVar("Settings", bound=BaseModel)


def given_settings(model: type[Settings], file: str | Path | None, flags: dict[str, Any]) -> Settings:
    """The settings that are given: flags (None is not given) go before the file. Raises `TrainingError`."""
    given = {name: value for name, value in flags.items() if value is not None}
    if file is None:
        return validated(given, model, TrainingError, "settings")
    if not given:
        return read_model(Path(file), model, TrainingError, "settings of a training")
    # The file may lack what the flags give, so it is read plainly first; alone it is read with the lines of what is wrong.
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise TrainingError(f"cannot read {file}: {error}", hint="Give a YAML file of settings.") from error
    if not isinstance(content, dict):
        raise TrainingError(f"{file}: settings are a mapping of keys to values")
    return validated(content | given, model, TrainingError, str(file))
