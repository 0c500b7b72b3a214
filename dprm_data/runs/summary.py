"""The summary of a run as plain data, for the terminal, `--json` and the card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.failure_reasons import grouped
from dprm_data.ingest.votes import shares_of
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.comparison_findings import comparison_sentences
from dprm_data.runs.comparison_table import comparisons_in, judged_items, judgements
from dprm_data.runs.dataset import pair_accuracy
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.panel_worth import worth_sentences
from dprm_data.runs.preferences import left_out
from dprm_data.runs.variance_sentences import recorded_sentences


@dataclass(frozen=True)
class ItemLine:
    """An item's last turns and figures. distribution: shape (K,)."""

    item_id: str
    prompt: str
    response: str
    distribution: list[float]
    expected_reward: float
    reward_low: float
    reward_high: float
    disagreement: float
    evidence: float


@dataclass(frozen=True)
class PersonaLine:
    """An annotator's annotations (ok: those with a label), mean reward of its labels (expected reward of its distributions), and dollars."""

    annotator_id: str
    annotations: int
    ok: int
    mean_reward: float | None
    cost: float | None


@dataclass(frozen=True)
class ModelLine:
    """A model of a jury: its annotations (ok: those with a label), and its dollars, altogether and per label."""

    model_id: str
    annotations: int
    ok: int
    cost: float | None
    cost_per_vote: float | None


@dataclass(frozen=True)
class Summary:
    """A run's figures. models: as providers name what answered; by_model: the recipe's models, where there are several. first: the first few
    items; divided: those on which the panel disagrees most.

    voted_items: items with a vote, or compared; annotations: comparisons included; simulated: those by a model; human: those by people. estimated_calls: calls whose tokens the server did not report; cost
    counts each at its upper bound. reasoning_tokens: tokens of thought, part of the output that was billed. pair_accuracy: (share, pairs) of agreement
    with the source's own chosen/rejected, if it has them; longer_accuracy: the same for "the longer response is better". spread: sentences about
    what makes ratings differ, and how many people the panel is worth.
    """

    labels: list[str]
    rewards: list[float]
    items: int
    voted_items: int
    pairs: int
    annotations: int
    simulated: int
    human: int
    statuses: dict[str, int]
    failures: dict[str, int]
    models: list[str]
    by_model: list[ModelLine]
    cost: float | None
    estimated_calls: int
    reasoning_tokens: int
    label_shares: list[float]
    mean_expected_reward: float | None
    mean_disagreement: float | None
    personas: list[PersonaLine]
    first: list[ItemLine]
    divided: list[ItemLine]
    pair_accuracy: tuple[float, int] | None
    longer_accuracy: tuple[float, int] | None
    spread: list[str]
    comparisons: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(folder: RunFolder, space: LabelSpace, *, first: int = 12, divided: int = 3) -> Summary:
    """Read the run's tables into a summary."""
    annotations = judgements(
        folder,
        [
            *("item_id", "annotator_id", "annotator_kind", "label", "probs", "status", "reason", "model", "model_id"),
            *("cost", "estimated_calls", "reasoning_tokens"),
        ],
    )
    figures = pq.read_table(
        folder.needs("distributions"), columns=["expected_reward", "disagreement", "evidence", "label_distribution"]
    )
    rewards = figures["expected_reward"].to_numpy().astype(np.float64)
    disagreement = figures["disagreement"].to_numpy()
    evidence = figures["evidence"].to_numpy()
    judged = np.where(evidence > 0, rewards, np.nan)
    voted = evidence > 0  # an item without a vote has only the prior's distribution
    most_divided = np.flatnonzero(voted)[np.argsort(-disagreement[voted], kind="stable")][:divided]
    manifest = folder.read_manifest()
    return Summary(
        labels=space.names,
        rewards=space.rewards.tolist(),
        items=len(rewards),
        voted_items=judged_items(folder),
        pairs=pq.read_metadata(folder.needs("preferences")).num_rows,
        annotations=annotations.num_rows,
        simulated=_number_of(annotations, "annotator_kind", "persona"),
        human=_number_of(annotations, "annotator_kind", "human"),
        statuses=_counts(annotations["status"]),
        failures=grouped(
            _counts(annotations["reason"].filter(pc.not_equal(annotations["status"], "ok")).drop_null()), most=5
        ),
        models=sorted(_counts(annotations["model"].drop_null())),  # people have none
        by_model=_by_model(annotations),
        cost=known_cost(annotations),
        estimated_calls=pc.sum(annotations["estimated_calls"]).as_py() or 0,
        reasoning_tokens=pc.sum(annotations["reasoning_tokens"]).as_py() or 0,
        label_shares=_mean_distribution(figures["label_distribution"], space.K),
        mean_expected_reward=float(rewards[voted].mean()) if voted.any() else None,
        mean_disagreement=float(disagreement[voted].mean()) if voted.any() else None,
        personas=_personas(annotations, space),
        first=_lines(folder, range(min(first, len(rewards)))),
        divided=_lines(folder, most_divided.tolist()),
        pair_accuracy=pair_accuracy(folder.needs("items"), judged),
        longer_accuracy=pair_accuracy(folder.needs("items"), np.where(np.isnan(judged), np.nan, _lengths(folder))),
        spread=[
            *(*recorded_sentences(manifest), *worth_sentences(manifest)),
            *(*comparison_sentences(manifest), *left_out(manifest)),
        ],
        comparisons=comparisons_in(folder),
    )


def known_cost(annotations: pa.Table) -> float | None:
    """Dollars of these annotations; None where the price of one is not known."""
    costs = annotations["cost"]
    return None if costs.null_count else float(pc.sum(costs).as_py() or 0.0)


def _by_model(annotations: pa.Table) -> list[ModelLine]:
    ids = sorted(_counts(annotations["model_id"].drop_null()))
    lines = []
    for id_ in ids if len(ids) > 1 else ():
        mine = annotations.filter(pc.equal(annotations["model_id"], id_))
        ok = _number_of(mine, "status", "ok")
        cost = known_cost(mine)
        lines.append(ModelLine(id_, mine.num_rows, ok, cost, cost / ok if cost is not None and ok else None))
    return lines


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counted = [(entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist()]
    return dict(sorted(counted, key=lambda pair: (-pair[1], pair[0])))


def _number_of(table: pa.Table, column: str, value: str) -> int:
    return int(pc.sum(pc.equal(table[column], value)).as_py() or 0)


def _mean_distribution(column: pa.ChunkedArray, K: int) -> list[float]:
    flat = column.combine_chunks().flatten().to_numpy().reshape(-1, K)
    return np.asarray(flat.mean(axis=0), dtype=np.float64).tolist() if len(flat) else [0.0] * K


def annotators(folder: RunFolder, space: LabelSpace) -> list[PersonaLine]:
    """The figures of every annotator of the run."""
    columns = ["item_id", "annotator_id", "label", "probs", "status", "cost"]
    return _personas(pq.read_table(folder.needs("annotations"), columns=columns), space)


def _personas(annotations: pa.Table, space: LabelSpace) -> list[PersonaLine]:
    ids = annotations["annotator_id"].combine_chunks().dictionary_encode()
    names, who = ids.dictionary.to_pylist(), ids.indices.to_numpy()
    ok = pc.equal(annotations["status"], "ok").to_numpy()
    reward = _rewards(annotations, space)
    with_label = ok & ~np.isnan(reward)
    cost = annotations["cost"].to_numpy()  # NaN if not known
    total = np.bincount(who, minlength=len(names))
    good = np.bincount(who, ok, minlength=len(names))
    labelled = np.bincount(who, with_label, minlength=len(names))
    summed = np.bincount(who, np.where(with_label, reward, 0.0), minlength=len(names))
    dollars = np.bincount(who, cost.astype(np.float64), minlength=len(names))
    return [
        PersonaLine(
            annotator_id=name,
            annotations=int(total[i]),
            ok=int(good[i]),
            mean_reward=float(summed[i] / labelled[i]) if labelled[i] else None,
            cost=None if np.isnan(dollars[i]) else float(dollars[i]),
        )
        for i, name in enumerate(names)
    ]


def _rewards(annotations: pa.Table, space: LabelSpace) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The expected reward of every row's distribution, or else the reward of its label; NaN where there is neither."""
    at = pc.index_in(annotations["label"], pa.array(space.names)).to_numpy()  # NaN for no label
    known = ~np.isnan(at.astype(np.float64))
    of_labels = np.where(known, space.rewards[np.where(known, at, 0).astype(int)], np.nan)
    expected = shares_of(annotations, space) @ space.rewards
    return np.where(np.isnan(expected), of_labels, expected)


def _lengths(folder: RunFolder) -> np.ndarray[Any, np.dtype[np.float64]]:
    lengths: list[int] = []
    with pq.ParquetFile(folder.needs("items")) as file:
        for batch in file.iter_batches(columns=["completion"]):
            lengths += [
                sum(len(message["content"]) for message in messages)
                for messages in batch.column("completion").to_pylist()
            ]
    return np.array(lengths, dtype=np.float64)


LINE_COLUMNS = [  # of the distributions, for `item_line`
    "item_id",
    "prompt",
    "completion",
    "label_distribution",
    "expected_reward",
    "reward_low",
    "reward_high",
    "disagreement",
    "evidence",
]


def _lines(folder: RunFolder, rows: range | list[int]) -> list[ItemLine]:
    """Rows of the distributions by number, in this order; reads only the row groups they are in."""
    wanted = sorted(set(rows))
    found: dict[int, ItemLine] = {}
    with pq.ParquetFile(folder.needs("distributions")) as file:
        start = 0
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            here = [row for row in wanted if start <= row < end]
            if here:
                table = file.read_row_group(group, columns=LINE_COLUMNS).take([row - start for row in here])
                found |= {row: item_line(content) for row, content in zip(here, table.to_pylist(), strict=True)}
            start = end
    return [found[row] for row in rows]


def item_line(row: dict[str, Any]) -> ItemLine:
    """A row of the distributions, with the last turn of its prompt and of its response."""
    return ItemLine(
        item_id=row["item_id"],
        prompt=row["prompt"][-1]["content"] if row["prompt"] else "",
        response=row["completion"][-1]["content"] if row["completion"] else "",
        distribution=row["label_distribution"],
        expected_reward=row["expected_reward"],
        reward_low=row["reward_low"],
        reward_high=row["reward_high"],
        disagreement=row["disagreement"],
        evidence=row["evidence"],
    )
