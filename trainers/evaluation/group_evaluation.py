"""Evaluate a reward model's heads of groups on held-out votes of the groups (`dprm_trainers.reward.group_figures`)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dprm_data.core.tables import write_text
from dprm_trainers.core.errors import TrainingError
from dprm_trainers.data.rows import Labels, Split, TrainingData
from dprm_trainers.data.tokens import encode
from dprm_trainers.evaluation.evaluate import check_labels, data_of
from dprm_trainers.reward.group_figures import GroupFigures, group_figures
from dprm_trainers.reward.reward_model import softmax

if TYPE_CHECKING:
    from dprm_trainers.data.group_rows import VotesTable
    from dprm_trainers.reward.reward_model import RewardModel

ALL = "all"


@dataclass(frozen=True)
class GroupEvaluation:
    """The figures of each model's heads on `rows` responses of a split."""

    rows: int
    split: str
    figures: dict[str, GroupFigures]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def markdown(self) -> str:
        """The tables of every model."""
        return "\n\n".join(f"{name}\n\n{found.markdown()}" for name, found in self.figures.items()) + "\n"

    def write(self, folder: Path) -> None:
        """groups.json and groups.md."""
        write_text(folder / "groups.json", json.dumps(self.as_dict(), indent=2) + "\n")
        write_text(folder / "groups.md", self.markdown())


def evaluate_groups(
    models: dict[str, RewardModel],
    reference: str,
    *,
    votes: VotesTable | None = None,
    labels: Labels | None = None,
    group: str = ALL,
    split: Split = "test",
    batch_size: int = 16,
) -> GroupEvaluation:
    """Evaluate models with heads of groups on a split of the data, split as in each one's training.

    votes: the table of people's votes behind a Parquet file or dataset. group: attribute=value, or all.
    Raises `TrainingError` for a model without heads, or without that group; `TrainingDataError` for data that does not
    say how groups voted.
    """
    for model in models.values():
        if model.heads is None:
            raise TrainingError(
                f"{model.name} has no heads of groups", hint="Train with --group-heads attribute, or leave --group out."
            )
        if group != ALL:
            model.place(group)
    figures, rows = {}, 0
    for name, model in models.items():
        assert model.heads is not None
        data = data_of(model, reference, labels, group_heads=model.heads.attribute, votes=votes)
        rows = len(data.split(split))
        figures[name] = _figures(model, data, split, batch_size, group)
    return GroupEvaluation(rows, split, figures)


def _figures(model: RewardModel, data: TrainingData, split: Split, batch_size: int, group: str) -> GroupFigures:
    assert model.heads is not None
    check_labels(model.name, model, data.space)
    rows = data.split(split)
    train = data.splits["train"] if len(data.splits["train"]) else rows
    assert train.of_groups is not None and rows.of_groups is not None
    before = train.of_groups.of(model.heads.values)
    rows = replace(rows, of_groups=rows.of_groups.of(model.heads.values))
    encoded = encode(model.tokenizer, rows.prompts, rows.completions, model.max_length, overlong="truncate")
    found = group_figures(before, rows, softmax(model.all_logits(encoded.ids, batch_size)), data.space)
    return found if group == ALL else GroupFigures([row for row in found.groups if row.name == group])
