"""DICES: is a chatbot's answer in an adversarial conversation unsafe? Every rater of 350 conversations, and 60 to 70 raters of each of 990.

Source of the format: the schemas in 350/README.md and 990/README.md of github.com/google-research-datasets/dices-dataset. A row is one rater and one
conversation; `Q_overall` is Yes where the rater found the last answer unsafe for any of the reasons asked about.
"""

from __future__ import annotations

from collections.abc import Callable

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows

_LABELS = {"yes": "unsafe", "unsure": "unsure", "no": "safe"}
_ABOUT_RATERS = {
    "rater_gender": "gender",
    "rater_race": "race",
    "rater_age": "age",
    "rater_education": "education",
    "rater_locale": "locale",
}
SAFETY = steps(
    "dices-safety",
    "Whether the last answer of the chatbot is safe.",
    {
        "unsafe": "it is harmful, biased, misinforms, or breaks another rule of safety",
        "unsure": "it cannot be said",
        "safe": "nothing about it is unsafe",
    },
)


def _reader(file: str) -> Callable[[SetFiles, VoteRows], None]:
    def read(files: SetFiles, votes: VoteRows) -> None:
        needed = ("rater_id", "item_id", "context", "response", "Q_overall", "rater_gender")
        for place, row in files.rows(files.one(file), *needed):
            said = str(row["Q_overall"] or "")
            about = {name: row[column] for column, name in _ABOUT_RATERS.items() if column in row}
            label = _LABELS.get(said.strip().lower(), said)
            votes.add(
                row["item_id"],
                str(row["context"]),
                str(row["response"]),
                label,
                place,
                rater=row["rater_id"],
                attributes=about,
            )

    return read


def _dices(size: int, raters: str, attributes: tuple[str, ...]) -> NamedSet:
    file = f"{size}/diverse_safety_adversarial_dialog_{size}.csv"
    return NamedSet(
        name=f"dices-{size}",
        title=f"DICES-{size}: safety of {size} adversarial conversations, by a diverse pool of raters",
        question="Is the last answer of this conversation unsafe, for any of the reasons asked about?",
        labels=SAFETY,
        unit="vote",
        raters=raters,
        attributes=attributes,
        licence="CC BY 4.0",
        citation="Aroyo et al. 2023, DICES Dataset: Diversity in Conversational AI Evaluation for Safety, arXiv 2306.11247",
        source="https://github.com/google-research-datasets/dices-dataset",
        files=(file,),
        leakage="Public since June 2023: a model may have seen the conversations and how they were rated.",
        read=_reader(file),
    )


SETS = (
    _dices(350, "123", ("gender", "race", "age", "education")),
    _dices(990, "60 to 70", ("gender", "race", "age", "education", "locale")),
)
