"""What the head of a reward model reads of a text: what the classifier of its architecture does, or the mean over all
tokens.

last    the architecture's own way: a decoder's last token, an encoder's first token through its pooler
mean    the mean of the last hidden states over the text's tokens, then the head

`last` is saved as a plain `AutoModelForSequenceClassification`. Few architectures have a classifier that takes the mean
(those with `classifier_pooling` in their config; these are plain, too). For the others the mean is saved in the layout
of sentence-transformers: the backbone alone, `1_Pooling` (mean) and `2_Dense` (the head). Sentence-transformers, vLLM
(pull request 23408) and TEI (pull requests 660 and 701) load it as an embedding model, whose embedding of a text is the
logits. A plain `AutoModelForSequenceClassification` lacks its head there and says so, instead of reading another token.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dprm_trainers.core.loading import WEIGHTS
from dprm_trainers.reward.features import linear_head

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAST, MEAN = "last", "mean"
_POOLING, _HEAD = "1_Pooling", "2_Dense"
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
    reference: str, *, model_config: Any = None, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, list[str]]:
    """A classifier that pools as its config's record says, and the names of the weights that the files lack.

    reference: a folder or a name on the Hub. model_config: takes precedence over the one there.
    """
    from transformers import AutoModelForSequenceClassification

    options = {"config": model_config} if model_config is not None else {}
    model, found = AutoModelForSequenceClassification.from_pretrained(
        reference, dtype=dtype, output_loading_info=True, **options, **WEIGHTS
    )
    lacking = set(found["missing_keys"])
    if pooled_by_us(model.config):
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
    backbone: Any = model.base_model
    backbone.save_pretrained(folder, state_dict=own)
    head, name = linear_head(model), head_name(model)
    parts = {part: weights[f"{name}.{part}"] for part, _ in head.named_parameters()}
    _write(folder / "modules.json", [_module(0, ""), _module(1, _POOLING), _module(2, _HEAD)])
    pooled = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    _write(folder / _POOLING / "config.json", {"word_embedding_dimension": head.in_features, **pooled})
    shape = {"in_features": head.in_features, "out_features": head.out_features, "bias": "bias" in parts}
    _write(folder / _HEAD / "config.json", {**shape, "activation_function": "torch.nn.modules.linear.Identity"})
    file = folder / _HEAD / "model.safetensors"
    save_file({f"linear.{part}": tensor.detach().cpu().contiguous() for part, tensor in parts.items()}, file)


def pool_by_mean(model: PreTrainedModel) -> None:
    """Have a classifier's head read the mean over the tokens. Raises `TrainingError` if it is not one linear layer."""
    model.forward = functools.partial(_forward, model, head_name(model))
    unread = getattr(model.base_model, "pooler", None)
    if unread is not None:
        unread.requires_grad_(False)


def head_name(model: PreTrainedModel) -> str:
    """Under which name a classifier has its head. Raises `TrainingError` if that is not one linear layer."""
    head = linear_head(model)
    return str(next(name for name, module in model.named_modules() if module is head))


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
    return SequenceClassifierOutput(logits=layer(mean.to(next(layer.parameters()).dtype)))


def _load_head(model: PreTrainedModel, reference: str) -> set[str]:
    """Read the head from its own file. Returns the names of its weights; none where there is no such file."""
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    file = cached_file(reference, f"{_HEAD}/model.safetensors", _raise_exceptions_for_missing_entries=False)
    if file is None:
        return set()
    head, name = linear_head(model), head_name(model)
    head.load_state_dict({part.removeprefix("linear."): tensor for part, tensor in load_file(file).items()})
    return {f"{name}.{part}" for part, _ in head.named_parameters()}


def _module(index: int, path: str) -> dict[str, Any]:
    kind = path.partition("_")[2] or "Transformer"
    return {"idx": index, "name": str(index), "path": path, "type": f"{_ST}{kind}"}


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
