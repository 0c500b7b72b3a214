"""RM-Bench: three right and three wrong responses to a prompt, in the same three styles: concise, detailed plain text, detailed Markdown.

Source of the format: README.md of github.com/THU-KEG/RM-Bench (section "Dataset Details"): id, prompt, chosen and rejected (three texts each, in the order of
the styles), domain (chat, code, math, safety-refuse, safety-response).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dprm_data.ingest.judge_sets.judge_set import Case, JudgeSet, Part, asked, tables, texts
from dprm_data.ingest.named_sets.set_files import SetFiles

STYLES = 3


def _read(files: SetFiles, part: Part, left_out: Counter[str]) -> Iterator[Case]:
    for path in tables(files, part):
        for place, row in files.rows(path, "id", "prompt", "chosen", "rejected", "domain"):
            chosen, rejected = (texts(files, row[name], name, place) for name in ("chosen", "rejected"))
            if len(chosen) != STYLES or len(rejected) != STYLES:
                left_out["do not have three right and three wrong responses"] += 1
                continue
            domain, id_ = str(row["domain"]), str(row["id"])
            yield Case(
                case_id=f"{domain} {id_}",
                section=domain,
                prompt=asked(row["prompt"], place),
                responses=(*chosen, *rejected),
                right=(True,) * STYLES + (False,) * STYLES,
                group=f"{domain} {id_}",
            )


SETS = (
    JudgeSet(
        name="rm-bench",
        title="RM-Bench: right and wrong responses in three styles",
        licence="ODC-BY 1.0",
        citation="Liu et al. 2024, RM-Bench: Benchmarking Reward Models of Language Models with Subtlety and Style, arXiv 2410.16184",
        source="https://github.com/THU-KEG/RM-Bench and https://huggingface.co/datasets/THU-KEG/RM-Bench",
        parts=(Part("", "THU-KEG/RM-Bench", ("total_dataset.json", "*.parquet", "*.jsonl")),),
        leakage="Public since October 2024: a model may have been trained on it, or chosen by it.",
        read=_read,
    ),
)
