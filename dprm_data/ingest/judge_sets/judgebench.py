"""JudgeBench: pairs of responses by one model to a hard question with a known answer, of which one is right.

Source of the format: README.md of github.com/ScalerLab/JudgeBench (section "Data"): pair_id, source, question, response_model, response_A, response_B, label
("A>B" or "B>A"). The four categories are those of the questions' sources, as in arXiv 2410.12784.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dprm_data.ingest.judge_sets.judge_set import Case, JudgeSet, Part, asked, tables
from dprm_data.ingest.named_sets.set_files import SetFiles

_CATEGORIES = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
_NEEDED = ("pair_id", "source", "question", "response_model", "response_A", "response_B", "label")


def _read(files: SetFiles, part: Part, left_out: Counter[str]) -> Iterator[Case]:
    for path in tables(files, part):
        for place, row in files.rows(path, *_NEEDED):
            label = str(row["label"]).strip()
            if label not in ("A>B", "B>A"):
                left_out["say of neither response that it is better"] += 1
                continue
            source = str(row["source"])
            category = next((name for start, name in _CATEGORIES.items() if source.startswith(start)), source)
            yield Case(
                case_id=f"{row['response_model']} {row['pair_id']}",
                section=f"{row['response_model']}: {category}",
                prompt=asked(row["question"], place),
                responses=(str(row["response_A"]), str(row["response_B"])),
                right=(label == "A>B", label == "B>A"),
                group=str(row["question"]),
            )


SETS = (
    JudgeSet(
        name="judgebench",
        title="JudgeBench: pairs of a right and a wrong response",
        licence="MIT",
        citation="Tan et al. 2024, JudgeBench: A Benchmark for Evaluating LLM-Based Judges, arXiv 2410.12784",
        source="https://github.com/ScalerLab/JudgeBench and https://huggingface.co/datasets/ScalerLab/JudgeBench",
        parts=(Part("", "ScalerLab/JudgeBench", ("data/*.jsonl", "data/*.parquet", "*.parquet")),),
        leakage="Public since October 2024, and its questions longer: a model may have seen both.",
        read=_read,
    ),
)
