"""PPE: people's preferences among two responses, from Chatbot Arena; and 32 responses of one model to questions with a known answer, from five benchmarks.

Source of the formats: the columns of the six datasets of lmarena-ai on the Hugging Face Hub (PPE-Human-Preference-V1: question_id, prompt, response_1, response_2,
winner; PPE-MMLU-Pro-Best-of-K and others: question_id, prompt, response_1 … response_32, scores, sampled_conflict_pairs, which are numbers of two responses from 0,
one right and one wrong), and arXiv 2410.14872. `winner` is model_a for response_1, model_b for response_2; what else it says is a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dprm_data.core.errors import VotesError
from dprm_data.ingest.judge_sets.judge_set import Case, JudgeSet, Part, asked, tables
from dprm_data.ingest.named_sets.set_files import SetFiles

PEOPLE = "human preference"
_PEOPLE_FOLDER = "PPE-Human-Preference-V1"
CORRECTNESS = {
    "PPE-MMLU-Pro-Best-of-K": "mmlu-pro",
    "PPE-MATH-Best-of-K": "math",
    "PPE-GPQA-Best-of-K": "gpqa",
    "PPE-IFEval-Best-of-K": "ifeval",
    "PPE-MBPP-Plus-Best-of-K": "mbpp-plus",
}
_WINNERS = {"model_a": (True, False), "model_b": (False, True)}


def _read(files: SetFiles, part: Part, left_out: Counter[str]) -> Iterator[Case]:
    if part.folder == _PEOPLE_FOLDER:
        yield from _preferences(files, part, left_out)
    else:
        yield from _sampled(files, part)


def _preferences(files: SetFiles, part: Part, left_out: Counter[str]) -> Iterator[Case]:
    for path in tables(files, part):
        for place, row in files.rows(path, "question_id", "prompt", "response_1", "response_2", "winner"):
            right = _WINNERS.get(str(row["winner"]))
            if right is None:
                left_out["of people's preferences are ties"] += 1
                continue
            yield Case(
                case_id=f"{PEOPLE} {row['question_id']}",
                section=PEOPLE,
                prompt=asked(row["prompt"], place),
                responses=(str(row["response_1"]), str(row["response_2"])),
                right=right,
                group=str(row["prompt"]),
            )


def _sampled(files: SetFiles, part: Part) -> Iterator[Case]:
    section = CORRECTNESS[part.folder]
    for path in tables(files, part):
        for place, row in files.rows(path, "question_id", "prompt", "response_1", "scores", "sampled_conflict_pairs"):
            scores = [float(each) for each in files.literal(row["scores"], list, "scores", place)]
            names = [f"response_{number}" for number in range(1, len(scores) + 1)]
            files.require(row, names, place)
            right = tuple(each > 0.5 for each in scores)
            yield Case(
                case_id=f"{section} {row['question_id']} {row.get('model_name') or ''}".strip(),
                section=section,
                prompt=asked(row["prompt"], place),
                responses=tuple(str(row[name]) for name in names),
                right=right,
                group=f"{section} {row['question_id']}",
                pairs=tuple(_pairs(files, row, right, place)),
            )


def _pairs(files: SetFiles, row: Mapping[str, Any], right: tuple[bool, ...], place: str) -> Iterator[tuple[int, int]]:
    """The sampled pairs, the right response first. Raises `VotesError` for a pair that is none."""
    for pair in files.literal(row["sampled_conflict_pairs"] or [], list, "sampled_conflict_pairs", place):
        first, second = (int(number) for number in pair)
        if not (0 <= first < len(right) and 0 <= second < len(right)) or right[first] == right[second]:
            raise VotesError(
                f"{place}: sampled_conflict_pairs has {[first, second]}, which are not a right and a wrong response",
                hint=f"Responses are numbered from 0, and there are {len(right)}. Fetch the file again.",
            )
        yield (first, second) if right[first] else (second, first)


def _part(name: str) -> Part:
    return Part(name, f"lmarena-ai/{name}", ("data/*.parquet", "*.parquet", "*.jsonl"))


SETS = (
    JudgeSet(
        name="ppe",
        title="PPE: people's preferences, and the correctness of sampled responses",
        licence="of the datasets' cards: prompts CC BY 4.0, responses under their providers' terms",
        citation="Frick et al. 2024, How to Evaluate Reward Models for RLHF, arXiv 2410.14872",
        source="https://huggingface.co/lmarena-ai",
        parts=(_part(_PEOPLE_FOLDER), *map(_part, CORRECTNESS)),
        leakage="Public since October 2024, and drawn from Chatbot Arena and public benchmarks: a model may have seen both prompts and answers.",
        read=_read,
    ),
)
