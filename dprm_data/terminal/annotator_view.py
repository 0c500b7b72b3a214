"""Terminal views of a run's annotators: one in detail, or all in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import money, number
from dprm_data.core.text import visible
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.summary import PersonaLine
from dprm_data.terminal.bars import share_bar
from dprm_data.terminal.table import table


def annotator_view(
    annotator_id: str, persona: dict[str, Any] | None, annotations: pa.Table, space: LabelSpace
) -> RenderableType:
    """Who the annotator is, and how often it gave each label. persona: None for a person, or for the population."""
    counts, rewards = Counter(annotations["label"].to_pylist()), space.rewards.tolist()
    labels = table("label", "", "annotations", left=("",))
    for i, name in enumerate(space.names):
        labels.add_row(name, share_bar(counts[name] / annotations.num_rows, rewards, i), f"{counts[name]:,}")
    if counts[None]:
        labels.add_row("(none)", "", f"{counts[None]:,}")
    header = Text(f"{visible(persona['name'] or annotator_id if persona else annotator_id)}\n", style="bold")
    if persona:
        header.append(f"{visible(persona['description'])}\n", style="not bold")
    return Group(header, labels)


def personas_view(personas: Sequence[PersonaLine]) -> Table:
    """Annotations, failures, mean reward and cost of every annotator."""
    annotators = table("annotator", "annotations", "without a label", "mean reward", "cost")
    for line in personas:
        annotators.add_row(
            Text(visible(line.annotator_id)),
            f"{line.annotations:,}",
            f"{line.annotations - line.ok:,}",
            number(line.mean_reward, 2, sign=True),
            money(line.cost, "not known"),
        )
    return annotators
