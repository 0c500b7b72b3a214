"""What groups of people say of the rows of a training: for a model of one group, or for a head for each.

Who is in which group is known of a run (attributes of its personas, or of the people whose ratings it read), and of a
table of people's votes with a column of the attribute.

**A model of one group** is trained on the distributions that `dprm_data.preference.groups` estimates: the group's own
votes, shrunk towards everyone else's as far as they agree. So every item with a vote has a distribution of the group,
even if nobody in the group voted on it.

**Heads of groups** are trained on the groups' own votes, which are not shrunk: the heads themselves are
(`dprm_trainers.reward.group_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core.yamlfile import parse_yaml
from dprm_data.labels.space import LabelSpace
from dprm_data.runs.folder import is_run_folder
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.group_votes import GroupVotes

if TYPE_CHECKING:
    from dprm_data.core.arrays import Floats, Ints
    from dprm_data.ingest.ratings import Ratings
    from dprm_data.preference.groups import Group
    from dprm_data.runs.run import Run

VotesTable = str | Mapping[str, Any]  # a file, or {path: FILE, columns: {...}}: read as by `dprm ratings fit`
_SUGGESTED = 12  # groups of an attribute that is suggested
MOST_GROUPS = 200  # of an attribute; one with more (an age in years, an id) is to be put into bands first


def named(group: str) -> tuple[str, str]:
    """Attribute and value of `attribute=value`. Raises `TrainingDataError`."""
    attribute, equals, value = group.partition("=")
    if not (equals and attribute and value):
        raise TrainingDataError(
            f"group: {group!r} is not attribute=value", hint="Give attribute=value, such as age=old."
        )
    return attribute, value


def values(data: str | Path, attribute: str, votes: VotesTable | None = None) -> list[str]:
    """The values of an attribute of the annotators: of a run, or of the rows of a table of votes.

    Raises `DprmError` if nobody has it, or if it is not known who voted.
    """
    return sorted({str(value) for value in _membership(data, attribute, votes).values() if value is not None})


def attributes(run: Path) -> list[str]:
    """The attributes by which the run's annotators fall into groups: those with two to twelve values.

    Raises `DprmError` for no run folder.
    """
    from dprm_data.runs.lookup import annotator_attributes

    found: dict[str, set[str]] = {}
    for known in annotator_attributes(run).values():
        for name, value in known.items():
            if value is not None:
                found.setdefault(name, set()).add(str(value))
    return sorted(name for name, seen in found.items() if 2 <= len(seen) <= _SUGGESTED)


@dataclass(frozen=True)
class Raters:
    """Everyone's ratings, and which value of the attribute each annotator has. source: where they are, for messages."""

    ratings: Ratings
    space: LabelSpace
    attribute: str
    membership: Mapping[str, Any]
    source: str

    @classmethod
    def read(cls, data: str | Path, space: LabelSpace, attribute: str, votes: VotesTable | None = None) -> Raters:
        """Of a run, or of a table of votes on the items of a Parquet file or dataset. Raises `DprmError`."""
        from dprm_data.ingest.vote_tables import read_ratings

        membership = _membership(data, attribute, votes)
        if votes is None:
            from dprm_data.runs.folder import RunFolder

            return cls(
                read_ratings(RunFolder(data).needs("annotations"), space), space, attribute, membership, str(data)
            )
        file, settings = _table(votes)
        return cls(
            read_ratings(Path(file), space, say=lambda text: None, **settings), space, attribute, membership, file
        )

    def values(self) -> list[str]:
        """The groups of those who voted. Raises `TrainingDataError` for none, or too many."""
        of = (self.membership.get(who) for who in self.ratings.annotator_ids)
        found = sorted({str(value) for value in of if value is not None})
        if not found:
            raise TrainingDataError(
                f"{self.source}: nobody who voted has a group of {self.attribute}",
                hint="Every vote needs its rater, and a rater the attribute.",
            )
        if len(found) > MOST_GROUPS:
            raise TrainingDataError(
                f"{self.source}: {self.attribute} has {len(found):,} values; groups of people share one",
                hint=f"Put the values into bands first, such as 18-30. At most {MOST_GROUPS}.",
            )
        return found

    def groups(self) -> list[Group]:
        """Every group with its distributions of the rated items. Raises `DprmError`."""
        from dprm_data.preference.groups import by_group
        from dprm_data.preference.model_selection import learn_prior

        prior, _ = learn_prior(self.ratings.votes().counts, self.space, "beta")
        return by_group(self.ratings, self.space, prior, self.membership)

    def counts(self, names: Sequence[str]) -> Floats:
        """The groups' own votes on the rated items, (N, G, K)."""
        value = [self.membership.get(who) for who in self.ratings.annotator_ids]
        of = np.array([None if each is None else str(each) for each in value], dtype=object)[self.ratings.annotator]
        own = [self.ratings.take(np.flatnonzero(of == name)).votes().counts for name in names]
        return np.stack(own, axis=1)

    def places(self, table: pa.Table) -> Ints:
        """Which of the rated items each row of a table is, -1 for none. Raises `TrainingDataError` if no row is."""
        if "item_id" not in table.column_names:
            raise TrainingDataError(
                f"the data has no column 'item_id', by which the votes of {self.source} find their rows",
                hint="Give item_id as in the table of votes.",
            )
        ids = pa.array(self.ratings.item_ids, pa.string())
        found = pc.fill_null(pc.index_in(table["item_id"].cast(pa.string()), ids), -1)
        place = np.asarray(found.to_numpy(), dtype=np.int64)
        if not (place >= 0).any():
            raise TrainingDataError(
                f"no item of {self.source} is in the data",
                hint="Both need the same item_id; for another column: votes: {path: FILE, columns: {item_id: NAME}}.",
            )
        return place


@dataclass(frozen=True)
class GroupViews:
    """The groups of an attribute, each with its view of the items with these ids (N,): see
    `dprm_data.preference.groups.Group`."""

    attribute: str
    item_ids: list[str]
    groups: list[Group]


def views(run: Run, attribute: str) -> GroupViews:
    """What each group of the run's annotators says of every item that has votes.

    Raises `DprmError` if none has the attribute, or none that has it voted.
    """
    raters = Raters.read(run.folder.path, run.space, attribute)
    return GroupViews(attribute, list(raters.ratings.item_ids), raters.groups())


def of_group(raters: Raters, table: pa.Table, value: str) -> tuple[pa.Table, Ints]:
    """The table of distributions (schema `DISTRIBUTIONS`) with a group's in place of everyone's, and which of its rows
    were kept; evidence and votes are the group's own.

    Items without votes are left out. Raises `TrainingDataError` for an unknown group.
    """
    found = {seen.name: seen for seen in raters.groups()}
    if value not in found:
        raise TrainingDataError(
            f"{raters.source}: {_who(raters.source)} that voted has {raters.attribute}={value}",
            hint=f"Values of {raters.attribute}: {', '.join(found)}.",
        )
    place = raters.places(table)
    kept = np.flatnonzero(place >= 0)
    table, place = table.take(pa.array(kept)), place[kept]
    own = raters.counts([value])[:, 0]
    theirs = {"label_distribution": found[value].distribution, "evidence": found[value].votes, "votes": own}
    for name, every in theirs.items():
        if name in table.column_names:
            at, kind = table.schema.get_field_index(name), table.schema.field(name).type
            table = table.set_column(at, name, pa.array(every[place].tolist(), kind))
    return table, kept


def votes_by_group(raters: Raters, table: pa.Table) -> GroupVotes:
    """How every group voted on the rows of a table of distributions. Raises `TrainingDataError`."""
    names = raters.values()
    place = raters.places(table)
    rated, known = place >= 0, np.maximum(place, 0)
    counts = np.where(rated[:, None, None], raters.counts(names)[known], 0.0)
    everyone = np.where(rated, raters.ratings.votes().counts.sum(axis=1)[known], 0.0)
    return GroupVotes(raters.attribute, tuple(names), counts, np.maximum(everyone - counts.sum(axis=(1, 2)), 0.0))


def _membership(data: str | Path, attribute: str, votes: VotesTable | None) -> Mapping[str, Any]:
    if is_run_folder(Path(data)):
        if votes is not None:
            raise TrainingDataError(
                f"votes: {data} is a run folder, which has its votes itself", hint="Leave votes out."
            )
        from dprm_data.runs.lookup import persona_attribute

        return persona_attribute(Path(data), attribute)
    if votes is None:
        raise TrainingDataError(
            f"{data} is not a run folder, so who is in which group of {attribute} is unknown",
            hint=f"Give a run folder, or votes: the table of people's votes, with item_id, rater, label and {attribute}.",
        )
    from dprm_data.ingest.rater_attributes import rater_attribute

    file, settings = _table(votes)
    return rater_attribute(Path(file), attribute, settings)


def _table(votes: VotesTable) -> tuple[str, Any]:
    """The file, and how it is read. Raises `TrainingDataError`."""
    if isinstance(votes, str) and not votes.lstrip().startswith("{"):
        return votes, {}
    settings = parse_yaml(votes, TrainingDataError, "votes") if isinstance(votes, str) else dict(votes)
    file = settings.pop("path", None)
    if not isinstance(file, str):
        raise TrainingDataError("votes: no path", hint="Give votes: FILE, or votes: {path: FILE, columns: {...}}.")
    from dprm_data.ingest.vote_tables import VoteSettings

    unknown = settings.keys() - VoteSettings.__annotations__.keys()
    if unknown:
        allowed = ", ".join(["path", *VoteSettings.__annotations__])
        raise TrainingDataError(f"votes: {min(unknown)!r} is unknown (allowed: {allowed})")
    return file, settings


def _who(source: str) -> str:
    return "no persona" if is_run_folder(Path(source)) else "nobody"
