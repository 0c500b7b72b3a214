"""SimBench: how groups of people answered the questions of twenty surveys and experiments.

Source of the format: the card of pitehu/SimBench (SimBenchPop.csv: a question a row, answered by all who took part; SimBenchGrouped.csv: by groups).
`human_answer` is a mapping, as Python writes it, from an option's letter to its share, or to its percentage; `group_prompt_variable_map` says which group;
`group_size` how many they were; `answer_options` (SimBenchGrouped) has the options' texts, which otherwise stand at the end of the question as "(A): …".
The dataset's .pkl files are not read: a pickle can run anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dprm_data.ingest.named_sets.named_set import NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.survey_scale import OWN_ANSWER, Options, choose_scale, is_answer
from dprm_data.ingest.named_sets.vote_rows import VoteRows, text_id

_OPTION = re.compile(r"^\s*\((\w{1,3})\)\s*:?\s*(\S.*?)\s*$", re.MULTILINE)


def _reader(file: str) -> Callable[[SetFiles, VoteRows], None]:
    def read(files: SetFiles, votes: VoteRows) -> None:
        rows = []
        needed = ("dataset_name", "input_template", "human_answer", "group_prompt_variable_map", "group_size")
        for place, row in files.rows(files.one(file), *needed):
            shares = files.literal(row["human_answer"], dict, "human_answer", place)
            texts = _option_texts(files, row, place)
            known = [texts[letter] for letter in map(str, shares) if letter in texts]
            if len(set(known)) < len(shares):
                votes.leave_out("the texts of the options are not known, or not distinct", place)
                continue
            rows.append((place, row, dict(zip(known, shares.values(), strict=True))))
        asked = {str(row["input_template"]): Options.of(list(shares)) for _, row, shares in rows}
        scale = choose_scale(votes, asked.values())
        for place, row, shares in rows:
            if asked[str(row["input_template"])].names == scale:
                _add(files, row, shares, place, votes)

    return read


def _option_texts(files: SetFiles, row: Mapping[str, Any], place: str) -> dict[str, str]:
    """The options' texts by letter."""
    given = str(row.get("answer_options") or "").strip()
    if given and given != "{}":
        options = files.literal(row["answer_options"], dict, "answer_options", place)
        return {str(letter): str(text).strip() for letter, text in options.items()}
    return dict(_OPTION.findall(str(row["input_template"])))


def _add(files: SetFiles, row: Mapping[str, Any], shares: Mapping[str, Any], place: str, votes: VoteRows) -> None:
    group = files.literal(row["group_prompt_variable_map"] or "{}", dict, "group_prompt_variable_map", place)
    about = {str(name).lower(): value for name, value in group.items()} | {"study": row["dataset_name"]}
    answers = {
        option: files.number(share or 0, "human_answer", place) for option, share in shares.items() if is_answer(option)
    }
    question, total = str(row["input_template"]), sum(answers.values())
    for option, share in answers.items() if total else ():
        people = share / total * files.number(row["group_size"], "group_size", place)
        votes.add(text_id(question), question, OWN_ANSWER, option, place, weight=people, attributes=about)


def _simbench(part: str, title: str, attributes: tuple[str, ...]) -> NamedSet:
    return NamedSet(
        name=f"simbench-{part.lower()}",
        title=title,
        question="The question itself: people gave their own answer to it; what would this person answer?",
        labels=None,
        unit="count",
        raters="`group_size` in the file",
        attributes=attributes,
        licence="CC BY-NC-SA 4.0",
        citation="Hu et al. 2025, SimBench: Benchmarking the ability of large language models to simulate human behaviors, arXiv 2510.17516",
        source="https://huggingface.co/datasets/pitehu/SimBench",
        files=(f"SimBench{part}.csv",),
        leakage="Public since 2025, and the twenty studies longer: a model may have seen the questions and their results.",
        read=_reader(f"SimBench{part}.csv"),
        hub="pitehu/SimBench",
    )


SETS = (
    _simbench("Pop", "SimBench: answers to questions of 20 studies", ("study",)),
    _simbench("Grouped", "SimBench: answers to questions of 5 surveys, by group", ("study", "the groups' own")),
)
