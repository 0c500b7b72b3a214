"""What the head of a reward model reads of a text: what the classifier of its architecture does, or the mean over all
tokens.

last    the architecture's own way: a decoder's last token, an encoder's first token through its pooler
mean    the mean of the last hidden states over the text's tokens, then the head

`last` is saved as a plain `AutoModelForSequenceClassification`. Few architectures have a classifier that takes the mean
(those with `classifier_pooling` in their config; these are plain, too). For the others the mean is saved in the layout
of sentence-transformers: the backbone alone, `1_Pooling` (mean) and `2_Dense` (the head). Sentence-transformers, vLLM
(pull request 23408) and TEI (pull requests 660 and 701) load it as an embedding model, whose embedding of a text is the
logits. With a hidden layer (`hidden_head`) there are two dense layers: `2_Dense` with tanh, and `3_Dense`, the head. A plain `AutoModelForSequenceClassification` lacks its head there and says so, instead of reading another token.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dprm_trainers.core.loading import WEIGHTS
from dprm_trainers.reward.features import head_name, linear_head
from dprm_trainers.reward.hidden_layer import HIDDEN, add_hidden, through_hidden

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST, MEAN = "last", "mean"
_POOLING, _HEAD = "1_Pooling", "2_Dense"
_HEAD_AFTER_HIDDEN = "3_Dense"
_IDENTITY, _TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"
_ST = "sentence_transformers.models."  # its names of modules, which every reader of the layout knows


def pooling_of(model_config: Any) -> str:
    """What a model with this config pools by, as its record says; `last` for models from before there was a choice."""
    return str((getattr(model_config, "dprm", None) or {}).get("pooling", LAST))


def trained_by_mean(reference: str) -> bool:
    """Whether a base model is one of sentence-transformers that pools by the mean, by its own `1_Pooling`."""
    from transformers.utils.hub import cached_file

    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors", "gated_repo")}
    file = cached_file(reference, f"{_POOLING}/config.json", **quiet)
    return file is not None and bool(json.loads(Path(file).read_text("utf-8")).get("pooling_mode_mean_tokens"))


def load_classifier(
    reference: str, *, model_config: Any = None, dtype: torch.dtype = torch.float32, **more: Any
) -> tuple[PreTrainedModel, list[str]]:
    """A classifier that pools as its config's record says, and the names of the weights that the files lack.

    reference: a folder or a name on the Hub. model_config: takes precedence over the one there.
    more: further options of `from_pretrained`.
    """
    from transformers import AutoModelForSequenceClassification

    options = more | ({"config": model_config} if model_config is not None else {})
    model, found = AutoModelForSequenceClassification.from_pretrained(
        reference, dtype=dtype, output_loading_info=True, **options, **WEIGHTS
    )
    lacking = set(found["missing_keys"])
    if pooled_by_us(model.config):
        if units := (getattr(model.config, "dprm", None) or {}).get("hidden"):
            add_hidden(model, units)
        lacking -= _load_head(model, reference)
        pool_by_mean(model)
    return model, sorted(lacking)


def save_classifier(model: PreTrainedModel, folder: Path, state: dict[str, Tensor] | None = None) -> None:
    """Save a classifier in the layout that its pooling asks for. state: its weights, where they are not in it."""
    if not pooled_by_us(model.config):
        model.save_pretrained(folder, state_dict=state)
        return
    from safetensors.torch import save_file

    weights = model.state_dict() if state is None else state
    inside = f"{model.base_model_prefix}."
    own = {name.removeprefix(inside): tensor for name, tensor in weights.items() if name.startswith(inside)}
    own = {name: tensor for name, tensor in own.items() if not name.startswith(f"{HIDDEN}.")}
    backbone: Any = model.base_model
    backbone.save_pretrained(folder, state_dict=own)
    layers = dense_layers(model)
    paths = list(layers)
    _write(folder / "modules.json", [_module(i, path) for i, path in enumerate(["", _POOLING, *paths])])
    pooled = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    width = model.get_submodule(layers[paths[0]]).in_features
    _write(folder / _POOLING / "config.json", {"word_embedding_dimension": width, **pooled})
    for path, name in layers.items():
        layer: Any = model.get_submodule(name)
        parts = {part: weights[f"{name}.{part}"] for part, _ in layer.named_parameters()}
        shape = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": "bias" in parts}
        activation = _IDENTITY if path == paths[-1] else _TANH
        _write(folder / path / "config.json", {**shape, "activation_function": activation})
        kept = {f"linear.{part}": tensor.detach().cpu().contiguous() for part, tensor in parts.items()}
        save_file(kept, folder / path / "model.safetensors")


def dense_layers(model: PreTrainedModel) -> dict[str, str]:
    """The layers after the mean: their folders, and their names in the model."""
    if not hasattr(model.base_model, HIDDEN):
        return {_HEAD: head_name(model)}
    return {_HEAD: f"{model.base_model_prefix}.{HIDDEN}", _HEAD_AFTER_HIDDEN: head_name(model)}


def pool_by_mean(model: PreTrainedModel) -> None:
    """Have a classifier's head read the mean over the tokens. Raises `TrainingError` if it is not one linear layer."""
    model.forward = functools.partial(_forward, model, head_name(model))
    unread = getattr(model.base_model, "pooler", None)
    if unread is not None:
        unread.requires_grad_(False)


def pooled_by_us(model_config: Any) -> bool:
    """Whether the mean is taken by `pool_by_mean`: the architecture's own classifier does not take it."""
    return pooling_of(model_config) == MEAN and not hasattr(model_config, "classifier_pooling")


def _forward(model: Any, head: str, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
    from transformers.modeling_outputs import SequenceClassifierOutput

    options = {name: value for name, value in options.items() if name not in ("labels", "return_dict")}
    hidden = model.base_model(input_ids=input_ids, attention_mask=attention_mask, **options).last_hidden_state
    seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    weight = seen.unsqueeze(-1).float()
    mean = (hidden.float() * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1.0)
    layer = model.get_submodule(head)
    read = through_hidden(model, mean.to(next(layer.parameters()).dtype))
    return SequenceClassifierOutput(logits=layer(read))


def _load_head(model: PreTrainedModel, reference: str) -> set[str]:
    """Read the layers after the mean from their files. Returns the names of their weights that the model has without
    them; none where there is no such file."""
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    for path, name in dense_layers(model).items():
        file = cached_file(reference, f"{path}/model.safetensors", _raise_exceptions_for_missing_entries=False)
        if file is None:
            return set()
        kept = {part.removeprefix("linear."): tensor for part, tensor in load_file(file).items()}
        model.get_submodule(name).load_state_dict(kept)
    return {f"{head_name(model)}.{part}" for part, _ in linear_head(model).named_parameters()}


def _module(index: int, path: str) -> dict[str, Any]:
    kind = path.partition("_")[2] or "Transformer"
    return {"idx": index, "name": str(index), "path": path, "type": f"{_ST}{kind}"}


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
