"""Frozen weights in four bits under adapters (QLoRA), by bitsandbytes.

`weights: nf4` holds each matrix of the repeated layers in blocks of 64 numbers: four bits for each, and a scale for each block,
which is quantised again. That is .52 bytes a weight; bf16 takes 2. The adapters, the head and the loss stay float32.
What is saved is what was trained: the four-bit values are read back, the adapters are added to them in float32, and
nothing is rounded again. (Adapters added to the weights from before would be on another model than the one they were
trained on.)

Source: Dettmers et al., QLoRA, arXiv 2305.14314, sections 3 and 4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dprm_data.core.extras import extra
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.outputs import in_bf16
from dprm_trainers.reward.defaults import spread_by_launch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dprm_trainers.reward.reward_config import RewardConfig

NF4 = "nf4"


def loading_options(config: RewardConfig, model_config: Any) -> dict[str, Any]:
    """Options of `from_pretrained` for a model whose repeated layers are in four bits; its head is not.

    Raises `TrainingError` if weights are spread over processes, `InputError` if bitsandbytes is not installed.
    """
    if spread_by_launch(config):
        raise TrainingError(
            "weights: nf4 is not for weights that are spread over processes (fsdp, deepspeed)",
            hint="Leave fsdp and deepspeed out: each process holds the model in four bits. Or take weights: bf16.",
        )
    with extra("qlora", what="weights: nf4"):
        import bitsandbytes  # noqa: F401
    from transformers import BitsAndBytesConfig

    options: dict[str, Any] = {
        "quantization_config": BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type=NF4,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if in_bf16(config.precision) else torch.float32,
            llm_int8_skip_modules=_around_the_blocks(model_config),
        )
    }
    if torch.cuda.is_available():  # by default all processes of a machine would load theirs on its first GPU
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    return options


def _around_the_blocks(model_config: Any) -> list[str]:
    """The names of the linear layers outside the repeated blocks: the head, and an encoder's pooler, which may be new."""
    from transformers import AutoModelForSequenceClassification as Classifier

    with torch.device("meta"):
        model = Classifier.from_config(model_config)  # type: ignore[no-untyped-call]
    inside = {id(part) for each in model.modules() if isinstance(each, nn.ModuleList) for part in each.modules()}
    return [name for name, part in model.named_modules() if isinstance(part, nn.Linear) and id(part) not in inside]


def is_quantised(module: nn.Module) -> bool:
    """Whether any weight is held in four bits."""
    return any(_state(weight) is not None for weight in module.parameters())


def count(weight: Tensor) -> int:
    """How many numbers a weight stands for: two to a byte in four bits."""
    state = _state(weight)
    return weight.numel() if state is None else int(torch.Size(state.shape).numel())


def size(weight: Tensor) -> int:
    """The bytes that a weight takes, with the scales of its blocks."""
    state, held = _state(weight), [weight]
    while state is not None:
        held.append(state.absmax)
        state = state.state2
    return sum(part.numel() * part.element_size() for part in held)


def merged(module: Any) -> PreTrainedModel:
    """The classifier of a module with adapters: a plain one in float32, its adapters added to the weights."""
    if is_quantised(module):
        for name, layer in list(module.named_modules()):
            inner = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
            in_four_bits = isinstance(inner, nn.Linear) and _state(inner.weight) is not None
            if in_four_bits and not name.endswith(".base_layer"):  # that goes with the adapted layer around it
                module.set_submodule(name, _plain(layer, inner))
        model = module.get_base_model()
        model.hf_quantizer.remove_quantization_config(model)
    whole: PreTrainedModel = module.float().merge_and_unload()
    return whole


def _plain(layer: Any, inner: nn.Linear) -> nn.Linear:
    """A linear layer in float32 from one in four bits. layer: the adapted one around it, or itself."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Any = inner.weight
    values = dequantize_4bit(weight.data, weight.quant_state).float()
    if layer is not inner:
        for name in layer.active_adapters:
            values = values + layer.get_delta_weight(name).float()
    plain = nn.Linear(inner.in_features, inner.out_features, bias=inner.bias is not None, device="meta")
    plain.weight = nn.Parameter(values)
    if inner.bias is not None:
        plain.bias = nn.Parameter(inner.bias.data.float())
    return plain


def _state(weight: Any) -> Any:
    """How a weight is quantised; None for one that is not."""
    return getattr(weight, "quant_state", None)
