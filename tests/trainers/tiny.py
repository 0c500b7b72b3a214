"""Tiny random models, tokenizers and data, made in the tests: no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from dprm_data.core.tables import DISTRIBUTIONS
from dprm_data.labels.space import LabelSpace
from dprm_trainers.reward.reward_config import RewardConfig

WORDS = [
    "good",
    "fine",
    "bad",
    "awful",
    "kind",
    "rude",
    "red",
    "blue",
    "green",
    "one",
    "two",
    "three",
    "four",
    "five",
    "what",
    "is",
    "the",
    "a",
    "to",
    "of",
    "and",
    "or",
    "not",
    "very",
]
SPACE = LabelSpace.load("hh6")
# In the manner of ChatML: marks of its own, and a default system prompt.
CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def tokenizer(*, pad: bool = True, template: bool = True) -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<end>", "user", "assistant", ":", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", eos_token="<end>")
    if pad:
        made.pad_token = "<pad>"
    if template:
        made.chat_template = (
            "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' <end> ' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ 'assistant : ' }}{% endif %}"
        )
    return made


def base_model(folder: Path, *, pad: bool = True, template: bool = True, context: int = 64) -> Path:
    """A causal model of some thousand parameters with its tokenizer, saved."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0 if pad else None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer(pad=pad, template=template).save_pretrained(folder)
    return folder


def rows(count: int = 48, responses: int = 2, seed: int = 0, space: LabelSpace = SPACE) -> list[dict[str, Any]]:
    """Responses whose distribution can be told from their words: good ones are liked, bad ones are not."""
    rng = np.random.default_rng(seed)
    best, worst = int(space.rewards.argmax()), int(space.rewards.argmin())
    made = []
    for i in range(count):
        group = i // responses
        good = (i + rng.integers(0, 2)) % 2 == 0
        words = rng.choice(["good", "fine", "kind"] if good else ["bad", "awful", "rude"], 4)
        mass = rng.uniform(0.6, 0.9)
        p = np.full(space.K, (1 - mass) / (space.K - 1))
        p[best if good else worst] = mass
        made.append(
            {
                "item_id": f"item-{i}",
                "group_id": f"group-{group}",
                "prompt": [{"role": "user", "content": f"what is {WORDS[group % len(WORDS)]}"}],
                "completion": [{"role": "assistant", "content": " ".join(words)}],
                "label_distribution": (p / p.sum()).astype(np.float32).tolist(),
                "evidence": 5.0,
            }
        )
    return made


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    names = [name for name in DISTRIBUTIONS.names if name in content[0]]
    schema = pa.schema([DISTRIBUTIONS.field(name) for name in names])
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path)
    return path


def settings(folder: Path, **changes: Any) -> RewardConfig:
    """Settings for a training in this folder, with model and data made there where they are not yet."""
    if "model" not in changes and not (folder / "base").exists():
        base_model(folder / "base")
    if "data" not in changes and not (folder / "data.parquet").exists():
        write(folder / "data.parquet", rows())
    given: dict[str, Any] = {
        "data": str(folder / "data.parquet"),
        "model": str(folder / "base"),
        "output": str(folder / "trained"),
        "labels": "hh6",
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "test": 0.2,
        "validation": 0.2,
    }
    return RewardConfig.of(**(given | changes))


def reward_model(
    folder: Path,
    *,
    seed: int = 0,
    group: tuple[str, str] | None = None,
    scalar: bool = False,
    space: LabelSpace = SPACE,
    context: int = 64,
    hidden: int = 16,
    layers: int = 2,
) -> Path:
    """A reward model with random weights, large enough to differ between texts; nothing is trained."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        num_labels=1 if scalar else space.K,
        id2label=dict(enumerate(["reward"] if scalar else space.names)),
        initializer_range=0.5,
    )
    config.dprm = {"version": 1, "label_space": space.model_dump(mode="json"), "scalar": scalar, "max_length": context}
    if group:
        config.dprm["group"] = {"attribute": group[0], "value": group[1]}
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def models_of_groups(folder: Path) -> list[str]:
    """Two of them, of what the old and the young say."""
    return [
        str(reward_model(folder / value, seed=seed, group=("age", value)))
        for seed, value in enumerate(["old", "young"])
    ]


def policy_tokenizer(template: str = CHATML) -> PreTrainedTokenizerFast:
    """The tokenizer of a policy of another family than the reward models here."""
    made = tokenizer()
    made.add_special_tokens({"eos_token": "</s>", "bos_token": "<s>"})
    made.chat_template = template
    return made


def encoder(folder: Path, *, mean: bool = False) -> Path:
    """A BERT of some thousand parameters, whose head has a bias. mean: as sentence-transformers saves one that pools
    by the mean."""
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=64, max_position_embeddings=64, pad_token_id=0, **shape)).save_pretrained(
        folder
    )
    made = tokenizer(template=False)
    made.add_special_tokens({"cls_token": "<cls>", "sep_token": "<sep>", "mask_token": "<mask>"})
    made.save_pretrained(folder)
    if mean:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    return folder
