"""Judges of responses: a reward model, or a run whose panel annotated them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow.parquet as pq

from dprm_data.core.arrays import Floats
from dprm_data.core.conversation import Messages
from dprm_data.ingest.items import ids_of
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.evaluation.policy_responses import BLANK, Response
from dprm_trainers.reward.risk_measures import RiskMeasure


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on N responses: reward (N,), and distribution (N, K), or None, over labels with rewards (K,).

    kind: `reward model` or `run`. notes: caveats for the reader.
    """

    judge: str
    kind: str
    reading: str
    reward: Floats
    distribution: Floats | None
    labels: tuple[str, ...]
    rewards: Floats
    notes: tuple[str, ...] = ()


def judged_by(
    judge: str, responses: Sequence[Response], *, reading: str = "mean", batch_size: int = 16, device: str | None = None
) -> Verdict:
    """The verdict of a run folder or of a reward model (folder or name on the Hub).

    Raises `DprmError` if it cannot judge every response.
    """
    if is_run_folder(judge):
        return _by_run(Path(judge), responses, reading)
    if Path(judge).is_dir() and not (Path(judge) / "config.json").is_file():
        raise TrainingDataError(
            f"{judge} is neither a run folder (it has no recipe.yaml) nor a reward model (no config.json)",
            hint="Give a folder written by `dprm run` or `dprm train reward`.",
        )
    from dprm_trainers.reward.scorer import Scorer

    scorer = Scorer.load(judge, reading=reading, device=device, batch_size=batch_size)
    scores = scorer([row.prompt for row in responses], [row.text for row in responses])
    space = scorer.models[0].space
    notes = (f"{scores.cut} responses were too long for this judge and lost their left",) if scores.cut else ()
    return Verdict(
        judge, "reward model", reading, scores.reward, scores.distribution, scorer.labels, space.rewards, notes
    )


def _by_run(path: Path, responses: Sequence[Response], reading: str) -> Verdict:
    from dprm_data.runs.run import Run

    run = Run.open(path)
    columns = ["item_id", "label_distribution", "evidence"]
    table = pq.read_table(run.folder.needs("distributions"), columns=columns).to_pydict()
    index = {item: i for i, item in enumerate(table["item_id"])}
    rows = [index.get(_item_id(row), -1) for row in responses]
    missing = rows.count(-1)
    if missing:
        raise TrainingDataError(
            f"{path} has judged only {len(rows) - missing} of {len(rows)} responses",
            hint="Its recipe's source must be the complete responses.jsonl of the folder; finish the run (dprm run).",
        )
    distribution = np.array(table["label_distribution"], dtype=np.float64)[rows]
    unlabelled = sum(table["evidence"][row] <= 0 for row in rows)
    notes = (
        [f"{unlabelled} responses got no label; they have the mean distribution of the others"] if unlabelled else []
    )
    blank = sum(not row.text.strip() for row in responses)
    if blank:
        notes.append(f"{blank} empty responses were judged as “{BLANK}”")
    reward = RiskMeasure.of(reading)(distribution, run.space.rewards)
    return Verdict(
        str(path), "run", reading, reward, distribution, tuple(run.space.names), run.space.rewards, tuple(notes)
    )


def _item_id(row: Response) -> str:
    prompt = cast(Messages, tuple({"role": turn["role"], "content": turn["content"]} for turn in row.prompt))
    return ids_of(prompt, ({"role": "assistant", "content": row.shown},))[0]
