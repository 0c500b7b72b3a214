"""Training examples and batches: rows with their targets, pairs, or both; token ids, or cached features."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dprm_data.core.arrays import Floats, Ints
from dprm_trainers.data.group_votes import GroupVotes
from dprm_trainers.data.token_table import TokenTable
from dprm_trainers.reward.features import padded

Example = dict[str, Any]


class Examples(Dataset[Example]):
    """R rows (inputs and target), then P pairs: the chosen and the rejected input of each, and the share of people who
    prefer the chosen one.

    inputs: token ids, or features (N, H), of everything that is read; the first R are the rows. target: (R, K).
    pairs: (P, 2), places in inputs. share: (P,), 1 if not given. rows=False: the pairs alone are examples. of_groups: how
    groups of people voted on the rows.
    """

    def __init__(
        self,
        inputs: TokenTable | np.ndarray,
        target: Floats,
        pairs: Ints | None = None,
        share: Floats | None = None,
        *,
        rows: bool = True,
        of_groups: GroupVotes | None = None,
    ) -> None:
        self._inputs = inputs
        self._target = torch.from_numpy(np.asarray(target, dtype=np.float32))
        self._pairs = np.zeros((0, 2), dtype=np.int64) if pairs is None else pairs
        self._share = torch.ones(len(self._pairs))
        if share is not None:
            self._share = torch.from_numpy(np.asarray(share, dtype=np.float32))
        self._rows = len(self._target) if rows else 0
        self._groups = None if of_groups is None else torch.from_numpy(of_groups.counts.astype(np.float32))
        self._name = "features" if isinstance(inputs, np.ndarray) else "input_ids"

    def __len__(self) -> int:
        return self._rows + len(self._pairs)

    def __getitem__(self, i: int) -> Example:
        if i < self._rows:
            groups = {} if self._groups is None else {"group_votes": self._groups[i]}
            return {self._name: self._inputs[i], "labels": self._target[i], **groups}
        pair = i - self._rows
        chosen, rejected = self._pairs[pair].tolist()
        nothing = self._target[:0]
        return {
            self._name: self._inputs[chosen],
            "rejected": self._inputs[rejected],
            "labels": nothing,
            "share": self._share[pair],
        }

    @property
    def tokens(self) -> int:
        """Token ids, or rows of features, in one epoch."""
        if isinstance(self._inputs, np.ndarray):
            return self._rows + 2 * len(self._pairs)
        lengths = self._inputs.lengths
        return int(lengths[: self._rows].sum() + lengths[self._pairs].sum())

    @property
    def longest(self) -> int:
        """Token ids of the longest row; 1 of features."""
        return 1 if isinstance(self._inputs, np.ndarray) else int(self._inputs.lengths.max(initial=1))


class Collator:
    """Make a batch of examples: ids padded on the right, or features. In the order of `Objective`: the rows, then the
    chosen responses of the pairs, then the rejected ones. Examples that are only predicted have no labels.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, examples: list[Example]) -> dict[str, Tensor]:
        name = "features" if "features" in examples[0] else "input_ids"
        pairs = [example for example in examples if "rejected" in example]
        rows = [example for example in examples if "rejected" not in example]
        read = [example[name] for example in rows + pairs] + [example["rejected"] for example in pairs]
        batch = {"features": torch.from_numpy(np.stack(read))} if name == "features" else padded(read, self.pad)
        if "labels" not in examples[0]:
            return batch
        batch["labels"] = torch.stack([row["labels"] for row in rows]) if rows else examples[0]["labels"]
        if rows and "group_votes" in rows[0]:
            batch["group_votes"] = torch.stack([row["group_votes"] for row in rows])
        if pairs:
            batch["share"] = torch.stack([pair["share"] for pair in pairs])
        return batch
