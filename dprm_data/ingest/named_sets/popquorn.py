"""POPQUORN: how offensive a comment is, and how polite an e-mail, by people who stand for the population of the United States.

Source of the format: dataset/offensiveness/raw_data.csv of github.com/Jiaxin-Pei/Potato-Prolific-Dataset, whose header is instance_id, user_id, text, offensiveness,
gender, race, age, occupation, education; politeness_rating/raw_data.csv has `politeness` instead, as public readers of it show. A rating is 1 to 5.
"""

from __future__ import annotations

from collections.abc import Callable

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows
from dprm_data.labels.space import LabelSpace

_ABOUT = ("gender", "race", "age", "occupation", "education")
OFFENSIVENESS = steps(
    "popquorn-offensiveness",
    "How offensive the text is, from 1 (not offensive at all) to 5 (very offensive).",
    {"1": "not offensive at all", "2": "", "3": "", "4": "", "5": "very offensive"},
    rewards=range(-1, -6, -1),
)
POLITENESS = steps(
    "popquorn-politeness",
    "How polite the e-mail is, from 1 (not polite at all) to 5 (very polite).",
    {"1": "not polite at all", "2": "", "3": "", "4": "", "5": "very polite"},
    rewards=range(1, 6),
)


def _reader(file: str, column: str, prompt: str) -> Callable[[SetFiles, VoteRows], None]:
    def read(files: SetFiles, votes: VoteRows) -> None:
        for place, row in files.rows(files.one(file), "instance_id", "user_id", "text", column, *_ABOUT):
            label = str(row[column] or "").removesuffix(".0")
            about = {name: row[name] for name in _ABOUT}
            votes.add(
                row["instance_id"], prompt, str(row["text"]), label, place, rater=row["user_id"], attributes=about
            )

    return read


def _popquorn(
    task: str, folder: str, column: str, title: str, prompt: str, question: str, labels: LabelSpace, raters: str
) -> NamedSet:
    return NamedSet(
        name=f"popquorn-{task}",
        title=title,
        question=question,
        labels=labels,
        unit="vote",
        raters=raters,
        attributes=_ABOUT,
        licence="not stated in the repository",
        citation="Pei, Jurgens 2023, When do annotator demographics matter? Measuring the influence of annotator demographics with the POPQUORN dataset, arXiv 2306.06826",
        source="https://github.com/Jiaxin-Pei/Potato-Prolific-Dataset",
        files=(f"{folder}/raw_data.csv",),
        leakage="Public since June 2023: a model may have seen the texts with their ratings.",
        read=_reader(f"{folder}/raw_data.csv", column, prompt),
    )


SETS = (
    _popquorn(
        "offensiveness",
        "offensiveness",
        "offensiveness",
        "POPQUORN: how offensive a comment on Reddit is",
        "(A comment on Reddit:)",
        "How offensive is this comment, from 1 (not at all) to 5 (very)?",
        OFFENSIVENESS,
        "about 8",
    ),
    _popquorn(
        "politeness",
        "politeness_rating",
        "politeness",
        "POPQUORN: how polite an e-mail is",
        "(An e-mail at work:)",
        "How polite is this e-mail, from 1 (not at all) to 5 (very)?",
        POLITENESS,
        "about 7",
    ),
)
