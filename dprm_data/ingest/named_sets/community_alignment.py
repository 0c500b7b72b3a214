"""Community Alignment: which of four very different answers people of five countries prefer.

Source of the format: the card of facebook/community-alignment-dataset (codebook: appendix I of arXiv 2507.09650) and public readers of community_alignment.csv. A row is
a conversation: `first_turn_prompt`, `first_turn_response_a` … `_d`, `first_turn_preferred_response` (`response_a` …), the same for later turns, and `annotator_…`. The
first turn is read, which many people share; later turns go on from what each preferred.
"""

from __future__ import annotations

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import choices
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows, listed, text_id

_LETTERS = "abcd"
_RESPONSES = {f"first_turn_response_{letter}": f"Response {letter.upper()}" for letter in _LETTERS}
_ABOUT = {
    "annotator_country": "country",
    "annotator_age": "age",
    "annotator_gender": "gender",
    "annotator_education_level": "education",
    "annotator_political": "political",
    "annotator_ethnicity": "ethnicity",
    "assigned_lang": "language",
}
PREFERRED = choices(
    "preferred-of-four",
    "Which of the four responses is the best.",
    {f"response {letter.upper()}": f"response {letter.upper()} is the best of the four" for letter in _LETTERS},
)


def _read(files: SetFiles, votes: VoteRows) -> None:
    needed = ("annotator_id", "first_turn_prompt", "first_turn_preferred_response", *_RESPONSES)
    for place, row in files.rows(files.one("community_alignment.csv"), *needed):
        texts = {name: str(row[column] or "").strip() for column, name in _RESPONSES.items()}
        if not all(text and text != "EMPTY STRING" for text in texts.values()):
            votes.leave_out("without four responses", place)
            continue
        prompt, response = str(row["first_turn_prompt"] or ""), listed(texts)
        label = str(row["first_turn_preferred_response"] or "").replace("_", " ")
        about = {name: row[column] for column, name in _ABOUT.items() if column in row}
        votes.add(
            text_id(prompt, response), prompt, response, label, place, rater=row["annotator_id"], attributes=about
        )


SETS = (
    NamedSet(
        name="community-alignment",
        title="Community Alignment: the best of four answers, by people of five countries, in five languages",
        question="Which of these four responses is the best?",
        labels=PREFERRED,
        unit="vote",
        raters="10 or more for 2,500 prompts, else 1",
        attributes=tuple(_ABOUT.values()),
        licence="CC BY 4.0",
        citation="Zhang et al. 2025, Cultivating pluralism in algorithmic monoculture: The Community Alignment dataset, arXiv 2507.09650",
        source="https://huggingface.co/datasets/facebook/community-alignment-dataset",
        files=("community_alignment.csv",),
        leakage="Public since July 2025: models trained before have not seen it.",
        read=_read,
        hub="facebook/community-alignment-dataset",
    ),
)
