"""Actor, critic and reference: the policy, the values of its tokens, and the policy before training.

Prompts are padded on the *left*, responses on the right, so that all responses of a batch start in the same column;
positions count from each row's first real token. A row's log-probabilities then do not depend on the other rows. The
value of the state before a token is read at the same position as its logits, the token before.

Dropout is off: it would turn the ratio of new to old probabilities into noise.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dprm_trainers.core.cache import model_path
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.core.loading import CONFIG, WEIGHTS, loading
from dprm_trainers.ppo.ppo import token_entropy, token_logprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FORBIDDEN = -1e30  # a logit: finite, so that entropies are; exp of it is zero


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled. The policy is the tempered distribution, without end tokens before `shortest` tokens.

    Sampling and log-probabilities use the same logits.
    """

    end: tuple[int, ...]
    pad: int
    longest: int
    shortest: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def shaped(self, logits: Tensor, first: int = 0) -> Tensor:
        """The policy's logits (B, T, V) in float32 for a response's tokens from the index `first` on."""
        shaped = logits.float()
        if self.temperature != 1.0:
            shaped = shaped / self.temperature
        early = self.shortest - first
        if early > 0:
            forbidden = torch.zeros_like(shaped, dtype=torch.bool)
            forbidden[:, :early, list(self.end)] = True
            shaped = shaped.masked_fill(forbidden, _FORBIDDEN)
        return shaped


class Evaluation(NamedTuple):
    """The outputs for responses of T tokens: log-probabilities and entropies (B, T), the critic's outputs (B, T, N)."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor


class ActorCritic(nn.Module):
    """The policy `model`, and a linear value head on its last hidden state or on that of the critic's own backbone."""

    def __init__(
        self, model: Any, sampling: Sampling, *, outputs: int = 1, critic: Any = None, entropy_gradient: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.critic = critic
        self.sampling = sampling
        self.entropy_gradient = entropy_gradient
        self.head = nn.Linear(_output_layer(model).in_features, outputs)
        nn.init.zeros_(self.head.weight)  # all states start with the same value
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, attention: Tensor, length: int) -> Evaluation:
        """ids, attention (B, P + T): prompts padded on the left, then `length` = T tokens of response."""
        with _captured(_output_layer(self.model)) as states:
            logits = self.sampling.shaped(response_logits(self.model, ids, attention, length))
        hidden = states[-1][:, -length - 1 : -1]
        if self.critic is not None:
            found = self.critic(
                input_ids=ids, attention_mask=attention, position_ids=positions(attention), use_cache=False
            )
            hidden = found.last_hidden_state[:, -length - 1 : -1]
        logprobs = token_logprobs(logits, ids[:, -length:])
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.entropy_gradient):
            entropy = token_entropy(logits)
        with torch.autocast(ids.device.type, enabled=False):
            values = self.head(hidden.float())
        return Evaluation(logprobs, entropy, values)

    def critic_parameters(self) -> list[nn.Parameter]:
        """The critic's own weights: its head, and its backbone if that is not shared."""
        own = list(self.critic.parameters()) if self.critic is not None else []
        return [*self.head.parameters(), *own]

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: weight for name, weight in self.named_parameters() if weight.requires_grad}


class Reference:
    """The policy before training: with LoRA the base without adapters, else a copy that shares the frozen weights."""

    def __init__(self, actor: ActorCritic, *, adapters: bool) -> None:
        self._sampling = actor.sampling
        self._adapters = adapters
        self._model: Any = actor.model
        if not adapters:
            frozen = {id(weight): weight for weight in actor.model.parameters() if not weight.requires_grad}
            self._model = copy.deepcopy(actor.model, memo=frozen).eval().requires_grad_(False)

    @torch.no_grad()
    def logprobs(self, ids: Tensor, attention: Tensor, length: int) -> Tensor:
        """Log-probabilities (B, T) of the responses; arguments as for `ActorCritic.forward`."""
        with self._model.disable_adapter() if self._adapters else contextlib.nullcontext():
            logits = self._sampling.shaped(response_logits(self._model, ids, attention, length))
        return token_logprobs(logits, ids[:, -length:])


def positions(attention: Tensor) -> Tensor:
    """Positions (B, L) of tokens padded on the left: the first real token has position 0."""
    return (attention.long().cumsum(1) - 1).clamp(min=0)


def response_logits(model: Any, ids: Tensor, attention: Tensor, length: int) -> Tensor:
    """The logits (B, T, V) of the last `length` = T tokens."""
    found = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=positions(attention),
        use_cache=False,
        logits_to_keep=length + 1,
    )
    logits: Tensor = found.logits[:, -length - 1 : -1]
    return logits


def own_backbone(model: PreTrainedModel) -> Any:
    """A copy of the policy's backbone for the critic, trained in full."""
    return copy.deepcopy(model.base_model)


def load_policy(reference: str) -> PreTrainedModel:
    """The policy in float32 without dropout.

    Raises `TrainingError` if it cannot be loaded as a causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    path = model_path(reference)
    with loading(
        f"the policy {reference}", "Give a folder with a causal language model, or the name of one on the Hub."
    ):
        settings = AutoConfig.from_pretrained(path, **CONFIG)
        _check_generative(settings, reference)
        for name, value in settings.to_dict().items():
            if isinstance(value, float) and ("dropout" in name or name.endswith(("_pdrop", "layerdrop"))):
                setattr(settings, name, 0.0)
        found: Any = AutoModelForCausalLM.from_pretrained(
            path, config=settings, dtype=torch.float32, output_loading_info=True, **WEIGHTS
        )
    model: PreTrainedModel = found[0]
    lacking = sorted(found[1]["missing_keys"])
    if lacking:
        raise TrainingError(
            f"{reference} lacks weights of a causal language model: {', '.join(lacking[:3])}",
            hint="They would be initialised at random. Give a complete model.",
        )
    if _output_layer(model) is None:
        raise TrainingError(f"{reference}: {type(model).__name__} has no output layer that a critic could share")
    return model


def _check_generative(settings: Any, policy: str) -> None:
    """Reject a classifier: with tied embeddings it would load as a language model and generate nonsense."""
    kinds = [kind for kind in settings.architectures or [] if kind.endswith("ForSequenceClassification")]
    if kinds:
        raise TrainingError(
            f"{policy} is a classifier ({kinds[0]}), not a language model",
            hint="Give a model that generates text; a reward model goes to --reward-model.",
        )


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The ids that end a response: the tokenizer's and the model's. Raises `TrainingError` if there are none."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = own if isinstance(own, list) else [own]
    found = {int(token) for token in [tokenizer.eos_token_id, *listed] if token is not None}
    if not found:
        raise TrainingError(
            f"neither the tokenizer of {tokenizer.name_or_path} nor the model has an end token: no response could end",
            hint="Set the tokenizer's eos_token.",
        )
    return tuple(sorted(found))


def freeze_all_but(model: PreTrainedModel, layers: int) -> None:
    """Train only the last `layers` layers; freeze the rest, with embeddings and output layer."""
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    stack = max(stacks, key=len, default=nn.ModuleList())
    if layers > len(stack):
        raise TrainingError(f"train_layers: {layers}, but the policy has {len(stack)} layers")
    model.requires_grad_(False)
    for layer in list(stack)[-layers:]:
        layer.requires_grad_(True)


def _output_layer(model: Any) -> Any:
    return model.get_output_embeddings()


@contextlib.contextmanager
def _captured(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the inputs of a layer while the block runs, which works for every architecture."""
    captured: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    try:
        yield captured
    finally:
        handle.remove()
