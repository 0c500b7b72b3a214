"""Sample responses of policies to held-out prompts into a folder, so that any number of judges can judge the same
responses.

All policies answer the same prompts with the same random numbers, so differences between them are paired and less
noisy. Existing responses are not sampled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import torch

from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.core.outputs import writable
from dprm_trainers.evaluation.policy_responses import (
    RESPONSES,
    Response,
    read_responses,
    sampling_facts,
    trained_for,
    write_responses,
)
from dprm_trainers.ppo.policy import Sampling, end_tokens, load_policy, response_logits
from dprm_trainers.ppo.prompt_sets import Overlong, Prompts, encode_prompts
from dprm_trainers.ppo.rollouts import Rollouts, sample, uniforms_at
from dprm_trainers.reward.pretrained import load_policy_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Say = Callable[[str], None]


@dataclass(frozen=True)
class SamplingSettings:
    """Settings of sampling. responses: to each prompt. temperature: 0 is greedy. overlong: see `encode_prompts`."""

    responses: int = 1
    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    max_prompt_length: int | None = None
    overlong: Overlong = "error"
    chat_template: str | None = None
    pad_token: str | None = None

    def __post_init__(self) -> None:
        if self.responses < 1 or self.max_new_tokens < 1:
            raise TrainingError("responses and max_new_tokens must be at least 1")
        if self.max_prompt_length is not None and self.max_prompt_length < 1:
            raise TrainingError("max_prompt_length must be at least 1")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise TrainingError("temperature must be at least 0, and top_p in (0, 1]")
        if self.temperature == 0 and self.responses > 1:
            raise TrainingError(
                f"at temperature 0 all {self.responses} responses to a prompt would be the same",
                hint="Sample one response, or raise the temperature.",
            )


def sample_policies(
    policies: Mapping[str, str],
    prompts: Prompts,
    folder: Path,
    settings: SamplingSettings | None = None,
    *,
    reference: str | None = None,
    batch_size: int = 16,
    overwrite: bool = False,
    say: Say = lambda text: None,
) -> list[Response]:
    """The responses of every policy (name to folder or name on the Hub), read from `folder` if they exist.

    reference: the policy to which KL divergences are measured, on each policy's own samples.

    Raises `TrainingError` if a policy cannot be used, `TrainingDataError` if the folder has responses to other prompts
    or by other settings.
    """
    settings = settings or SamplingSettings()
    if reference and (settings.temperature == 0 or settings.top_p < 1):
        raise TrainingError(
            "the KL divergence needs samples of the policy itself, not at temperature 0 or with top_p below 1",
            hint="Leave the reference out, or sample at a positive temperature with top_p 1.",
        )
    writable(folder)
    identity = _identity(prompts, settings, reference)
    found = {} if overwrite else _known(folder, identity)
    records = {} if overwrite else dict(sampling_facts(folder).get("policies", {}))
    for name, policy in policies.items():
        record = {"model": _fingerprint(policy), "trained_for": trained_for(policy)}
        if name in found and records.get(name) == record:
            say(f"{name}: {len(found[name])} responses exist already")
            continue
        say(f"{name}: answering {len(prompts)} prompts")
        found[name] = _responses(name, policy, prompts, settings, reference, batch_size, say)
        records[name] = record
        write_responses(folder, found, identity | {"policies": records})
    return [row for name in policies for row in found[name]]


# -- existing responses ------------------------------------------------------------------------------------------------


def _known(folder: Path, identity: Mapping[str, Any]) -> dict[str, list[Response]]:
    facts = sampling_facts(folder)
    if not facts or not (folder / RESPONSES).is_file():
        return {}
    differing = [name for name, value in identity.items() if facts.get(name) != value]
    if differing:
        raise TrainingDataError(
            f"{folder} holds responses with other {' and '.join(differing)}",
            hint="Give another --output, or --overwrite to sample again.",
        )
    known: dict[str, list[Response]] = {}
    for row in read_responses(folder):
        known.setdefault(row.policy, []).append(row)
    return known


def _identity(prompts: Prompts, settings: SamplingSettings, reference: str | None) -> dict[str, Any]:
    digest = hashlib.sha256(orjson.dumps(prompts.messages)).hexdigest()[:16]
    return {
        "prompts": {
            "source": prompts.source,
            "revision": prompts.revision,
            "split": prompts.split,
            "count": len(prompts),
            "sha256": digest,
        },
        "settings": asdict(settings),
        "reference": _fingerprint(reference) if reference else None,
    }


def _fingerprint(policy: str) -> str:
    """Identifies a model: by the names, sizes and times of a folder's files, or by its name on the Hub."""
    folder = Path(policy)
    if not folder.is_dir():
        return policy
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.json")])
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if not f.name.startswith("dprm_")]
    return f"{folder.name} {hashlib.sha256(repr(weights).encode()).hexdigest()[:16]}"


# -- sampling ----------------------------------------------------------------------------------------------------------


def _responses(
    name: str,
    policy: str,
    prompts: Prompts,
    settings: SamplingSettings,
    reference: str | None,
    batch_size: int,
    say: Say,
) -> list[Response]:
    """One policy's responses, sample by sample, in the order of the prompts."""
    model, tokenizer, sampling, room = _load(policy, settings)
    encoded = encode_prompts(tokenizer, prompts, room, overlong=settings.overlong)
    for text in encoded.notes:
        say(text)
    base = _load(reference, settings)[0] if reference else None
    if base is not None and base.config.vocab_size != model.config.vocab_size:
        raise TrainingError(
            f"{name} and the reference {reference} have different vocabularies: there is no KL between them",
            hint="Give the model that the policy was trained from, or leave the reference out.",
        )
    places = [(i, k) for i in range(len(encoded.rows)) for k in range(settings.responses)]
    order = sorted(
        range(len(places)), key=lambda at: -len(encoded.ids[places[at][0]])
    )  # similar lengths need little padding
    found: dict[int, Response] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        chosen = [encoded.rows[places[at][0]] * settings.responses + places[at][1] for at in batch]
        numbers = uniforms_at(chosen, settings.max_new_tokens, settings.seed)
        rollouts = sample(model, [encoded.ids[places[at][0]] for at in batch], numbers, sampling)
        measured = _divergence(model, base, rollouts, sampling) if base is not None else [None] * len(batch)
        for row, (at, kl) in enumerate(zip(batch, measured, strict=True)):
            ids = rollouts.responses[row][rollouts.mask[row] > 0]
            text = str(tokenizer.decode(ids, skip_special_tokens=True))
            which = encoded.rows[places[at][0]]
            found[at] = Response(
                name,
                prompts.ids[which],
                places[at][1],
                prompts.messages[which],
                text if text.strip() else "",
                len(ids),
                bool(rollouts.ended[row]),
                kl,
            )
    return [found[at] for at in range(len(places))]


def _load(policy: str, settings: SamplingSettings) -> tuple[Any, PreTrainedTokenizerBase, Sampling, int]:
    """Model, tokenizer, sampling, and the longest prompt in tokens. Raises `TrainingError`."""
    if (Path(policy) / "adapter_config.json").is_file() and not (Path(policy) / "config.json").is_file():
        raise TrainingError(
            f"{policy} holds only an adapter", hint="Train with save: merged, or merge it into its base model."
        )
    tokenizer, room = load_policy_tokenizer(
        policy,
        max_new_tokens=settings.max_new_tokens,
        max_prompt_length=settings.max_prompt_length,
        chat_template=settings.chat_template,
        pad_token=settings.pad_token,
    )
    model: Any = load_policy(policy)
    sampling = Sampling(
        end=end_tokens(model, tokenizer),
        pad=int(tokenizer.pad_token_id),
        longest=settings.max_new_tokens,
        temperature=settings.temperature or 1.0,
        top_k=0 if settings.temperature else 1,
        top_p=settings.top_p,
    )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, sampling, room


@torch.no_grad()
def _divergence(model: Any, base: Any, rollouts: Rollouts, sampling: Sampling) -> list[float | None]:
    """KL(policy | reference) along each response in nats: the sum over its tokens of the divergence of the next-token
    distributions.

    By the chain rule, its mean over samples of the policy is the divergence of whole responses, with less variance than
    log-ratios.
    """
    plain = replace(sampling, top_k=0, top_p=1.0)
    ids, attention, length = rollouts.ids, rollouts.attention, rollouts.length
    ours = plain.shaped(response_logits(model, ids, attention, length)).log_softmax(-1)
    theirs = plain.shaped(response_logits(base, ids, attention, length)).log_softmax(-1)
    each = (ours.exp() * (ours - theirs)).sum(-1)
    return list((each * rollouts.mask).sum(1).tolist())
