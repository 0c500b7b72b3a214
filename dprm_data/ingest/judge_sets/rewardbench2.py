"""RewardBench 2: one right response of four in five subsets; and Ties, where several responses are right and none should be far above another.

Source of the format: `scripts/run_v2.py` and `load_bon_dataset_v2` in `rewardbench/utils.py` of github.com/allenai/reward-bench, and the columns of
allenai/reward-bench-2 on the Hugging Face Hub: id, prompt, chosen and rejected (lists of texts), num_correct, subset. In Ties an id is `tied:7`, with several
right responses, or `ref:7`, the question beside it that has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from dprm_data.ingest.judge_sets.judge_set import Case, JudgeSet, Part, asked, tables, texts
from dprm_data.ingest.named_sets.set_files import SetFiles

TIES = "Ties"


def _read(files: SetFiles, part: Part, left_out: Counter[str]) -> Iterator[Case]:
    for path in tables(files, part):
        for place, row in files.rows(path, "id", "prompt", "chosen", "rejected", "subset"):
            chosen, rejected = (texts(files, row[name], name, place) for name in ("chosen", "rejected"))
            if not chosen or not rejected:
                left_out["have no right or no wrong response"] += 1
                continue
            section, id_ = str(row["subset"]), str(row["id"])
            section = TIES if section.lower() == "ties" else section
            ties = section == TIES and ":" in id_
            yield Case(
                case_id=f"{section} {id_}",
                section=section,
                prompt=asked(row["prompt"], place),
                responses=(*chosen, *rejected),
                right=(True,) * len(chosen) + (False,) * len(rejected),
                group=f"{section} {id_.partition(':')[2] if ties else id_}",
            )


SETS = (
    JudgeSet(
        name="rewardbench2",
        title="RewardBench 2: the best of four, and ties",
        licence="ODC-BY 1.0",
        citation="Malik et al. 2025, RewardBench 2: Advancing Reward Model Evaluation, arXiv 2506.01937",
        source="https://huggingface.co/datasets/allenai/reward-bench-2",
        parts=(Part("", "allenai/reward-bench-2", ("data/*.parquet", "*.jsonl", "*.json")),),
        leakage="Public since June 2025: a model may have been trained on it, or chosen by it.",
        read=_read,
    ),
)
