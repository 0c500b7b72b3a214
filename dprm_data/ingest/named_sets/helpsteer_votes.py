"""HelpSteer2 and 3: every annotator's rating of a response, and every annotator's preference among two.

Source of the formats: the cards of nvidia/HelpSteer2 (section "Disagreements": lists of ratings, one for each annotator, in place of their mean) and
nvidia/HelpSteer3 (section "Preference": `individual_preference`, -3 … 3). Neither says who rated, so the rows are counts. HelpSteer2 separates the turns of
a longer prompt by `<extra_id_1>User` and `<extra_id_1>Assistant`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dprm_data.core.conversation import text_of
from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows, listed, text_id

_TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n?")
HELPFULNESS = steps(
    "helpsteer2-helpfulness",
    "How helpful the response is to the prompt.",
    {
        "not helpful": "it misses completely what the person wanted",
        "barely helpful": "it mostly misses what the person wanted, but is of some small use",
        "partially helpful": "it helps in part, but misses the aim in some way",
        "mostly helpful": "it helps and is on the point, with room for improvement",
        "extremely helpful": "it does exactly what the person asked for",
    },
)
PREFERENCE = steps(
    "helpsteer3-preference",
    "Which of two responses is better, and by how much.",
    (
        "response 1 is much better",
        "response 1 is better",
        "response 1 is slightly better",
        "both are about the same",
        "response 2 is slightly better",
        "response 2 is better",
        "response 2 is much better",
    ),
    rewards=range(-3, 4),
)


def _read_helpsteer2(files: SetFiles, votes: VoteRows) -> None:
    path = files.one("disagreements/disagreements.jsonl.gz")
    for place, row in files.rows(path, "prompt", "response", "helpfulness"):
        prompt, response = _conversation(str(row["prompt"])), str(row["response"])
        ratings = files.literal(row["helpfulness"], list, "helpfulness", place)
        _add_counts(votes, text_id(prompt, response), prompt, response, ratings, 0, place)


def _read_helpsteer3(files: SetFiles, votes: VoteRows) -> None:
    for path in files.every("preference/*.jsonl.gz"):
        for place, row in files.rows(path, "context", "response1", "response2", "individual_preference"):
            context = files.literal(row["context"], list, "context", place)
            preferences = files.literal(row["individual_preference"], list, "individual_preference", place)
            for turn in context:
                files.require(turn, ("role", "content"), f"{place}: context")
            for said in preferences:
                files.require(said, ("score",), f"{place}: individual_preference")
            prompt = text_of(context) if context else ""
            response = listed({"Response 1": str(row["response1"]), "Response 2": str(row["response2"])})
            scores = [said["score"] for said in preferences]
            _add_counts(votes, text_id(prompt, response), prompt, response, scores, -3, place)


def _add_counts(
    votes: VoteRows, item: str, prompt: str, response: str, ratings: Iterable[Any], lowest: int, place: str
) -> None:
    """How many people gave each rating; `lowest` is the number of the first label."""
    assert votes.labels is not None
    for rating, times in Counter(each if isinstance(each, int | float) else str(each) for each in ratings).items():
        at = rating - lowest if isinstance(rating, int | float) and rating == int(rating) else -1
        label = votes.labels.names[int(at)] if 0 <= at < votes.labels.K else rating
        votes.add(item, prompt, response, label, place, weight=times)


def _conversation(prompt: str) -> str:
    first, *turns = _TURN.split(prompt)
    messages: list[Mapping[str, Any]] = [{"role": "user", "content": first}]
    messages += [
        {"role": role.lower(), "content": said}
        for role, said in zip(turns[::2], turns[1::2], strict=True)
        if said.strip()
    ]
    return text_of(messages)


SETS = (
    NamedSet(
        name="helpsteer2",
        title="HelpSteer2: helpfulness of answers, with every annotator's rating",
        question="How helpful is the response to the prompt?",
        labels=HELPFULNESS,
        unit="count",
        raters="2 to 6",
        attributes=(),
        licence="CC BY 4.0",
        citation="Wang et al. 2024, HelpSteer2: Open-source dataset for training top-performing reward models, arXiv 2406.08673",
        source="https://huggingface.co/datasets/nvidia/HelpSteer2",
        files=("disagreements/disagreements.jsonl.gz",),
        leakage="Public since June 2024 (the single ratings since late 2024), and widely used to train models and reward models.",
        read=_read_helpsteer2,
        hub="nvidia/HelpSteer2",
    ),
    NamedSet(
        name="helpsteer3",
        title="HelpSteer3: which of two answers is better, with every annotator's preference",
        question="Which response is better, and by how much?",
        labels=PREFERENCE,
        unit="count",
        raters="up to 3",
        attributes=(),
        licence="CC BY 4.0",
        citation="Wang et al. 2025, HelpSteer3-Preference: Open human-annotated preference data across diverse tasks and languages, arXiv 2505.11475",
        source="https://huggingface.co/datasets/nvidia/HelpSteer3",
        files=("preference/train.jsonl.gz", "preference/validation.jsonl.gz"),
        leakage="Public since March 2025, and widely used to train models and reward models.",
        read=_read_helpsteer3,
        hub="nvidia/HelpSteer3",
    ),
)
