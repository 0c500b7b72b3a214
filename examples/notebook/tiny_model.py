"""A language model of 24 words and some thousand random weights, for `reward-model-to-ppo.ipynb`: it trains in seconds, and knows nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

KIND = ["please", "thanks", "gladly", "sorry"]
RUDE = ["stupid", "shut", "idiot", "never"]
PLAIN = ["the", "a", "to", "of", "it", "is", "you", "yes", "water", "sky", "egg", "bus", "what", "and", "in", "red"]
_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' <end> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant : ' }}{% endif %}"
)


def make(folder: Path) -> None:
    """Write the model with its tokenizer into the folder."""
    words = ["<pad>", "<unk>", "<end>", "user", "assistant", ":", *KIND, *RUDE, *PLAIN]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="<end>", pad_token="<pad>", chat_template=_TEMPLATE
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.1,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
