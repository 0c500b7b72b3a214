"""Terminal views of one item: its texts, its distribution, and every vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dprm_data.core.format import number
from dprm_data.core.text import one_line, visible
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.verdict_line import counted
from dprm_data.terminal.bars import bar, colour, share_bar
from dprm_data.terminal.table import table


def item_view(row: dict[str, Any], annotations: Sequence[dict[str, Any]], space: LabelSpace) -> RenderableType:
    """One row of the distributions, with its annotations."""
    names, rewards = space.names, space.rewards.tolist()
    texts = Text()
    for message in [*row["prompt"], *row["completion"]]:
        texts.append(f"{visible(message['role'])}: ", style="bold")
        texts.append(f"{visible(message['content'])}\n")
    labels = table("label", "share", "", "votes", "reward", left=("",))
    for i, name in enumerate(names):
        share = row["label_distribution"][i]
        labels.add_row(name, number(share), share_bar(share, rewards, i), number(row["votes"][i], 2), f"{rewards[i]:g}")
    figures = Text(
        f"expected reward {number(row['expected_reward'], sign=True)} "
        f"({number(row['reward_low'], 2, sign=True)} … {number(row['reward_high'], 2, sign=True)}), "
        f"disagreement {number(row['disagreement'], 2)}, entropy {number(row['entropy'], 2)} nats\n"
    )
    if said := _counted(row, annotations):
        figures.append(f"{said}\n", style="dim")
    return Group(
        Panel(texts, title=Text(f"item {visible(row['item_id'])}"), title_align="left"),
        labels,
        figures,
        _votes(annotations, names, rewards),
    )


def _counted(row: dict[str, Any], annotations: Sequence[dict[str, Any]]) -> str:
    """Why there are more votes than answers; "" where there are not. Probabilities count as several votes each: see `soft_labels`."""
    answers, votes = [each for each in annotations if each["label"]], sum(row["votes"])
    if not any(each["probs"] for each in answers) or votes <= len(answers) + 0.5:
        return ""
    return (
        f"{counted(len(answers), 'answer')}, given as probabilities: {votes:,.0f} votes, since probabilities vary less than votes do. "
        f"Intervals count them as {number(row['evidence'], 1)} people."
    )


def _votes(annotations: Sequence[dict[str, Any]], names: Sequence[str], rewards: Sequence[float]) -> Table:
    votes = table("annotator", "label", "probabilities", "why", left=("label", "probabilities", "why"))
    several = len({row.get("model_id") for row in annotations} - {None}) > 1
    for row in annotations:
        style = colour(rewards, names.index(row["label"])) if row["label"] else "yellow"
        replicate = f" #{row['replicate']}" if row["replicate"] else ""
        person = " (person)" if row["annotator_kind"] == "human" else ""
        model = f" ({row['model_id']})" if several and row["model_id"] else ""
        votes.add_row(
            Text(f"{row['annotator_id']}{replicate}{person}{model}"),
            Text(row["label"] or row["status"], style=style),
            bar(row["probs"], rewards, 16) if row["probs"] else "",
            Text(one_line(row["rationale"] or row["reason"] or "", 80)),
        )
    return votes
