"""The eight sets of LeWiDi 2023 and 2025: what was asked of which texts, and on which scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dprm_data.ingest.named_sets.chaosnli import ENTAILMENT
from dprm_data.ingest.named_sets.convabuse import SEVERITY, conversation
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.labels.space import LabelSpace

_TASK_2023 = "Leonardelli et al. 2023, SemEval-2023 task 11: Learning with disagreements, arXiv 2304.14803"
_TASK_2025 = "Leonardelli et al. 2025, LeWiDi-2025 at NLPerspectives, arXiv 2510.08460"
_TWEET = "(A post on Twitter:)"


@dataclass(frozen=True)
class Task:
    """A set of a shared task. folder: how its files begin; fields: of an item's text, if that is an object: what came before, and what is judged; prompt: where it is
    not. words: from what the files have to the name of a label."""

    name: str
    folder: str
    year: int
    title: str
    question: str
    labels: LabelSpace
    raters: str
    citation: str
    licence: str = "not stated for the shared task; that of the set's authors"
    attributes: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    prompt: str = ""
    words: Mapping[str, str] = field(default_factory=dict)

    def joined(self, text: Mapping[str, Any]) -> tuple[str, str]:
        """What came before, and what is judged."""
        return conversation(text) if len(self.fields) > 2 else (str(text[self.fields[0]]), str(text[self.fields[1]]))


def _either(name: str, no: str, yes: str) -> tuple[LabelSpace, dict[str, str]]:
    """A scale of two, and how the files write it. What is asked about is never a virtue, so no is worth more."""
    return steps(name, f"Whether the text is {yes}.", (yes, no)), {"0": no, "1": yes}


_SARCASM = steps(
    "sarcasm",
    "How sarcastic the response is, from 1 (not at all) to 6 (completely).",
    {"1": "not sarcastic at all", "2": "", "3": "", "4": "", "5": "", "6": "completely sarcastic"},
    rewards=range(1, 7),
)
_PARAPHRASE = steps(
    "paraphrase",
    "How much the second question says the same as the first, from -5 (not at all) to 5 (exactly).",
    {str(step): {-5: "something else", 5: "exactly the same"}.get(step, "") for step in range(-5, 6)},
    rewards=range(-5, 6),
)
_IRONY, _IRONY_WORDS = _either("irony", "not ironic", "ironic")
_OFFENSIVE, _OFFENSIVE_WORDS = _either("offensive", "not offensive", "offensive")
_HATE, _HATE_WORDS = _either("hate-speech", "no hate speech", "hate speech")
_MISOGYNY, _MISOGYNY_WORDS = _either("misogyny", "not misogynistic or sexist", "misogynistic or sexist")
_ABUSE_WORDS = {f"{reward:.0f}": name for reward, name in zip(SEVERITY.rewards, SEVERITY.names, strict=True)}

TASKS = (
    Task(
        name="csc",
        folder="CSC",
        year=2025,
        title="LeWiDi 2025, CSC: how sarcastic an answer is",
        question="How sarcastic is the response in this situation, from 1 (not at all) to 6 (completely)?",
        labels=_SARCASM,
        raters="4 to 6",
        citation=f"Jang, Frassinelli 2024, Generalizable sarcasm detection is just around the corner, of course!; {_TASK_2025}",
        attributes=("age", "gender"),
        fields=("context", "response"),
    ),
    Task(
        name="mp",
        folder="MP",
        year=2025,
        title="LeWiDi 2025, MultiPICo: whether a reply is ironic, in nine languages",
        question="Is the reply to this post ironic?",
        labels=_IRONY,
        words=_IRONY_WORDS,
        raters="about 5",
        citation=f"Casola et al. 2024, MultiPICo: Multilingual perspectivist irony corpus; {_TASK_2025}",
        attributes=(
            *("age", "gender", "nationality", "ethnicity_simplified", "country_of_birth", "country_of_residence"),
            *("student_status", "employment_status"),
        ),
        fields=("post", "reply"),
    ),
    Task(
        name="par",
        folder="Paraphrase",
        year=2025,
        title="LeWiDi 2025, Par: whether two questions ask the same",
        question="How much does the second question ask the same as the first, from -5 (not at all) to 5 (exactly)?",
        labels=_PARAPHRASE,
        raters="4",
        citation=_TASK_2025,
        attributes=("age", "gender", "nationality", "education"),
        fields=("Question1", "Question2"),
    ),
    Task(
        name="varierrnli",
        folder="VariErrNLI",
        year=2025,
        title="LeWiDi 2025, VariErr NLI: whether a sentence follows from another",
        question="If the first text is true, is the second text true, false, or can it not be said?",
        labels=ENTAILMENT,
        raters="4",
        citation=f"Weber-Genzel et al. 2024, VariErr NLI: Separating annotation error from human label variation; {_TASK_2025}",
        attributes=("age", "gender", "nationality", "education"),
        fields=("context", "statement"),
    ),
    Task(
        name="md-agreement",
        folder="MD-Agreement",
        year=2023,
        title="LeWiDi 2023, MD-Agreement: whether a tweet is offensive",
        question="Is this tweet offensive?",
        labels=_OFFENSIVE,
        words=_OFFENSIVE_WORDS,
        raters="5",
        citation=f"Leonardelli et al. 2021, Agreeing to disagree, arXiv 2109.13563; {_TASK_2023}",
        prompt=_TWEET,
    ),
    Task(
        name="hs-brexit",
        folder="HS-Brexit",
        year=2023,
        title="LeWiDi 2023, HS-Brexit: whether a tweet on Brexit is hate speech, by three Muslim immigrants and three others",
        question="Is this tweet hate speech?",
        labels=_HATE,
        words=_HATE_WORDS,
        raters="6",
        citation=f"Akhtar, Basile, Patti 2021, Whose opinions matter?, arXiv 2106.15896; {_TASK_2023}",
        attributes=("group",),
        prompt=_TWEET,
    ),
    Task(
        name="armis",
        folder="ArMIS",
        year=2023,
        title="LeWiDi 2023, ArMIS: whether an Arabic tweet is misogynistic or sexist",
        question="Is this tweet misogynistic or sexist?",
        labels=_MISOGYNY,
        words=_MISOGYNY_WORDS,
        raters="3",
        citation=f"Almanea, Poesio 2022, ArMIS: The Arabic misogyny and sexism corpus; {_TASK_2023}",
        attributes=("group",),
        prompt=_TWEET,
    ),
    Task(
        name="convabuse",
        folder="ConvAbuse",
        year=2023,
        title="LeWiDi 2023, ConvAbuse: abuse of chatbots by their users, and how strong it is",
        question="How abusive is the user's last utterance in this conversation?",
        labels=SEVERITY,
        words=_ABUSE_WORDS,
        raters="3 or more",
        citation=f"Cercas Curry, Abercrombie, Rieser 2021, ConvAbuse, arXiv 2109.09483; {_TASK_2023}",
        fields=("prev_agent", "prev_user", "agent", "user"),
    ),
)
