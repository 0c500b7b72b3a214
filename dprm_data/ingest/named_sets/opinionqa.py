"""OpinionQA: how the members of Pew's American Trends Panel, of whom much is known, answer questions about many subjects.

Source of the format: github.com/tatsu-lab/opinions_qa (README.md; info.csv and metadata.csv in data/human_resp/American_Trends_Panel_W26). A wave's folder has
info.csv (a question a row: `key`, `question`; `references`, its options, and `option_ordinal`, their places, as lists that Python writes) and
responses.csv (a person a row: an answer in each question's column, the columns of metadata.csv, and a weight WEIGHT_W…). The repository itself holds
counts by group instead of responses.csv, whose groups overlap; the archive at CodaLab that it names has the people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dprm_data.core.errors import VotesError
from dprm_data.ingest.column_values import cell
from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.survey_scale import OWN_ANSWER, Options, choose_scale, is_answer
from dprm_data.ingest.named_sets.vote_rows import VoteRows

_ABOUT = (
    *("CREGION", "AGE", "SEX", "EDUCATION", "CITIZEN", "MARITAL", "RELIG", "RELIGATTEND", "POLPARTY", "INCOME"),
    *("POLIDEOLOGY", "RACE"),
)
_SOURCE = "https://worksheets.codalab.org/worksheets/0x6fb693719477478aac73fc07db333f69"


def _read(files: SetFiles, votes: VoteRows) -> None:
    waves = {path: _questions(files, path) for path in files.every("American_Trends_Panel_W*/info.csv")}
    scale = choose_scale(votes, (options for questions in waves.values() for _, options in questions.values()))
    for info, questions in waves.items():
        wanted = {key: text for key, (text, options) in questions.items() if options.names == scale}
        if wanted:
            _answers(files, _responses(info), wanted, votes)


def _questions(files: SetFiles, path: Path) -> dict[str, tuple[str, Options]]:
    """A wave's questions by key, with their options."""
    found = {}
    for place, row in files.rows(path, "key", "question", "references", "option_ordinal"):
        options = [str(option) for option in files.literal(row["references"], list, "references", place)]
        ordinal = files.literal(row["option_ordinal"], list, "option_ordinal", place)
        found[str(row["key"])] = (str(row["question"]), Options.of(options, ordinal))
    return found


def _responses(info: Path) -> Path:
    path = info.with_name("responses.csv")
    if not path.is_file():
        raise VotesError(
            f"{info.parent}: no file responses.csv, which opinionqa needs",
            hint=f"The repository at GitHub has counts by group only. The archive human_resp at {_SOURCE} has each person's answers.",
        )
    return path


def _answers(files: SetFiles, path: Path, questions: Mapping[str, str], votes: VoteRows) -> None:
    wave = path.parent.name.rpartition("_")[2]
    for number, (place, row) in enumerate(files.rows(path, *questions)):
        weighted = next((name for name in row if name.startswith("WEIGHT")), None)
        weight = files.number(row[weighted], weighted, place) if weighted else 1.0
        about = {name.lower(): row[name] for name in _ABOUT if name in row and is_answer(str(row[name]))}
        for key, question in questions.items():
            said = cell(row[key])
            if said is None:  # they were not asked
                continue
            if is_answer(str(said)):
                rater = row.get("QKEY") or f"{wave}-{number}"
                votes.add(key, question, OWN_ANSWER, said, place, rater=rater, weight=weight, attributes=about)
            else:
                votes.leave_out(f"the answer is {said!r}", place)


SETS = (
    NamedSet(
        name="opinionqa",
        title="OpinionQA: each panel member's answers to questions of Pew's American Trends Panel",
        question="The question itself: people gave their own answer to it; what would this person answer?",
        labels=None,
        unit="vote",
        raters="2,000 to 10,000, with survey weights",
        attributes=tuple(name.lower() for name in _ABOUT),
        licence="not stated; the answers are Pew Research Center's, under its terms of use",
        citation="Santurkar et al. 2023, Whose opinions do language models reflect?, arXiv 2303.17548",
        source=_SOURCE,
        files=("American_Trends_Panel_W*/info.csv", "American_Trends_Panel_W*/responses.csv"),
        leakage="Public since March 2023, and Pew's reports on each wave longer: a model may have seen how Americans answered.",
        read=_read,
    ),
)
