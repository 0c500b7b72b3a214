"""Texts as numbers: TF-IDF of words and characters, embeddings that somebody has computed, or a sentence encoder on this machine.

TF-IDF: of every field of an item's texts (the prompt, the response), words and pairs of words, and the sequences of 3 to 5 characters within words, hashed; each with its
logarithmic frequency times its inverse document frequency, each block of unit length. What occurs in one item only is left out. Texts are data: they are counted, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dprm_data.core.arrays import Floats, Ints
from dprm_data.core.errors import InputError
from dprm_data.core.extras import needs_installed

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_CHARACTERS = 2_000  # of a text, from its beginning
HASHED = 2**18
_CHUNK = 4_000  # texts at once
_BATCH, _TOKENS = 32, 256  # of an encoder


@dataclass
class TfIdf:
    """TF-IDF, fitted to some texts. columns: of every block, those that are kept; weights: their inverse document frequencies."""

    columns: list[Ints] = field(default_factory=list)
    weights: list[NDArray[np.float32]] = field(default_factory=list)

    def fit(self, fields: Sequence[Sequence[str]]) -> csr_array:
        """Learn from these fields (each n texts), and give their features."""
        counted = self._counts(fields)
        for block in counted:
            found = np.bincount(block.indices, minlength=HASHED)
            self.columns.append(np.flatnonzero(found > 1))
            idf = np.log((1.0 + block.shape[0]) / (1.0 + found[self.columns[-1]])) + 1.0
            self.weights.append(idf.astype(np.float32))
        return self._weighted(counted)

    def transform(self, fields: Sequence[Sequence[str]]) -> csr_array:
        """The features of other texts in the same fields."""
        return self._weighted(self._counts(fields))

    def _weighted(self, counted: list[csr_array]) -> csr_array:
        from scipy.sparse import hstack

        kept = [block[:, columns] for block, columns in zip(counted, self.columns, strict=True)]
        for block, weights in zip(kept, self.weights, strict=True):
            block.data *= weights[block.indices]
            _of_unit_length(block, len(kept))
        whole: csr_array = hstack(kept, format="csr")
        return whole

    @staticmethod
    def _counts(fields: Sequence[Sequence[str]]) -> list[csr_array]:
        """1 + log frequency in every text, two blocks for each field: words, characters."""
        from scipy.sparse import vstack

        blocks = []
        for texts in fields:
            parts = [
                _counted([text[:MOST_CHARACTERS] for text in texts[at : at + _CHUNK]])
                for at in range(0, len(texts), _CHUNK)
            ]
            for each in zip(*parts, strict=True):
                block = vstack(each, format="csr")
                np.log(block.data, out=block.data)
                block.data += 1.0
                blocks.append(block)
        return blocks


def _counted(texts: list[str]) -> tuple[csr_array, csr_array]:
    """How often every hashed word or pair of words, and every hashed sequence of characters within words, occurs in these texts.

    Sequences are counted in each different word once, then by the words of each text: ten times as fast.
    """
    from scipy.sparse import csr_array
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    hashed: dict[str, Any] = {"n_features": HASHED, "alternate_sign": False, "norm": None, "dtype": np.float32}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **hashed).transform(texts)
    if not any(text.strip() for text in texts):
        return csr_array(words), csr_array(words)
    counter = CountVectorizer(token_pattern=r"(?u)\S+", dtype=np.float32)
    each = csr_array(counter.fit_transform(texts))
    characters = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **hashed)
    return csr_array(words), each @ csr_array(characters.transform(counter.get_feature_names_out()))


def _of_unit_length(block: csr_array, blocks: int) -> None:
    """Divide every row by its length, so that all blocks together have length 1."""
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    square = np.bincount(rows, weights=block.data.astype(np.float64) ** 2, minlength=block.shape[0])
    block.data /= np.sqrt(np.maximum(square, 1e-30) * blocks).astype(np.float32)[rows]


def standardised(embeddings: Floats) -> Floats:
    """Every column with mean 0 and variance 1, then every row of unit length; rows of NaN become 0."""
    known = np.isfinite(embeddings).all(axis=1)
    found = np.zeros(embeddings.shape)
    rows = embeddings[known]
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-6)
    found[known] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def encoded(texts: Sequence[str], model: str) -> Floats:
    """The texts' embeddings (N, D) by a sentence encoder, a folder or a model of the Hub: the mean of its last hidden states over the tokens. Raises `InputError`."""
    needs_installed("fit.text: encoder needs", ["torch", "transformers"], "train")
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    except (OSError, ValueError) as error:
        raise InputError(
            f"fit.text: encoder:{model} cannot be loaded: {str(error).splitlines()[0]}",
            hint="Give the folder of an encoder, or its name on the Hub.",
        ) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    order = np.argsort([len(text) for text in texts], kind="stable")  # texts of one length need little padding
    found: Floats | None = None
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            read = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt"
            )
            hidden = network(**read).last_hidden_state
            mask = read["attention_mask"][:, :, None]
            mean = ((hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)).float().numpy()
            found = np.zeros((len(texts), mean.shape[1])) if found is None else found
            found[rows] = mean
    return np.zeros((0, 1)) if found is None else found
