"""The annotator model (a *reading* of the panel): a weight and a confusion matrix per persona, learned from people's answers.

*The model.* On item i, persona a answers x_ia, a distribution over K labels (one-hot for a plain choice), with the weight u_ia that the panel gives it there.
M_a (K x K, rows sum to 1) corrects persona a: M_a[l, k] is the probability that a person answers k where the persona answers l. The identity leaves its
answers unchanged; an asymmetric row is a bias. rho_a > 0 scales its weight. A person's answer to item i is then distributed as

    y_i = (1 - LAPSE) sum_a w_ia x_ia M_a + LAPSE / K,      w_ia = u_ia rho_a / sum_b u_ib rho_b

a mixture: the person answers like one of the personas or, with probability LAPSE, at random. The panel's weights stay on the simplex, in proportion to
w0_a rho_a, where w0_a are the original weights.

*The penalty.* With n_ik people's votes, the fit maximises

    sum_ik n_ik log y_ik  +  kappa sum_a w0_a (log rho_a - rho_a)  +  tau sum_a sum_lk B_a[l, k] log M_a[l, k]

The first penalty has its maximum at rho = 1, the original weights (sum_a w0_a = 1, so kappa is in votes); the second at M = B, with tau votes in every row. For the
bias that all personas share, B is the identity; for a persona's own bias, B is the shared one, fitted before. As kappa and tau grow, the
model tends to the original weights and the unchanged answers.

*The fit* is an EM algorithm with an MM step (Hunter 2004, for the normalised weights), and never lowers the objective. With q_ik = (1 - LAPSE) n_ik / y_ik,
R_ia = w_ia sum_k (x_ia M_a)_k q_ik is persona a's responsibility for the item's votes, and T_i = sum_a R_ia:

    M_a[l, k]  ~  sum_i w_ia x_ia[l] M_a[l, k] q_ik + tau B_a[l, k]             (rows normalised)
    rho_a      =  (sum_i R_ia + kappa w0_a) / (sum_i T_i u_ia / sum_b u_ib rho_b  +  kappa w0_a)

The first is the usual step for a mixture's categorical parts. For the second, -T log S, with S = sum_b u_ib rho_b, is bounded below by -T (S / S_old + log S_old - 1), which
touches it at S_old; the maximum of the bound has the closed form. Where every persona judges every item it is the EM step for
mixture weights, up to a factor that all rho share.

Source: Dempster, Laird & Rubin (1977); Hunter, MM algorithms for generalized Bradley-Terry models (2004); the rows M_a are those of Dawid & Skene (1979),
read from the annotator to the truth instead of from the truth to the annotator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.arrays import Floats, Ints
from dprm_data.ingest.votes import item_codes, label_codes, said_of, vote_rows, weights_of
from dprm_data.labels.space import LabelSpace

LAPSE = 0.02
STEPS, TOLERANCE = 60, 1e-7
_CHUNK = 200_000


@dataclass(frozen=True)
class PanelAnswers:
    """A panel's R answers. `item`, `who` (R,): indices into the items and `personas`; `said` (R, K): the distributions answered, rows sum to 1; `weight` (R,)."""

    items: int
    personas: list[str]
    item: Ints
    who: Ints
    said: Floats
    weight: Floats

    def of_items(self, rows: Ints) -> PanelAnswers:
        """The answers to these items, renumbered in this order."""
        place = np.full(self.items, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        kept = np.flatnonzero(place[self.item] >= 0)
        return replace(
            self,
            items=len(rows),
            item=place[self.item[kept]],
            who=self.who[kept],
            said=self.said[kept],
            weight=self.weight[kept],
        )


def panel_answers(
    annotations: pa.Table, space: LabelSpace, item_ids: list[str], personas: list[str] | None = None
) -> PanelAnswers:
    """A panel's answers that count as votes: those with status ok, except stated distributions."""
    votes = vote_rows(annotations)
    kept = votes.filter(pc.fill_null(pc.equal(votes["annotator_kind"], "persona"), False))
    _, item = item_codes(kept["item_id"], item_ids)
    names, who = item_codes(kept["annotator_id"], personas)
    said = said_of(kept, label_codes(kept["label"], space, "annotations"), space)
    weight = weights_of(kept)
    there = (item >= 0) & (who >= 0)
    return PanelAnswers(len(item_ids), names, item[there], who[there], said[there], weight[there])


@dataclass(frozen=True)
class Strength:
    """The strength of the penalties, in votes; None fixes the parameter. weights: kappa; shared: tau of the shared bias; own: tau of each persona's own."""

    weights: float | None = None
    shared: float | None = None
    own: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        return {"weights": self.weights, "shared": self.shared, "own": self.own}


@dataclass(frozen=True)
class AnnotatorModel:
    """`ratio` (A,): rho, each persona's weight over its original one; `bias` (A, K, K): its matrix; `shared` (K, K): the matrix for personas not seen before."""

    personas: list[str]
    ratio: Floats
    bias: Floats
    shared: Floats

    @classmethod
    def literal(cls, personas: list[str], K: int) -> AnnotatorModel:
        """The identity: answers and weights unchanged."""
        return cls(personas, np.ones(len(personas)), np.tile(np.eye(K), (len(personas), 1, 1)), np.eye(K))

    def read(self, panel: PanelAnswers) -> Floats:
        """The panel's votes (N, K) under this model; every item keeps its total weight."""
        K = self.shared.shape[0]
        ratio = self.ratio[panel.who]
        scaled = panel.weight * ratio
        before = np.bincount(panel.item, panel.weight, minlength=panel.items)
        after = np.bincount(panel.item, scaled, minlength=panel.items)
        scaled *= np.divide(before, after, out=np.zeros(panel.items), where=after > 0)[panel.item]
        votes = np.zeros((panel.items, K))
        for at in range(0, len(scaled), _CHUNK):
            part = slice(at, at + _CHUNK)
            heard = _heard(panel.said[part], self.bias, panel.who[part])
            for k in range(K):
                votes[:, k] += np.bincount(panel.item[part], scaled[part] * heard[:, k], minlength=panel.items)
        return votes

    def to_dict(self, space: LabelSpace) -> dict[str, Any]:
        """As JSON: ratios by persona, the shared matrix, and the matrices that differ from it."""
        own = {
            name: self.bias[a].tolist()
            for a, name in enumerate(self.personas)
            if not np.allclose(self.bias[a], self.shared, atol=1e-12)
        }
        ratio = {name: float(value) for name, value in zip(self.personas, self.ratio, strict=True)}
        return {"labels": space.names, "ratio": ratio, "shared": self.shared.tolist(), "own": own}

    @classmethod
    def from_dict(cls, content: dict[str, Any], personas: list[str]) -> AnnotatorModel:
        """For these personas; one that the model does not know gets ratio 1 and the shared matrix."""
        shared = np.array(content["shared"], dtype=np.float64)
        bias = np.array([content["own"].get(name, content["shared"]) for name in personas]).reshape(-1, *shared.shape)
        return cls(personas, np.array([content["ratio"].get(name, 1.0) for name in personas]), bias, shared)


def learn(panel: PanelAnswers, people: Floats, strength: Strength, K: int) -> AnnotatorModel:
    """Fit the model to people's votes (N, K) on the same items, with penalties of this strength."""
    reading = AnnotatorModel.literal(panel.personas, K)
    if strength.shared is not None:
        reading, _ = climb(panel, people, reading, Strength(strength.weights, shared=strength.shared), reading.shared)
    if strength.own is not None:
        reading, _ = climb(panel, people, reading, Strength(strength.weights, own=strength.own), reading.shared)
    if strength.shared is None and strength.own is None and strength.weights is not None:
        reading, _ = climb(panel, people, reading, strength, reading.shared)
    return reading


def climb(
    panel: PanelAnswers, people: Floats, start: AnnotatorModel, strength: Strength, base: Floats, steps: int = STEPS
) -> tuple[AnnotatorModel, list[float]]:
    """Run EM from `start` with the penalty towards `base` (K, K). Returns the model, and the objective before every step and at the end."""
    K, A = people.shape[1], len(panel.personas)
    order = np.argsort(panel.who, kind="stable")
    panel = replace(
        panel, item=panel.item[order], who=panel.who[order], said=panel.said[order], weight=panel.weight[order]
    )
    given = np.bincount(panel.who, panel.weight, minlength=A).astype(np.float64)
    given = given / max(float(given.sum()), 1e-300)
    ratio, bias, shared = start.ratio.copy(), start.bias.copy(), start.shared.copy()
    if strength.shared is not None or strength.own is not None:  # EM never leaves a zero
        spread = 0.1 / K
        bias = 0.9 * bias + spread
        shared = 0.9 * shared + spread
    path: list[float] = []
    for _ in range(steps):
        scaled = panel.weight * ratio[panel.who]
        sums = np.bincount(panel.item, scaled, minlength=panel.items)
        w = scaled / np.maximum(sums, 1e-300)[panel.item]
        heard = _heard(panel.said, bias, panel.who)
        mixed = np.stack([np.bincount(panel.item, w * heard[:, k], minlength=panel.items) for k in range(K)], axis=1)
        y = (1.0 - LAPSE) * mixed + LAPSE / K
        path.append(_objective(people, y, ratio, bias, shared, strength, base, given))
        if len(path) > 1 and path[-1] - path[-2] < TOLERANCE * max(1.0, people.sum()):
            break
        q = ((1.0 - LAPSE) * people / y)[panel.item]
        if strength.own is not None or strength.shared is not None:
            spoken = (w[:, None] * panel.said)[:, :, None] * q[:, None, :]
            if strength.own is not None:
                bias = _rows(bias * _by_persona(spoken, panel.who, A) + strength.own * base)
            else:
                assert strength.shared is not None
                shared = _rows(shared * spoken.sum(axis=0) + strength.shared * base)
                bias = np.tile(shared, (A, 1, 1))
        if strength.weights is not None:
            R = w * (heard * q).sum(axis=1)
            T = np.bincount(panel.item, R, minlength=panel.items)
            per_unit = T / np.maximum(sums, 1e-300)
            prior = strength.weights * given
            top = np.bincount(panel.who, R, minlength=A) + prior
            bottom = np.bincount(panel.who, panel.weight * per_unit[panel.item], minlength=A) + prior
            ratio = np.divide(top, bottom, out=np.ones(A), where=bottom > 0)
    return AnnotatorModel(panel.personas, ratio, bias, shared), path


def _objective(
    people: Floats,
    y: Floats,
    ratio: Floats,
    bias: Floats,
    shared: Floats,
    strength: Strength,
    base: Floats,
    given: Floats,
) -> float:
    value = float((people * np.log(y)).sum())
    if strength.weights is not None:
        value += strength.weights * float((given * (np.log(ratio) - ratio)).sum())
    if strength.own is not None:
        value += strength.own * float((base * np.log(np.maximum(bias, 1e-300))).sum())
    elif strength.shared is not None:
        value += strength.shared * float((base * np.log(np.maximum(shared, 1e-300))).sum())
    return value


def _heard(said: Floats, bias: Floats, who: Ints) -> Floats:
    """x_ia M_a of every answer, shape (R, K)."""
    return np.asarray(np.einsum("rl,rlk->rk", said, bias[who]))


def _by_persona(values: Floats, who: Ints, A: int) -> Floats:
    """Sums (A, K, K) of values (R, K, K) that are sorted by persona."""
    sums = np.zeros((A, *values.shape[1:]))
    if len(who):
        first = np.flatnonzero(np.r_[True, who[1:] != who[:-1]])
        sums[who[first]] = np.add.reduceat(values, first, axis=0)
    return sums


def _rows(matrix: Floats) -> Floats:
    return np.asarray(matrix / np.maximum(matrix.sum(axis=-1, keepdims=True), 1e-300))
