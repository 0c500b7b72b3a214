"""A trained reward model on a benchmark of judges: its reward for every response."""

from __future__ import annotations

import numpy as np

from dprm_data.ingest.judge_sets.judge_set import LoadedCases
from dprm_data.validation.judge_bench import Judged
from dprm_trainers.reward.scorer import Scorer


def judged_by_model(reference: str, loaded: LoadedCases, *, batch_size: int = 16) -> Judged:
    """The rewards of a model (a folder, or a name on the Hub) for the cases' responses. Raises `TrainingError`."""
    scorer = Scorer.load(reference, batch_size=batch_size)
    prompts = [[dict(turn) for turn in case.prompt] for case in loaded.cases for _ in case.responses]
    scores = scorer(prompts, [text for case in loaded.cases for text in case.responses])  # type: ignore[arg-type]
    ends = np.cumsum([len(case.responses) for case in loaded.cases])
    notes = (f"{scores.cut:,} responses were too long for this model and lost their left",) if scores.cut else ()
    return Judged(reference, "reward model", np.split(scores.reward, ends[:-1]), notes=notes)
