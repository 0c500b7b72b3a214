"""SubPOP: how subpopulations of the United States answer questions of Pew's American Trends Panel and of the General Social Survey.

Source of the format: arXiv 2502.16761, github.com/JosephJeesungSuh/subpop, and public readers of jjssuh/subpop: subpop_train.jsonl and subpop_eval.jsonl have
a row for each question and group: `qkey`, `attribute`, `group`, `question`; `options`, of which the last is a refusal; `responses`, the shares of the others
(sum 1); `ordinal`, their places. Access to the dataset has to be asked for.
"""

from __future__ import annotations

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.survey_scale import OWN_ANSWER, Options, choose_scale
from dprm_data.ingest.named_sets.vote_rows import VoteRows


def _read(files: SetFiles, votes: VoteRows) -> None:
    rows, asked = [], {}
    for path in files.every("subpop_*.jsonl"):
        for place, row in files.rows(path, "qkey", "attribute", "group", "question", "options", "responses", "ordinal"):
            given, shares, ordinal = (
                files.literal(row[name], list, name, place) for name in ("options", "responses", "ordinal")
            )
            if len(given) != len(shares) + 1:
                votes.leave_out("the options are not those of the responses, and a refusal", place)
                continue
            options = Options.of(list(map(str, given[:-1])), ordinal)
            asked[str(row["qkey"])] = options
            rows.append((place, row, options))
    scale = choose_scale(votes, asked.values())
    for place, row, options in rows:
        if options.names != scale:
            continue
        about = {str(row["attribute"]).lower(): row["group"]}
        for option, share in zip(scale, row["responses"], strict=True):
            votes.add(
                row["qkey"],
                str(row["question"]),
                OWN_ANSWER,
                option,
                place,
                weight=files.number(share, "responses", place),
                attributes=about,
            )


SETS = (
    NamedSet(
        name="subpop",
        title="SubPOP: answers to survey questions, by subpopulation of the United States",
        question="The question itself: people gave their own answer to it; what would this person answer?",
        labels=None,
        unit="share",
        raters="shares by group; how many people is not in the file",
        attributes=("age", "cregion", "education", "income", "polideology", "polparty", "race", "relig", "sex"),
        licence="CC BY-NC-SA 4.0, access on request",
        citation="Suh et al. 2025, Language model fine-tuning on scaled survey data for predicting distributions of public opinions, arXiv 2502.16761",
        source="https://huggingface.co/datasets/jjssuh/subpop",
        files=("subpop_train.jsonl", "subpop_eval.jsonl"),
        leakage="Public since February 2025 (on request), and the surveys' results longer: a model may have seen how groups answer.",
        read=_read,
        hub="jjssuh/subpop",
    ),
)
