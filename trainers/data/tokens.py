"""From conversations to token ids: the chat template, the pad token, and texts that are too long."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dprm_trainers.core.errors import TrainingDataError, TrainingError
from dprm_trainers.data.rows import Message
from dprm_trainers.data.token_table import TokenTable, fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Overlong = Literal["error", "truncate"]

# For models that were not tuned to chat: `chat_template: plain`.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# For encoders, which were trained on texts between these two tokens.
_ENCODER_TEMPLATE = "{{ cls_token }}" + PLAIN_TEMPLATE + "{% if not add_generation_prompt %}{{ sep_token }}{% endif %}"
_DEFAULT_LENGTH = 1024


@dataclass
class Encoded:
    """Token ids per row, and the number of prompts cut on the left."""

    ids: TokenTable
    cut: int = 0
    notes: list[str] = field(default_factory=list)


def prepare_tokenizer(
    tokenizer: PreTrainedTokenizerBase, *, chat_template: str | None = None, pad_token: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer with a chat template and a pad token. Raises `TrainingError` if it has none and none is set.

    chat_template: `plain`, or a file with a Jinja template. pad_token: one of the tokenizer's own tokens.
    """
    encoder = None not in (tokenizer.cls_token, tokenizer.sep_token, tokenizer.mask_token)
    if chat_template == "plain" or (chat_template is None and encoder and not tokenizer.chat_template):
        tokenizer.chat_template = _ENCODER_TEMPLATE if encoder else PLAIN_TEMPLATE
    elif chat_template is not None:
        file = Path(chat_template)
        if not file.is_file():
            raise TrainingError(f"chat_template: no such file {chat_template}", hint="Give `plain` or a Jinja file.")
        tokenizer.chat_template = file.read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise TrainingError(
            f"the tokenizer of {tokenizer.name_or_path} has no chat template",
            hint="Give chat_template: plain (`role: text`), or a Jinja file.",
        )
    if pad_token is not None:
        if tokenizer.convert_tokens_to_ids(pad_token) in (None, tokenizer.unk_token_id):
            raise TrainingError(f"pad_token: {pad_token!r} is not a token of this tokenizer")
        tokenizer.pad_token = pad_token
    if tokenizer.pad_token_id is None:
        known = ", ".join(repr(token) for token in tokenizer.all_special_tokens) or "none"
        raise TrainingError(
            f"the tokenizer of {tokenizer.name_or_path} has no pad token, and batches need one",
            hint=f"Give pad_token: a token that no text ends with (its special tokens: {known}).",
        )
    return tokenizer


def pad_apart_from_the_end(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Replace a pad token that conversations end with. Returns what was done, or None.

    A classifier on a decoder reads the last token that is no padding: transformers looks for the last one with another id than the pad token, vLLM and SGLang take the last one of the text. Where
    texts end with the pad token, these are two tokens, and one text has two scores. Raises `TrainingError` if the tokenizer has no other special token.
    """
    ids = template_ids(tokenizer, [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    if not ids or ids[-1] != tokenizer.pad_token_id:
        return None
    before = tokenizer.pad_token
    others = [
        token
        for token in tokenizer.all_special_tokens
        if tokenizer.convert_tokens_to_ids(token) not in (ids[-1], tokenizer.eos_token_id)
    ]
    if not others:
        raise TrainingError(
            f"the tokenizer of {tokenizer.name_or_path} pads with {before!r}, which texts end with: transformers would not read it, and vLLM would",
            hint="Give pad_token: a token of its vocabulary that no text ends with.",
        )
    tokenizer.pad_token = others[0]
    return f"padding with {others[0]!r}: texts end with {before!r}, and servers would read another token than transformers does"


def context_length(config: Any, length: int | None) -> int:
    """Tokens per row: `length`, by default the model's context, at most 1,024.

    Raises `TrainingError` beyond the context.
    """
    most = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if length is not None and most is not None and length > most:
        raise TrainingError(f"max_length: {length} tokens, but the model reads at most {most}")
    return length or min(_DEFAULT_LENGTH, most or _DEFAULT_LENGTH)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[Message]],
    completions: list[list[Message]],
    max_length: int,
    *,
    overlong: Overlong = "error",
    source: str = "data",
) -> Encoded:
    """Token ids of prompt and response by the chat template, at most `max_length` of them.

    A text that is too long loses the *left* of its prompt, since the response is what is scored. A response that does
    not fit by itself raises `TrainingDataError`, or with overlong="truncate" loses its own left too. A leading BOS
    token is kept.
    """
    cut, too_long = 0, list[int]()

    def one(row: int, prompt: list[Message], completion: list[Message]) -> list[int]:
        nonlocal cut
        ids = template_ids(tokenizer, prompt + completion)
        if len(ids) > max_length:
            cut += 1
            before = len(template_ids(tokenizer, prompt, add_generation_prompt=True)) if prompt else 0
            bos = ids[:1] if ids[0] in (tokenizer.bos_token_id, tokenizer.cls_token_id) else []
            if len(ids) - before > max_length - len(bos):
                too_long.append(row)
            ids = bos + ids[len(ids) - (max_length - len(bos)) :]
        return ids

    rows = enumerate(zip(prompts, completions, strict=True))
    encoded = Encoded(TokenTable.of(one(row, prompt, completion) for row, (prompt, completion) in rows))
    encoded.cut = cut
    if too_long and overlong == "error":
        raise TrainingDataError(
            f"{source}: {len(too_long)} of {len(prompts)} responses alone are longer than {max_length} tokens "
            f"(the first: row {too_long[0] + 1})",
            hint="Raise max_length, or set overlong: truncate to keep only their ends.",
        )
    if encoded.cut:
        encoded.notes.append(f"{encoded.cut} of {len(prompts)} prompts were cut on the left to {max_length} tokens")
    if too_long:
        encoded.notes.append(f"{len(too_long)} responses were cut as well")
    return encoded


def encode_shared(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[Message]],
    completions: list[list[Message]],
    max_length: int,
    *,
    overlong: Overlong = "error",
    source: str = "data",
) -> Encoded:
    """`encode`, kept in a folder: one process of a machine tokenises, and all map the same file into memory.

    What was kept of other texts, another tokenizer or length is replaced.
    """
    from filelock import FileLock

    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else [tokenizer.name_or_path, sorted(tokenizer.get_vocab().items())]
    key = fingerprint(rules, tokenizer.chat_template, max_length, overlong, prompts, completions)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        found = TokenTable.open(folder)
        if found is None or found[1]["key"] != key:
            fresh = encode(tokenizer, prompts, completions, max_length, overlong=overlong, source=source)
            fresh.ids.save(folder, {"key": key, "cut": fresh.cut, "notes": fresh.notes})
            found = TokenTable.open(folder)
    if found is None:
        return fresh
    table, about = found
    return Encoded(table, about["cut"], about["notes"])


def template_ids(tokenizer: PreTrainedTokenizerBase, messages: list[Message], **options: Any) -> list[int]:
    """Token ids of a conversation by the chat template. Raises `TrainingError` if the template rejects it."""
    try:
        ids: Any = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
    except Exception as error:  # a template raises anything: Jinja's errors, or its own `raise_exception`
        roles = ", ".join(message["role"] for message in messages)
        raise TrainingError(
            f"the chat template rejects a conversation of the turns {roles}: {error}",
            hint="Set chat_template: plain, or give a template that accepts them.",
        ) from error
    return list(ids)
