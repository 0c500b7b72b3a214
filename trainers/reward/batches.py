"""Training examples and batches: rows with their targets, or pairs; token ids, or cached features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dprm_data.core.arrays import Floats, Ints
from dprm_trainers.data.token_table import TokenTable
from dprm_trainers.reward.features import padded

Example = dict[str, Any]


class Examples(Dataset[Example]):
    """Rows (inputs and target), or, with `pairs` (P, 2), the chosen and the rejected row of each pair.

    inputs: token ids per row, or features (N, H).
    """

    def __init__(self, inputs: TokenTable | np.ndarray, target: Floats, pairs: Ints | None = None) -> None:
        self._inputs = inputs
        self._target = torch.from_numpy(np.asarray(target, dtype=np.float32))
        self._pairs = pairs
        self._name = "features" if isinstance(inputs, np.ndarray) else "input_ids"

    def __len__(self) -> int:
        return len(self._inputs) if self._pairs is None else len(self._pairs)

    def __getitem__(self, i: int) -> Example:
        if self._pairs is None:
            return {self._name: self._inputs[i], "labels": self._target[i]}
        chosen, rejected = self._pairs[i].tolist()
        return {self._name: self._inputs[chosen], "rejected": self._inputs[rejected], "labels": self._target[chosen]}

    @property
    def tokens(self) -> int:
        """Token ids, or rows of features, in one epoch."""
        if isinstance(self._inputs, np.ndarray):
            return len(self) * (1 if self._pairs is None else 2)
        lengths = self._inputs.lengths
        return int(lengths.sum() if self._pairs is None else lengths[self._pairs].sum())

    @property
    def longest(self) -> int:
        """Token ids of the longest row; 1 of features."""
        return 1 if isinstance(self._inputs, np.ndarray) else int(self._inputs.lengths.max(initial=1))


class Collator:
    """Make a batch of examples: ids padded on the right, or features.

    Of pairs, all chosen rows precede all rejected ones. Examples that are only predicted have no labels.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, examples: list[Example]) -> dict[str, Tensor]:
        name = "features" if "features" in examples[0] else "input_ids"
        rows = [example[name] for example in examples]
        if "rejected" in examples[0]:
            rows += [example["rejected"] for example in examples]
        inputs = {"features": torch.from_numpy(np.stack(rows))} if name == "features" else padded(rows, self.pad)
        if "labels" not in examples[0]:
            return inputs
        return inputs | {"labels": torch.stack([example["labels"] for example in examples])}
