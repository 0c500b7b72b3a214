"""PRISM: people from many countries rate the answers of several models to a prompt of their own, from terrible (1) to perfect (100).

Source of the format: data/prism_datacard.md and README.md of github.com/HannahKirk/prism-alignment (utterances.jsonl: one scored answer a row; survey.jsonl:
one person a row, whose religion, ethnicity and location are objects), and the codebook that they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows, text_id

_BAND = 10  # scores that are one label
_PLAIN = ("age", "gender", "education", "employment_status", "marital_status", "english_proficiency", "study_locale")
_NESTED = {
    "religion": ("religion", "simplified"),
    "ethnicity": ("ethnicity", "simplified"),
    "birth_region": ("location", "birth_region"),
    "reside_region": ("location", "reside_region"),
    "reside_country": ("location", "reside_country"),
}
_FIRST = range(1, 101, _BAND)
SCORE = steps(
    "prism-score",
    "How good the response is, from terrible (1) to perfect (100).",
    [f"{first} to {first + _BAND - 1}" for first in _FIRST],
    rewards=[first + (_BAND - 1) / 2 for first in _FIRST],
)


def _read(files: SetFiles, votes: VoteRows) -> None:
    people = {str(row["user_id"]): _about(row) for _, row in files.rows(files.one("survey.jsonl"), "user_id")}
    needed = ("user_id", "turn", "user_prompt", "model_response", "score")
    later = 0
    for place, row in files.rows(files.one("utterances.jsonl"), *needed):
        if row["turn"] != 0:
            later += 1
            continue
        prompt, response = str(row["user_prompt"] or ""), str(row["model_response"] or "")
        rater = str(row["user_id"])
        votes.add(
            text_id(prompt, response),
            prompt,
            response,
            _label(row["score"]),
            place,
            rater=rater,
            attributes=people.get(rater),
        )
    votes.notes.append(f"the scores from 1 to 100 are read in {SCORE.K} steps of {_BAND}")
    if later:
        votes.notes.append(
            f"answers in later turns are left out, as their rows are without the turns before: {later:,}"
        )


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: row.get(outer) for name, (outer, _) in _NESTED.items()}
    inner = {
        name: value.get(_NESTED[name][1]) if isinstance(value, Mapping) else value for name, value in nested.items()
    }
    return {name: row.get(name) for name in _PLAIN} | inner


def _label(score: Any) -> Any:
    """The step of a score; what is none stays as it is, and is then not on the scale."""
    if isinstance(score, int | float) and 1 <= score <= 100:
        return SCORE.names[min((int(score) - 1) // _BAND, SCORE.K - 1)]
    return score


SETS = (
    NamedSet(
        name="prism",
        title="PRISM: answers of 21 models, each scored by the person who asked, of 38 countries",
        question="How good is this response to your prompt, from terrible (1) to perfect (100)?",
        labels=SCORE,
        unit="vote",
        raters="1",
        attributes=(*_PLAIN, *_NESTED),
        licence="CC BY 4.0 (what people wrote); CC BY-NC 4.0 and the models' own licences (answers)",
        citation="Kirk et al. 2024, The PRISM Alignment Dataset, arXiv 2404.16019",
        source="https://huggingface.co/datasets/HannahRoseKirk/prism-alignment",
        files=("survey.jsonl", "utterances.jsonl"),
        leakage="Public since April 2024: a model may have seen the conversations with their scores.",
        read=_read,
        hub="HannahRoseKirk/prism-alignment",
    ),
)
