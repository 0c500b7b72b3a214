"""Train the head alone on features of a frozen backbone. They are computed once and cached, so a small machine trains
in seconds.

The head of a sequence classifier is a linear map W (d, H) of the backbone's last hidden state x at the last token.
Training does not change W itself but its coordinates in standardised features, in which all directions learn at a
similar speed. Stock heads of decoder models have no bias, so the constant is built from the features: u solves the
ridge regression u'x = 1, and

    z = [ (x - (u'x) m) / s , u'x ]    with the training features' mean m and standard deviation s

is *linear* in x, not only affine. So the trained map is exactly W = V A for the coordinates V (d, H + 1) and a fixed A,
and `fold` writes it into the stock head: the saved model is a plain one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dprm_data.core.tables import whole_file
from dprm_trainers.core.cache import cache_folder
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.outputs import in_bf16
from dprm_trainers.data.token_table import TokenRows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_RIDGE = 1e-4  # of the constant's regression, as a share of the features' mean square

# Keys of a configuration that describe origin and head; features do not depend on them. (The weights' dtype is hashed.)
_NOT_OF_FEATURES = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
    | {"id2label", "label2id", "num_labels", "problem_type", "dprm"}
)


def linear_head(model: PreTrainedModel) -> nn.Linear:
    """The head of a sequence classifier: the one linear layer outside its backbone.

    Raises `TrainingError` if the head is more than that; it cannot be trained on cached features then.
    """
    inside = {id(parameter) for parameter in model.base_model.parameters()}
    owners = [
        module
        for module in model.modules()
        if any(id(parameter) not in inside for parameter in module.parameters(recurse=False))
    ]
    if len(owners) != 1 or not isinstance(owners[0], nn.Linear):
        raise TrainingError(
            f"freeze: backbone needs a head of one linear layer; {type(model).__name__} has {len(owners)} modules",
            hint="Train without freeze; lora needs little memory too.",
        )
    return owners[0]


def head_name(model: PreTrainedModel) -> str:
    """Under which name a classifier has its head. Raises `TrainingError` if that is not one linear layer."""
    head = linear_head(model)
    return str(next(name for name, module in model.named_modules() if module is head))


def features_of_texts(
    model: Any, ids: TokenRows, precision: str, batch_size: int, say: Callable[[str], None]
) -> np.ndarray:
    """The head's input for every row of a training (N, H): on the GPU if there is one, in the precision asked for."""
    if not ids:
        return np.zeros((0, linear_head(model).in_features), dtype=np.float32)
    half = torch.bfloat16 if in_bf16(precision) else torch.float32
    model.to(device="cuda" if torch.cuda.is_available() else "cpu", dtype=half)
    reported = time.monotonic()

    def progress(done: int, whole: int) -> None:
        nonlocal reported
        if time.monotonic() - reported > 10:
            reported = time.monotonic()
            say(f"features of {done} of {whole} rows")

    found = features_of(model, ids, batch_size=batch_size, progress=progress)
    model.to(device="cpu", dtype=torch.float32)
    return found


def features_of(
    model: PreTrainedModel,
    ids: TokenRows,
    *,
    batch_size: int = 16,
    cache: Path | None = None,
    progress: Any = None,
) -> np.ndarray:
    """The head's input for every row (N, H), float32: from the cache, or computed in batches of similar length and
    cached.

    The key is a hash of the backbone's weights and configuration and of the token ids, so another model, precision,
    template or length has another key. Using the cache draws no random number. progress: called with (done, total).
    """
    file = (cache or cache_folder() / "features") / f"{_key(model, ids)}.npy"
    if file.is_file():
        with contextlib.suppress(ValueError, EOFError):  # cut off: computed again
            kept = np.asarray(np.load(file, allow_pickle=False))
            if kept.shape == (len(ids), linear_head(model).in_features) and kept.any():
                return kept
    found = compute_features(model, ids, batch_size, progress)
    with whole_file(file) as temporary, temporary.open("wb") as out:
        np.save(out, found)
    return found


@torch.inference_mode()
def compute_features(model: PreTrainedModel, ids: TokenRows, batch_size: int, progress: Any = None) -> np.ndarray:
    """What the head reads of every row (N, H), float32, in batches of similar length."""
    head = linear_head(model)
    seen: dict[str, Tensor] = {}
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0]))
    was_training = model.training
    model.train(False)
    pad = model.config.pad_token_id or 0
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    out = np.zeros((len(ids), head.in_features), dtype=np.float32)
    try:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = padded([ids[i] for i in rows], pad)
            model(**{name: value.to(model.device) for name, value in batch.items()})
            x = seen["x"]
            if x.dim() == 3:  # a decoder's head runs at every position; the classifier uses the last real one
                real = batch["input_ids"].ne(pad)
                last = (torch.arange(real.shape[1]) * real).argmax(dim=1)
                x = x[torch.arange(len(rows), device=x.device), last.to(x.device)]
            out[rows] = x.float().cpu().numpy()
            if progress is not None:
                progress(min(start + batch_size, len(order)), len(order))
    finally:
        hook.remove()
        model.train(was_training)
    return out


def padded(ids: TokenRows, pad: int) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` (B, T), padded on the right."""
    shape = len(ids), max(map(len, ids))
    table, mask = np.full(shape, pad, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    for row, given in enumerate(ids):
        table[row, : len(given)], mask[row, : len(given)] = given, 1
    return {"input_ids": torch.from_numpy(table), "attention_mask": torch.from_numpy(mask)}


def _key(model: PreTrainedModel, ids: TokenRows) -> str:
    """A hash of what determines the features: the backbone's class, config, weights and buffers, and the token ids."""
    digest = hashlib.sha256(type(model).__name__.encode())
    digest.update(json.dumps(_of_features(model.config.to_dict()), sort_keys=True, default=str).encode())
    pooling = (getattr(model.config, "dprm", None) or {}).get("pooling", "last")
    if pooling != "last":
        digest.update(pooling.encode())
    backbone = model.base_model
    tensors = dict(backbone.named_parameters()) | dict(backbone.named_buffers())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for row in ids:
        digest.update(np.asarray(row, dtype=np.int64).tobytes() + b"|")
    return digest.hexdigest()[:32]


def _of_features(config: Any) -> Any:
    """A configuration, nested for models of several parts, without the keys that features do not depend on."""
    if isinstance(config, dict):
        return {str(name): _of_features(value) for name, value in config.items() if name not in _NOT_OF_FEATURES}
    return config


class FrozenHead(nn.Module):
    """The trainable part: logits (B, d) of features (B, H), in the coordinates of the module's docstring.

    base: the distribution (d,) predicted before training; the mean of the training targets is the best constant
    predictor.
    """

    mean: Tensor
    scale: Tensor
    constant: Tensor

    def __init__(self, features: np.ndarray, outputs: int, base: np.ndarray | None = None) -> None:
        super().__init__()
        x = torch.from_numpy(np.asarray(features, dtype=np.float64))
        width = x.shape[1]
        gram = x.T @ x / len(x)
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(width, dtype=torch.float64)
        self.register_buffer("constant", torch.linalg.solve(gram + ridge, x.mean(dim=0)).float())
        self.register_buffer("mean", x.mean(dim=0).float())
        self.register_buffer("scale", x.std(dim=0, correction=0).clamp_min(1e-6).float())
        start = torch.randn(outputs, width + 1) * 1e-3
        if base is not None and outputs > 1:
            logs = torch.from_numpy(np.log(np.maximum(base, 1e-6)))
            start[:, -1] = (logs - logs.mean()).float()
        self.weight = nn.Parameter(start)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        return {"logits": self.coordinates(features) @ self.weight.T}

    def coordinates(self, features: Tensor) -> Tensor:
        """z (B, H + 1), of which the logits are linear."""
        one = features @ self.constant
        return torch.cat([(features - one[:, None] * self.mean) / self.scale, one[:, None]], dim=1)

    @torch.no_grad()
    def fold(self, head: nn.Linear) -> None:
        """Write the trained map into the stock head, whose output is then the same."""
        slope = self.weight[:, :-1] / self.scale
        level = self.weight[:, -1] - slope @ self.mean
        head.weight.copy_(slope + level[:, None] * self.constant)
        if head.bias is not None:
            head.bias.zero_()
