"""ConvAbuse: is what a person says to a chatbot abusive, and how strongly? By experts in gender studies.

Source of the format: README.md of github.com/amandacurry/convabuse and the header of 1_full/ConvAbuseEMNLPfull.csv: a row is one annotator and one conversation of
four turns; of the columns is_abuse.1 … is_abuse.-3 the one that was chosen holds 1. A turn that there is not is written `_`. Some conversations were
annotated twice by the same person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows, text_id

SEVERITY = steps(
    "abuse-severity",
    "How abusive the last utterance of the user is.",
    ("very strongly abusive", "strongly abusive", "mildly abusive", "ambiguous", "not abusive"),
    rewards=range(-3, 2),
)
_COLUMNS = {f"is_abuse.{reward:.0f}": name for reward, name in zip(SEVERITY.rewards, SEVERITY.names, strict=True)}
_BEFORE = ("prev_agent", "prev_user", "agent")


def conversation(turns: Mapping[str, Any]) -> tuple[str, str]:
    """What was said before, and the user's last utterance."""
    before = {name: str(turns[name]).strip() for name in _BEFORE}
    said = [
        f"{'USER' if 'user' in name else 'AGENT'}: {text}" for name, text in before.items() if text not in ("", "_")
    ]
    return "\n".join(said) or "(The conversation begins.)", f"USER: {turns['user']}"


def _read(files: SetFiles, votes: VoteRows) -> None:
    path = files.one("1_full/ConvAbuseEMNLPfull.csv")
    for place, row in files.rows(path, "annotator_id", *_BEFORE, "user", *_COLUMNS):
        before, said = conversation(row)
        chosen = [name for column, name in _COLUMNS.items() if str(row[column]).strip() in ("1", "1.0")]
        if len(chosen) > 1:
            votes.leave_out("more than one degree of abuse is marked", place)
            continue
        label = chosen[0] if chosen else None
        votes.add(text_id(before, said), before, said, label, place, rater=row["annotator_id"])


SETS = (
    NamedSet(
        name="convabuse",
        title="ConvAbuse: abuse of chatbots by their users, and how strong it is",
        question="How abusive is the user's last utterance in this conversation?",
        labels=SEVERITY,
        unit="vote",
        raters="about 3 of 8",
        attributes=(),
        licence="CC BY 4.0",
        citation="Cercas Curry, Abercrombie, Rieser 2021, ConvAbuse: Data, analysis, and benchmarks for nuanced abuse detection in conversational AI, arXiv 2109.09483",
        source="https://github.com/amandacurry/convabuse",
        files=("1_full/ConvAbuseEMNLPfull.csv",),
        leakage="Public since November 2021, also in shared tasks: a model may have seen the conversations with their labels.",
        read=_read,
    ),
)
