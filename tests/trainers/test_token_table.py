"""Token ids of many rows: one array that processes share, instead of lists in each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.token_table import TokenTable
from dprm_trainers.data.tokens import encode, encode_shared
from tests.trainers import tiny

ROWS = [[5, 6, 7], [], [8], [9, 10]]
PROMPTS = [[{"role": "user", "content": f"what is {word}"}] for word in ("red", "blue")]
COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("good", "bad and awful")]


def test_rows_are_what_was_put_in(tmp_path: Path) -> None:
    table = TokenTable.of(ROWS)
    table.save(tmp_path, {"key": "a"})
    opened = TokenTable.open(tmp_path)
    assert opened is not None and opened[1] == {"key": "a"}
    for found in (table, opened[0]):
        assert [row.tolist() for row in found] == ROWS
        assert found[-1].tolist() == ROWS[-1] and [row.tolist() for row in found[::2]] == ROWS[::2]
        assert found.lengths.tolist() == [3, 0, 1, 2]
        with pytest.raises(IndexError):
            found[4]
    assert isinstance(opened[0].ids, np.memmap) and opened[0].ids.nbytes == 4 * 6  # four bytes a token, of a file


def test_one_process_tokenises_and_the_others_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, folder = tiny.tokenizer(), tmp_path / "tokens"
    expected = [row.tolist() for row in encode(tokenizer, PROMPTS, COMPLETIONS, 64).ids]
    assert [row.tolist() for row in encode_shared(folder, tokenizer, PROMPTS, COMPLETIONS, 64).ids] == expected
    with monkeypatch.context() as nobody:  # a second process does not tokenise
        nobody.setattr("dprm_trainers.data.tokens.template_ids", None)
        assert [row.tolist() for row in encode_shared(folder, tokenizer, PROMPTS, COMPLETIONS, 64).ids] == expected
    # Another length, template or text: what was kept is not taken.
    cut = encode_shared(folder, tokenizer, PROMPTS, COMPLETIONS, 8)
    assert max(cut.ids.lengths) == 8 and cut.cut and "cut on the left" in cut.notes[0]
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"
    assert [len(row) for row in encode_shared(folder, tokenizer, PROMPTS, COMPLETIONS, 8).ids] == [4, 6]
    assert [len(row) for row in encode_shared(folder, tokenizer, PROMPTS, COMPLETIONS[::-1], 8).ids] == [6, 4]


def test_texts_that_are_too_long_leave_nothing_behind(tmp_path: Path) -> None:
    for _ in range(2):  # the second process is told the same
        with pytest.raises(TrainingDataError, match="longer than 3 tokens"):
            encode_shared(tmp_path, tiny.tokenizer(), PROMPTS, COMPLETIONS, 3)
