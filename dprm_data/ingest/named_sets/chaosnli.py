"""ChaosNLI: does a sentence follow from another? A hundred people for each of 3,113 pairs.

Source of the format: README.md of github.com/easonnie/ChaosNLI (section "Data and Format"): JSON lines with `uid`, `label_count` in the order entailment,
neutral, contradiction, and `example` with `premise` and `hypothesis`. The counts are all that is known. chaosNLI_alphanli.jsonl asks another question and is
not read.
"""

from __future__ import annotations

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.scales import steps
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows

_FILES = ("chaosNLI_snli.jsonl", "chaosNLI_mnli_m.jsonl")
_ORDER = ("entailment", "neutral", "contradiction")  # of label_count
ENTAILMENT = steps(
    "entailment",
    "Whether the second text is true, if the first is.",
    {
        "contradiction": "it is certainly false",
        "neutral": "it may be true or false",
        "entailment": "it is certainly true",
    },
)


def _read(files: SetFiles, votes: VoteRows) -> None:
    for name in _FILES:
        for place, row in files.rows(files.one(name), "uid", "label_count", "example"):
            files.require(row["example"], ("premise", "hypothesis"), f"{place}: example")
            counts = files.literal(row["label_count"], list, "label_count", place)
            if len(counts) != len(_ORDER):
                votes.leave_out(f"label_count has {len(counts)} numbers, not {len(_ORDER)}", place)
                continue
            premise, hypothesis = str(row["example"]["premise"]), str(row["example"]["hypothesis"])
            for label, count in zip(_ORDER, counts, strict=True):
                weight = files.number(count, "label_count", place)
                votes.add(row["uid"], premise, hypothesis, label, place, weight=weight)


SETS = (
    NamedSet(
        name="chaosnli",
        title="ChaosNLI: does a sentence follow from another (SNLI and MNLI)",
        question="If the first text is true, is the second text true, false, or can it not be said?",
        labels=ENTAILMENT,
        unit="count",
        raters="100",
        attributes=(),
        licence="CC BY-NC 4.0",
        citation="Nie, Zhou, Bansal 2020, What can we learn from collective human opinions on natural language inference data?, arXiv 2010.03532",
        source="https://github.com/easonnie/ChaosNLI",
        files=_FILES,
        leakage="Public since October 2020 (SNLI and MNLI since 2015 and 2017): models have seen the pairs, and may have seen the counts.",
        read=_read,
    ),
)
