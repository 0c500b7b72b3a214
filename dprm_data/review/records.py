"""Records: an item as a person sees it, with the panel's answers.

A record is the same for an Argilla server and for a table. The panel's part comes from simulated annotations alone: people's answers are never
suggested to people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import ReviewError
from dprm_data.core.format import percent
from dprm_data.core.text import cut
from dprm_data.labels.space import LabelSpace
from dprm_data.preference.fitting import Fit
from dprm_data.runs.fit import fit_annotations

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

_REASON = 200  # characters of a persona's reason
_AGENT = re.compile(r"[^A-Za-z0-9_:./\s-]+")  # characters that Argilla does not allow in an agent's name


@dataclass(frozen=True)
class Record:
    """One item. conversation: prompt and response, messages with role and content; panel: every persona's vote as a Markdown table; suggestion: the panel's most
    likely label with its probability; distribution: shape (K,); metadata: numbers and words to filter and sort by.
    """

    item_id: str
    conversation: list[dict[str, str]]
    panel: str
    suggestion: str
    probability: float
    distribution: list[float]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class PanelView:
    """A run's panel: its annotations, the fit of them alone, and its name as an agent."""

    annotations: pa.Table
    fit: Fit
    agent: str

    def row_of(self) -> dict[str, int]:
        return {item: row for row, item in enumerate(self.fit.votes.item_ids)}


def panel_view(run: Run, *, blind: bool = False) -> PanelView:
    """The panel of a run. Raises ReviewError if no model has annotated anything.

    blind: for people who will see nothing of it; so where people are the only annotators, they stand in the panel's place.
    """
    annotations = pq.read_table(run.folder.needs("annotations"))
    if not run.asks_models:
        if blind:
            return PanelView(annotations, fit_annotations(run, annotations), "people")
        raise ReviewError(
            f"{run.folder} has ratings by people only: there is no panel to show, or to compare people with",
            hint="To have more people judge its items, send them without anybody's labels: --blind.",
        )
    annotations = annotations.filter(pc.equal(annotations["annotator_kind"], "persona"))
    if not annotations.num_rows and run.compares:
        raise ReviewError(
            f"the models of {run.folder} compared responses, and labelled none",
            hint="People can compare them, too: --what pairs.",
        )
    if not annotations.num_rows:
        raise ReviewError(f"{run.folder} has no annotations from a panel", hint="Run it first: dprm run RECIPE.")
    models = ", ".join(sorted(set(annotations["model"].drop_null().unique().to_pylist()))) or "panel"
    count = len(pc.unique(annotations["annotator_id"]))
    return PanelView(annotations, fit_annotations(run, annotations), agent_name(models, count))


def agent_name(models: str, personas: int) -> str:
    """The name of the suggesting agent: model and number of personas, in the characters that Argilla allows."""
    said = _AGENT.sub(" ", f"{models} as {personas} persona{'s' if personas != 1 else ''}")
    return " ".join(said.split())[-200:]


def records(run: Run, panel: PanelView, item_ids: Sequence[str], purposes: dict[str, str]) -> Iterator[Record]:
    """The records of these items, in the run's order. purposes: why each was chosen."""
    wanted = pa.array(sorted(set(item_ids)), pa.string())
    votes = _by_item(panel.annotations.filter(pc.is_in(panel.annotations["item_id"], wanted)))
    names = _names(run)
    row_of = panel.row_of()
    with pq.ParquetFile(run.folder.needs("items")) as file:
        for batch in file.iter_batches(columns=["item_id", "prompt", "completion", "source"]):
            for item in batch.filter(pc.is_in(batch.column("item_id"), wanted)).to_pylist():
                item_id = item["item_id"]
                yield _record(
                    item,
                    votes.get(item_id, []),
                    panel.fit,
                    row_of[item_id],
                    run.space,
                    names,
                    purposes.get(item_id, ""),
                )


def _names(run: Run) -> dict[str, str]:
    if not run.folder.table("personas").is_file():
        return {}
    table = pq.read_table(run.folder.needs("personas"), columns=["persona_id", "name"])
    return dict(zip(table["persona_id"].to_pylist(), table["name"].to_pylist(), strict=True))


def _by_item(annotations: pa.Table) -> dict[str, list[dict[str, Any]]]:
    columns = ["item_id", "annotator_id", "label", "probs", "status", "reason", "rationale", "replicate", "cost"]
    columns += [name for name in ("model_id",) if name in annotations.column_names]  # not in older tables
    found: dict[str, list[dict[str, Any]]] = {}
    for row in annotations.select(columns).to_pylist():
        found.setdefault(row["item_id"], []).append(row)
    return found


def _record(
    item: dict[str, Any],
    votes: list[dict[str, Any]],
    fit: Fit,
    row: int,
    space: LabelSpace,
    names: dict[str, str],
    purpose: str,
) -> Record:
    distribution = fit.distribution[row]
    best = int(distribution.argmax())
    costs = [vote["cost"] for vote in votes]
    metadata: dict[str, Any] = {
        "entropy": _rounded(fit.entropy[row]),
        "disagreement": _rounded(fit.disagreement[row]),
        "expected_reward": _rounded(fit.expected_reward[row]),
        "uncertainty": _rounded(fit.reward_high[row] - fit.reward_low[row]),
        "evidence": _rounded(fit.evidence[row]),
        "source": (item["source"] or "").rsplit(":", 1)[0] or "rows",
        "chosen_as": purpose or "ids",
    }
    if None not in costs:  # an unknown price is not 0
        metadata["cost"] = float(np.round(sum(costs), 8))
    return Record(
        item_id=item["item_id"],
        conversation=[{"role": m["role"], "content": m["content"]} for m in [*item["prompt"], *item["completion"]]],
        panel=_panel_table(votes, distribution.tolist(), space, names),
        suggestion=space.names[best],
        probability=float(distribution[best]),
        distribution=[float(share) for share in distribution],
        metadata=metadata,
    )


def _rounded(value: float) -> float:
    return float(np.round(value, 4))


def _panel_table(votes: list[dict[str, Any]], shares: list[float], space: LabelSpace, names: dict[str, str]) -> str:
    """All votes, and the distribution."""
    why = any(vote["rationale"] or vote["reason"] for vote in votes)
    lines = [f"| persona | says |{' why |' if why else ''}", f"|---|---|{'---|' if why else ''}"]
    several = len({vote.get("model_id") for vote in votes} - {None}) > 1
    for vote in votes:
        again = f" ({_cell(vote['model_id'])})" if several and vote["model_id"] else ""
        again += f" (again, {vote['replicate']})" if vote["replicate"] else ""
        cells = [_cell(names.get(vote["annotator_id"]) or vote["annotator_id"]) + again, _said(vote, space)]
        cells += [_cell(vote["rationale"] or vote["reason"] or "")] if why else []
        lines.append(f"| {' | '.join(cells)} |")
    best_first = sorted(range(space.K), key=lambda k: -shares[k])
    lines += [
        "",
        "**All together:** " + ", ".join(f"{_cell(space.labels[k].said)} {percent(shares[k])}" for k in best_first),
    ]
    lines += ["", "*Simulated: a language model played these personas.*"]
    return "\n".join(lines)


def _said(vote: dict[str, Any], space: LabelSpace) -> str:
    if vote["label"] is None:
        return f"– ({_cell(vote['status'])})"
    at = space.find(vote["label"])
    words = _cell(space.labels[at].said if at is not None else vote["label"])
    return f"{words} ({percent(vote['probs'][at])})" if vote["probs"] and at is not None else words


def _cell(text: str) -> str:
    """Any text as one line of plain text in a cell of a Markdown table."""
    line = cut(" ".join(str(text).split()), _REASON)
    return re.sub(r"([\\`*_{}\[\]()#+!|>~])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;"))
