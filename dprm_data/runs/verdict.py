"""The verdict on a run: answers to the first questions of somebody who must decide whether to use its labels. Reports, cards and `dprm show` begin with it.

    how complete       items with votes, labels, failures; what is missing from an interrupted run
    agreement          Krippendorff's alpha between different annotators of one item, on the rewards of their labels (expected rewards, if they gave
                       distributions), with a bootstrap interval over prompts; personas against replicates, from the variance components
    sure pairs         Phi(difference / its standard deviation) from the fitted posterior: the probability that the preferred response is better
    cost, validated    dollars per 1,000 labels whose price is known; the panel against people
    own responses      judges that made some of the responses (`self_preference`)

The thresholds of alpha are Krippendorff's: at least 0.8, or 0.667 for tentative conclusions (Content Analysis, 2nd ed., 2004, p. 241).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dprm_data.core.errors import DprmError
from dprm_data.core.failure_reasons import grouped
from dprm_data.core.format import money, number, percent
from dprm_data.core.tables import DISTRIBUTIONS
from dprm_data.core.text import one_line
from dprm_data.elicit.work import POPULATION
from dprm_data.labels.statistics import NOTHING, Interval
from dprm_data.preference.pairs import preferred_pairs, probabilities
from dprm_data.runs.comparison_table import joint_probabilities, judged_items, judgements
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.human_agreement import Validation, validation
from dprm_data.runs.panel_variance import PanelVariance, panel_variance
from dprm_data.runs.self_preference import OwnResponses, own_responses
from dprm_data.runs.validations import validated_on
from dprm_data.runs.variance_sentences import persona_sentence, recorded_variance, warns
from dprm_data.runs.verdict_line import Line, counted

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

SURE = 0.9  # the probability from which a pair counts as sure
_FEW = 10  # items: with fewer, the interval of alpha is not reliable
_TENTATIVE, _RELIABLE = 0.667, 0.8  # Krippendorff's alpha
_COLUMNS = ["annotator_id", "annotator_kind", "status", "reason", "model", "cost", "estimated_calls"]


@dataclass(frozen=True)
class Labels:
    """Who gave the labels: annotations with a label, by models and by people. models: as the providers name them; people: None if they are anonymous."""

    simulated: int
    human: int
    models: tuple[str, ...]
    personas: int
    people: int | None

    def line(self) -> Line:
        question, by = "Whose labels?", "people" if self.people is None else counted(self.people, "person", "people")
        if self.human and not self.simulated:
            return Line(question, f"{counted(self.human, 'label')} by {by}")
        models = one_line(", ".join(self.models), 120) or "a model"
        panel = f"{counted(self.personas, 'persona')}, played by {models}"
        if not self.personas:
            panel = f"The whole population's distribution for each item, as stated by {models}"
        if not self.human:
            return Line(question, counted(self.simulated, "simulated label"), f"{panel}.")
        answer = f"{self.simulated:,} simulated, {self.human:,} by people"
        return Line(question, answer, f"Simulated: {panel}. The others are by {by}.")


@dataclass(frozen=True)
class Completeness:
    """items: in the run; voted: items with votes. asked: annotations that models returned; expected: how many the recipe asks for (a maximum, if
    at_most); failed: annotations without a label, with the most frequent `reasons`; stopped: what ended the last run early."""

    items: int
    voted: int
    asked: int
    expected: int
    at_most: bool
    failed: int
    reasons: dict[str, int]
    stopped: str | None

    @property
    def cut_short(self) -> bool:
        """Whether some annotations that the recipe asks for have not been requested yet."""
        return self.asked < self.expected and (self.stopped is not None or not self.at_most)

    def line(self) -> Line:
        said = []
        if self.cut_short:
            why = f" ({one_line(self.stopped, 160)})" if self.stopped else ""
            most = "up to " if self.at_most else ""
            said.append(
                f"Cut short{why}: {most}{self.expected - self.asked:,} of {self.expected:,} annotations are missing."
            )
        if self.failed:
            reason = next(iter(self.reasons), "")
            most = f", most often: {one_line(reason, 120).rstrip('.')}" if reason else ""
            said.append(f"{counted(self.failed, 'annotation')} without a label{most}.")
        else:
            said.append("All others have a label." if said else "Every annotation has a label.")
        if self.voted < self.items and not self.cut_short:
            said.append("The other items have no votes.")
        concern = self.cut_short or self.failed > 0 or self.voted < self.items
        return Line("How complete?", f"{self.voted:,} of {self.items:,} items", " ".join(said), concern)


@dataclass(frozen=True)
class Signal:
    """Whether annotators agree beyond chance. alpha: among the panel; people_alpha: among people; both without a value if no item has two annotators. items,
    asked_twice: of the alpha that is shown. personas: a sentence that compares personas with replicates; warns: whether they differ no more than those."""

    alpha: Interval
    people_alpha: Interval
    items: int
    personas: str | None
    asked_twice: bool
    warns: bool
    states_population: bool

    def line(self) -> Line:
        question, shown = "Agreement beyond chance?", self.alpha if self.alpha.value is not None else self.people_alpha
        if shown.value is None:
            why = "Each annotation states the whole population's distribution." if self.states_population else ""
            return Line(question, "Not measured", why or "Too few items were judged by two annotators.", concern=True)
        by_panel, beyond = shown is self.alpha, shown.low is not None and shown.low > 0
        few = self.items < _FEW
        what = f"from {counted(self.items, 'item')} only" if few else _meaning(shown)
        said = [f"Krippendorff’s α of the rewards: {what}."]
        if by_panel and (shown.value or 0.0) >= _TENTATIVE:
            said.append("A model that plays all personas agrees with itself: its labels may still be wrong.")
        if by_panel and self.people_alpha.value is not None:
            said.append(f"Among people: α {_between(self.people_alpha)}.")
        if not self.asked_twice:
            what = "Replicate noise" if by_panel else "Self-consistency"
            said.append(f"{what} was not measured: no question was asked twice.")
        elif by_panel and self.personas:
            said.append(self.personas)
        answer = "Too few items to tell" if few else "Yes" if beyond else "No"
        return Line(
            question,
            f"{answer}: α {number(shown.value, 2) if few else _between(shown)}",
            " ".join(said),
            few or not beyond or self.warns,
        )


@dataclass(frozen=True)
class PairCertainty:
    """The pairs of responses to one prompt, and how many of them are sure: the preferred response is better with a probability above 0.9. None: not known.
    assumed: whether the error that the panel's votes share is assumed (True) or learned from people's answers (False); None if the fit ignores it."""

    pairs: int
    sure: int | None
    median_probability: float | None
    by_models: bool
    assumed: bool | None

    def line(self) -> Line:
        question = "How sure are the pairs?"
        if not self.pairs:
            return Line(question, "No pairs", "No prompt has two responses with votes and different expected rewards.")
        if self.sure is None or self.median_probability is None:
            unknown = "An earlier version fitted this run, without the errors of rewards: dprm ratings fit adds them."
            return Line(question, counted(self.pairs, "pair"), unknown, concern=True)
        said = (
            f"Sure: the preferred response is better with a probability above {SURE:g}. "
            f"The median probability is {number(self.median_probability, 2)}. "
        )
        if not self.by_models:
            said += "Raters are treated as independent draws from one population."
        elif self.assumed is None:
            said += "Votes are treated as independent: errors that all personas of a model share are not included."
        elif self.assumed:
            said += "The error that the panel's votes share is assumed, not learned from people's answers."
        else:
            said += "How many people the panel's votes are worth was learned from people's answers."
        answer = f"{self.sure:,} of {self.pairs:,} are sure ({percent(self.sure / self.pairs)})"
        return Line(question, answer, said, concern=2 * self.sure < self.pairs)


@dataclass(frozen=True)
class Cost:
    """Dollars for the annotations whose price is known, and per 1,000 of their labels; unpriced: annotations whose price is not known; at_most: whether
    some tokens were not reported, so that the cost is a maximum; local: whether every model ran on this machine."""

    dollars: float | None
    per_thousand_labels: float | None
    unpriced: int
    at_most: bool
    local: bool

    def line(self) -> Line:
        question, most = "What did it cost?", "at most " if self.at_most else ""
        if self.dollars is None:
            return Line(question, "Cost not known", "The model has no known price.", concern=True)
        if self.local and not self.dollars:
            return Line(question, "$0 per 1,000 labels", "The model ran on this machine.")
        said = f"{most}{money(self.dollars)} in total"
        if self.unpriced:
            said += f", without {counted(self.unpriced, 'annotation')} whose cost is not known"
        said = f"{said[0].upper()}{said[1:]}."
        if self.per_thousand_labels is None:
            return Line(question, "No labels", said, concern=True)
        thousand = f"{most}{money(self.per_thousand_labels)} per 1,000 labels"
        return Line(question, f"{thousand[0].upper()}{thousand[1:]}", said, concern=self.unpriced > 0)


@dataclass(frozen=True)
class Validated:
    """The panel against people: on the items that both judged, and in the review recorded in the manifest. Each is None if there is none. elsewhere: what it was validated on instead."""

    on_items: Validation | None
    review: Mapping[str, Any] | None
    elsewhere: str = ""

    def line(self) -> Line:
        question, found = "Validated?", self.on_items
        if found is None:
            there = "Against people, on other items" if self.elsewhere else "Not validated against people"
            return Line(question, there, self.elsewhere, concern=not self.elsewhere)
        agree = "" if found.correlation is None else f"correlation of mean rewards {number(found.correlation, 2)}, "
        said = (
            f"{agree}mean difference (panel minus people) {number(found.mean_difference, 2, sign=True)}, "
            f"the same most frequent label on {percent(found.same_label)} of the items. {_of_review(self.review or {})}"
        )
        answer = f"Against people, on {counted(found.items, 'item')}"
        return Line(question, answer, f"{said[0].upper()}{said[1:]}".strip())


@dataclass(frozen=True)
class Verdict:
    """See the module. cost and validated: None if no model was asked; own: None if no judge made responses."""

    labels: Labels
    complete: Completeness
    signal: Signal
    pairs: PairCertainty
    cost: Cost | None
    validated: Validated | None
    own: OwnResponses | None = None

    def lines(self) -> list[Line]:
        """The answers, in the order of the questions."""
        parts = (self.labels, self.complete, self.signal, self.pairs, self.cost, self.validated, self.own)
        return [part.line() for part in parts if part is not None]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"lines": [asdict(line) for line in self.lines()]}


def verdict(run: Run) -> Verdict:
    """The verdict on a fitted run, from its tables and its manifest. Makes no call. Raises `InputError` if the run is not fitted."""
    folder, manifest = run.folder, run.folder.read_manifest()
    table = judgements(folder, _COLUMNS)
    human = pc.fill_null(pc.equal(table["annotator_kind"], "human"), False)
    by_models, by_people = table.filter(pc.invert(human)), table.filter(human)
    columns = ["group_id", "expected_reward", "evidence", "reward_error"]
    fitted = pq.read_table(folder.needs("distributions"), columns=columns, schema=DISTRIBUTIONS)
    asks, stated = by_models.num_rows > 0, pc.all(pc.equal(by_models["annotator_id"], POPULATION.id)).as_py()
    return Verdict(
        _labels(by_models, by_people, manifest),
        _completeness(run, table, by_models.num_rows, fitted, manifest),
        _signal(run, manifest, people=by_people.num_rows > 0, stated=asks and stated),
        _pairs(fitted, folder, (_dict(manifest.get("panel_worth")) or {}).get("assumed"), by_models=asks),
        _cost(run, by_models) if asks else None,
        Validated(validation(folder, run.space), _dict(manifest.get("review")), validated_on(run)) if asks else None,
        own_responses(run) if asks else None,
    )


def _labels(by_models: pa.Table, by_people: pa.Table, manifest: Mapping[str, Any]) -> Labels:
    models, people = (rows.filter(pc.equal(rows["status"], "ok")) for rows in (by_models, by_people))
    ratings = _dict(manifest.get("ratings"))
    nameless = ratings is not None and ratings.get("people") is None
    return Labels(
        models.num_rows,
        people.num_rows,
        tuple(sorted(pc.unique(models["model"].drop_null()).to_pylist())),
        len({*pc.unique(by_models["annotator_id"]).to_pylist()} - {POPULATION.id}),
        None if nameless else pc.count_distinct(people["annotator_id"]).as_py(),
    )


def _completeness(run: Run, table: pa.Table, asked: int, fitted: pa.Table, manifest: Mapping[str, Any]) -> Completeness:
    failed = table.filter(pc.invert(pc.fill_null(pc.equal(table["status"], "ok"), False)))
    reasons = pc.value_counts(pc.coalesce(failed["reason"], failed["status"])).to_pylist()
    stopped = (_dict(manifest.get("last_annotate")) or {}).get("stopped")
    return Completeness(
        items=fitted.num_rows,
        voted=judged_items(run.folder),
        asked=asked,
        expected=_expected(run, asked),
        at_most=run.recipe.early_stop is not None,
        failed=failed.num_rows,
        reasons=grouped({each["values"]: each["counts"] for each in reasons}, most=5),
        stopped=str(stopped) if stopped else None,
    )


def _expected(run: Run, asked: int) -> int:
    """How many annotations the recipe asks for; if an extension is not installed, how many there are."""
    try:
        return run.expected_annotations
    except DprmError:
        return asked


def _signal(run: Run, manifest: Mapping[str, Any], *, people: bool, stated: bool) -> Signal:
    panel = recorded_variance(manifest) or panel_variance(run.folder, run.space)
    among_people = panel_variance(run.folder, run.space, kind="human") if people else None
    alpha, people_alpha = _alpha(panel), _alpha(among_people)
    only_people = alpha.value is None and people_alpha.value is not None
    shown = among_people if only_people else panel or among_people
    return Signal(
        alpha=alpha,
        people_alpha=people_alpha,
        items=shown.components.items if shown else 0,
        personas=persona_sentence(panel.components) if panel else None,
        asked_twice=shown is not None and any(line.is_replicate for line in shown.components.likeness),
        warns=panel is not None and warns(panel.components),
        states_population=stated,
    )


def _alpha(found: PanelVariance | None) -> Interval:
    """Agreement beyond chance between different annotators of one item: of the pairs of ratings that share the least besides the item."""
    different = [line for line in found.components.likeness if not line.is_replicate] if found else []
    return min(different, key=lambda line: len(line.shares)).alpha if different else NOTHING


def _pairs(fitted: pa.Table, folder: RunFolder, assumed: bool | None, *, by_models: bool) -> PairCertainty:
    found = joint_probabilities(folder)
    if found is None:
        reward = fitted["expected_reward"].to_numpy().astype(np.float64)
        pairs = preferred_pairs(fitted["group_id"], np.where(fitted["evidence"].to_numpy() > 0, reward, np.nan))
        if fitted["reward_error"].null_count:  # an older version's folder
            return PairCertainty(len(pairs), None, None, by_models, assumed)
        found = probabilities(reward, fitted["reward_error"].to_numpy().astype(np.float64) ** 2, pairs)
    median = float(np.median(found)) if len(found) else None
    return PairCertainty(len(found), int((found > SURE).sum()), median, by_models, assumed)


def _cost(run: Run, by_models: pa.Table) -> Cost:
    priced = by_models.filter(pc.is_valid(by_models["cost"]))
    dollars = float(pc.sum(priced["cost"]).as_py() or 0.0)
    labels = pc.sum(pc.equal(priced["status"], "ok")).as_py() or 0
    return Cost(
        dollars=dollars if priced.num_rows else None,
        per_thousand_labels=1000 * dollars / labels if labels else None,
        unpriced=by_models.num_rows - priced.num_rows,
        at_most=bool(pc.sum(by_models["estimated_calls"]).as_py()),
        local=all(entry.name == "local" for entry in run.recipe.entries),
    )


# -- words ------------------------------------------------------------------------------------------------------------


def _meaning(alpha: Interval) -> str:
    if alpha.value is None or alpha.low is None or alpha.low <= 0:
        return "agreement beyond chance cannot be shown"
    if alpha.value < _TENTATIVE:
        return f"annotators agree beyond chance, but a single label is not reliable (α below {_TENTATIVE:g})"
    if alpha.value < _RELIABLE:
        return f"annotators agree well enough for tentative conclusions (α from {_TENTATIVE:g} to {_RELIABLE:g})"
    return f"annotators agree well (labels with α of {_RELIABLE:g} or more count as reliable)"


def _of_review(review: Mapping[str, Any]) -> str:
    """The review's result from the manifest; empty if an older version wrote it in another form."""
    try:
        distance, floor, excess = review["distance"]["value"], review["floor"], review["excess"]["low"]
        who = f"{counted(review['answers'], 'answer')} by {counted(review['people'], 'person', 'people')}"
        found = "the panel differs from people" if excess is not None and excess > 0 else "no difference can be shown"
        return (
            f"In a review with {who}, the panel's distance from people is {number(distance, 2)} (Wasserstein-1, in reward). "
            f"Sampling error alone gives {number(floor, 2)} with so few answers: {found}."
        )
    except (KeyError, TypeError):
        return ""


def _between(interval: Interval) -> str:
    ends = "" if interval.low is None else f" ({number(interval.low, 2)} to {number(interval.high, 2)})"
    return f"{number(interval.value, 2)}{ends}"


def _dict(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
