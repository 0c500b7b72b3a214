"""What policies answer to held-out prompts, kept in a folder, so that any number of judges can be asked about the same responses.

All policies answer the same prompts, driven by the same random numbers: the differences between them are paired, and depend less on chance. Responses that are there are not sampled again.
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
    """How policies are asked. responses: so many to each prompt; temperature: 0 takes the likeliest token each time; overlong: see `encode_prompts`."""

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
            raise TrainingError("temperature must not be negative, and top_p lie above 0, up to 1")
        if self.temperature == 0 and self.responses > 1:
            raise TrainingError(
                f"at temperature 0 all {self.responses} responses to a prompt would be the same",
                hint="Ask for one, or give a temperature.",
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
    """The responses of every policy (name to folder or name on the Hub), from `folder` where they are there already.

    reference: a policy to which the KL divergence of the others is measured, on their own samples.

    Raises `TrainingError` where a policy cannot be used, `TrainingDataError` where the folder holds responses to other prompts or by other settings.
    """
    how = settings or SamplingSettings()
    if reference and (how.temperature == 0 or how.top_p < 1):
        raise TrainingError(
            "the KL divergence is measured on a policy's own samples, and these would not be: temperature 0 or top_p below 1",
            hint="Leave the reference out, or sample at a temperature with top_p 1.",
        )
    writable(folder)
    asked = _identity(prompts, how, reference)
    found = {} if overwrite else _known(folder, asked)
    marks = {} if overwrite else dict(sampling_facts(folder).get("policies", {}))
    for name, policy in policies.items():
        mark = {"model": _fingerprint(policy), "trained_for": trained_for(policy)}
        if name in found and marks.get(name) == mark:
            say(f"{name}: {len(found[name])} responses are there already")
            continue
        say(f"{name}: answering {len(prompts)} prompts")
        found[name] = _answers(name, policy, prompts, how, reference, batch_size, say)
        marks[name] = mark
        write_responses(folder, found, asked | {"policies": marks})
    return [row for name in policies for row in found[name]]


# -- what is there already -----------------------------------------------------------------------------------------------


def _known(folder: Path, asked: Mapping[str, Any]) -> dict[str, list[Response]]:
    facts = sampling_facts(folder)
    if not facts or not (folder / RESPONSES).is_file():
        return {}
    differing = [name for name, value in asked.items() if facts.get(name) != value]
    if differing:
        raise TrainingDataError(
            f"{folder} holds responses with other {' and '.join(differing)}",
            hint="Give another --out, or --overwrite to sample them anew.",
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
    """What tells a model from the one that was in its folder before: its files' names, sizes and times. On the Hub, its name."""
    folder = Path(policy)
    if not folder.is_dir():
        return policy
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.json")])
    weights = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files if not f.name.startswith("dprm_")]
    return f"{folder.name} {hashlib.sha256(repr(weights).encode()).hexdigest()[:16]}"


# -- answering ------------------------------------------------------------------------------------------------------------


def _answers(
    name: str,
    policy: str,
    prompts: Prompts,
    how: SamplingSettings,
    reference: str | None,
    batch_size: int,
    say: Say,
) -> list[Response]:
    """One policy's responses: prompt by prompt, sample by sample, in the order of the prompts."""
    model, tokenizer, sampling, room = _load(policy, how)
    encoded = encode_prompts(tokenizer, prompts, room, overlong=how.overlong)
    for text in encoded.notes:
        say(text)
    base = _load(reference, how)[0] if reference else None
    if base is not None and base.config.vocab_size != model.config.vocab_size:
        raise TrainingError(
            f"{name} and the reference {reference} have different vocabularies: there is no KL between them",
            hint="Give the model that the policy was trained from, or leave the reference out.",
        )
    places = [(i, k) for i in range(len(encoded.rows)) for k in range(how.responses)]
    order = sorted(range(len(places)), key=lambda at: -len(encoded.ids[places[at][0]]))  # like lengths, little padding
    found: dict[int, Response] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        chosen = [encoded.rows[places[at][0]] * how.responses + places[at][1] for at in batch]
        numbers = uniforms_at(chosen, how.max_new_tokens, how.seed)
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


def _load(policy: str, how: SamplingSettings) -> tuple[Any, PreTrainedTokenizerBase, Sampling, int]:
    """Model, tokenizer, sampling, and tokens that a prompt may have. Raises `TrainingError`."""
    if (Path(policy) / "adapter_config.json").is_file() and not (Path(policy) / "config.json").is_file():
        raise TrainingError(
            f"{policy} holds an adapter alone", hint="Train with save: merged, or merge it into its base model."
        )
    tokenizer, room = load_policy_tokenizer(
        policy,
        max_new_tokens=how.max_new_tokens,
        max_prompt_length=how.max_prompt_length,
        chat_template=how.chat_template,
        pad_token=how.pad_token,
    )
    model: Any = load_policy(policy)
    sampling = Sampling(
        end=end_tokens(model, tokenizer),
        pad=int(tokenizer.pad_token_id),
        longest=how.max_new_tokens,
        temperature=how.temperature or 1.0,
        top_k=0 if how.temperature else 1,
        top_p=how.top_p,
    )
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, sampling, room


@torch.no_grad()
def _divergence(model: Any, base: Any, rollouts: Rollouts, sampling: Sampling) -> list[float | None]:
    """KL(policy | reference) in nats along each response: the sum over its tokens of the divergence between the two next-token distributions.

    Its mean over responses sampled from the policy is the divergence of the whole responses (the chain rule), with less noise than that of log-ratios.
    """
    plain = replace(sampling, top_k=0, top_p=1.0)
    ids, attention, length = rollouts.ids, rollouts.attention, rollouts.length
    ours = plain.shaped(response_logits(model, ids, attention, length)).log_softmax(-1)
    theirs = plain.shaped(response_logits(base, ids, attention, length)).log_softmax(-1)
    each = (ours.exp() * (ours - theirs)).sum(-1)
    return list((each * rollouts.mask).sum(1).tolist())
