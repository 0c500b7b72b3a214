"""GlobalOpinionQA: how the people of many countries answer questions of the World Values Survey and of Pew's Global Attitudes Survey.

Source of the format: the card and data/global_opinions.csv of Anthropic/llm_global_opinions: `question`; `options`, a list as Python writes it; `selections`, a
defaultdict as Python writes it, from a country to the share of each option; `source`, WVS or GAS.
"""

from __future__ import annotations

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.survey_scale import OWN_ANSWER, Options, choose_scale, is_answer
from dprm_data.ingest.named_sets.vote_rows import VoteRows, text_id


def _read(files: SetFiles, votes: VoteRows) -> None:
    asked = []
    for place, row in files.rows(files.one("data/global_opinions.csv"), "question", "selections", "options"):
        if not str(row["question"]).strip() or not str(row["options"]).strip():
            votes.leave_out("without a question or options", place)
            continue
        options = [str(option) for option in files.literal(row["options"], list, "options", place)]
        asked.append((place, str(row["question"]), options, row["selections"]))
    scale = choose_scale(votes, (Options.of(options) for _, _, options, _ in asked))
    for place, question, options, selections in asked:
        if Options.of(options).names != scale:
            continue
        for country, shares in files.literal(selections, dict, "selections", place).items():
            if not isinstance(shares, list) or len(shares) != len(options):
                votes.leave_out("a country without a share for each option", place)
                continue
            answers = [
                (option.strip(), files.number(share, "selections", place))
                for option, share in zip(options, shares, strict=True)
                if is_answer(option)
            ]
            total = sum(share for _, share in answers)
            for option, share in answers if total else ():
                votes.add(
                    text_id(question),
                    question,
                    OWN_ANSWER,
                    option,
                    place,
                    weight=share / total,
                    attributes={"country": country},
                )


SETS = (
    NamedSet(
        name="globalopinionqa",
        title="GlobalOpinionQA: answers to survey questions, by country",
        question="The question itself: people gave their own answer to it; what would this person answer?",
        labels=None,
        unit="share",
        raters="shares by country; how many people is not in the file",
        attributes=("country",),
        licence="CC BY-NC-SA 4.0",
        citation="Durmus et al. 2023, Towards measuring the representation of subjective global opinions in language models, arXiv 2306.16388",
        source="https://huggingface.co/datasets/Anthropic/llm_global_opinions",
        files=("data/global_opinions.csv",),
        leakage="Public since June 2023, and the surveys' results longer: a model may have seen how countries answer.",
        read=_read,
        hub="Anthropic/llm_global_opinions",
    ),
)
