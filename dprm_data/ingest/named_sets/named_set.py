"""What a named set is: what people were asked, on which scale, who they were, where the files are, and what may be done with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dprm_data.ingest.named_sets.set_files import SetFiles
from dprm_data.ingest.named_sets.vote_rows import VoteRows
from dprm_data.labels.space import LabelSpace

Unit = Literal["vote", "count", "share"]


@dataclass(frozen=True)
class NamedSet:
    """A public set of people's votes.

    question: what people were asked, in words.
    labels: the scale; None where every question has options of its own. Then the questions of one scale are read, and `LoadedSet.labels` has it.
    unit: what a row of the table is. "vote": one label by one rater. "count": how many people (`weight`) gave a label; who they were is not known.
    "share": which part of a group (`weight`) gave a label; how many people the group had is not known.
    raters: how many people judged an item; attributes: what is known of them (the table's columns may be fewer, where a file lacks some).
    files: what a folder is expected to hold. They may lie in any folder below it, and may be unpacked.
    source: where the files are from; hub: the dataset on the Hugging Face Hub that has these very files, if one does.
    leakage: since when a model may have seen the set.
    """

    name: str
    title: str
    question: str
    labels: LabelSpace | None
    unit: Unit
    raters: str
    attributes: tuple[str, ...]
    licence: str
    citation: str
    source: str
    files: tuple[str, ...]
    leakage: str
    read: Callable[[SetFiles, VoteRows], None]
    hub: str | None = None

    @property
    def levels(self) -> str:
        """The number of labels, in words."""
        return f"{self.labels.K}" if self.labels else "by question"


@dataclass(frozen=True)
class LoadedSet:
    """A named set that was read.

    votes: item_id, prompt, response, rater_id (null where `about.unit` is not "vote"), label (a name of `labels`), weight, replicate (where a rater
    judged an item more than once), and a column for each of `attributes`. notes: what was left out or assumed, for people to read.
    """

    about: NamedSet
    labels: LabelSpace
    votes: pa.Table
    attributes: tuple[str, ...]
    notes: list[str]

    @property
    def ratings(self) -> pa.Table:
        """The votes as a recipe's `ratings` are read: without ids of raters where nobody is named. (What is then a row is a vote of many.)"""
        return self.votes if self.about.unit == "vote" else self.votes.drop_columns(["rater_id"])
