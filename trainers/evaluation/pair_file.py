"""Preference pairs as JSON lines, in the form of RewardBench and similar benchmarks.

Input: one object per line with `prompt`, `chosen`, `rejected` (texts, `Human:/Assistant:` transcripts, or message
lists), and optionally `subset` and `id`. Output: the same objects with `score_chosen`, `score_rejected` and `correct`
(1, 0, or 0.5 at a tie; RewardBench's `results`). Source of the form: Lambert et al., "RewardBench", arXiv:2403.13787.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dprm_data.core.arrays import Floats
from dprm_data.core.tables import write_text
from dprm_data.ingest.messages import BadRow, prompt_messages, read_reply
from dprm_data.labels.statistics import Interval, Resamples
from dprm_data.preference.pairs import outcomes
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.reward_model import RewardModel
from dprm_trainers.reward.rivals import lengths

_NEEDED = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class PairFile:
    """P pairs: the rows of the file, and their messages."""

    rows: list[dict[str, Any]]
    prompts: list[list[Message]]
    chosen: list[list[Message]]
    rejected: list[list[Message]]


def read_pairs(path: Path) -> PairFile:
    """The pairs of a file. Raises `TrainingDataError`, which names the line."""
    if not path.is_file():
        raise TrainingDataError(f"{path}: no such file", hint="Give JSON lines with prompt, chosen and rejected.")
    pairs = PairFile([], [], [], [])
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            missing = [name for name in _NEEDED if name not in row]
            if missing:
                raise BadRow(f"no {missing[0]!r}")
            prompt = prompt_messages(row["prompt"], "prompt")
            replies = [_reply(row[name], name, len(prompt)) for name in ("chosen", "rejected")]
        except (json.JSONDecodeError, BadRow, TypeError) as error:
            raise TrainingDataError(
                f"{path}, line {number}: {error}", hint="A line is an object with prompt, chosen and rejected."
            ) from error
        pairs.rows.append(row)
        pairs.prompts.append([dict(turn) for turn in prompt])  # type: ignore[arg-type]
        pairs.chosen.append(replies[0])
        pairs.rejected.append(replies[1])
    if not pairs.rows:
        raise TrainingDataError(f"{path} has no pairs")
    return pairs


def _reply(value: Any, name: str, turns: int) -> list[Message]:
    """The response alone, if the file has the whole conversation."""
    messages, whole = read_reply(value, name)
    kept = messages[turns:] if whole and len(messages) > turns else messages
    return [dict(turn) for turn in kept]  # type: ignore[arg-type]


def score_pairs(
    model: RewardModel, pairs: PairFile, *, reading: str = "mean", batch_size: int = 16, out: Path | None = None
) -> dict[str, tuple[Interval, int]]:
    """Accuracy and number of pairs, in all and per subset. out: a file to write every pair with its scores to."""
    scores = [
        model.judge(pairs.prompts, side, reading=reading, batch_size=batch_size).reward
        for side in (pairs.chosen, pairs.rejected)
    ]
    return _by_subset(pairs, scores, out)


def score_lengths(pairs: PairFile) -> dict[str, tuple[Interval, int]]:
    """The accuracy of preferring the longer one, as `score_pairs`."""
    return _by_subset(pairs, [lengths(side) for side in (pairs.chosen, pairs.rejected)], None)


def _by_subset(pairs: PairFile, scores: list[Floats], out: Path | None) -> dict[str, tuple[Interval, int]]:
    N = len(scores[0])
    correct = outcomes(np.concatenate(scores), np.arange(2 * N).reshape(2, N).T)
    if out is not None:
        write_text(
            out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _scored(pairs.rows, scores, correct))
        )
    subsets = np.array([str(row.get("subset") or "") for row in pairs.rows])
    found = {"all": (_accuracy(correct), len(correct))}
    for name in sorted(set(subsets.tolist()) - {""}):
        part = correct[subsets == name]
        found[name] = (_accuracy(part), len(part))
    return found


def _scored(rows: Sequence[dict[str, Any]], scores: list[Any], correct: Any) -> list[dict[str, Any]]:
    return [
        row | {"score_chosen": float(a), "score_rejected": float(b), "correct": float(c)}
        for row, a, b, c in zip(rows, *scores, correct, strict=True)
    ]


def _accuracy(correct: Floats) -> Interval:
    return Resamples.of(np.arange(len(correct))).mean(correct)
