"""The distributions of one group of a run's personas, to train a reward model of that group.

`dprm_data.preference.groups` estimates them: the group's own votes, shrunk towards everyone else's as far as they
agree. So every item with a vote has a distribution of the group, even if nobody in the group voted on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from dprm_trainers.core.errors import TrainingDataError

if TYPE_CHECKING:
    from dprm_data.preference.groups import Group
    from dprm_data.runs.run import Run

_MOST_GROUPS = 12  # of an attribute that is suggested


def named(group: str) -> tuple[str, str]:
    """Attribute and value of `attribute=value`. Raises `TrainingDataError`."""
    attribute, equals, value = group.partition("=")
    if not (equals and attribute and value):
        raise TrainingDataError(
            f"group: {group!r} is not attribute=value", hint="Give attribute=value, such as age=old."
        )
    return attribute, value


def values(run: str | Path, attribute: str) -> list[str]:
    """The values of an attribute of the run's personas.

    Raises `DprmError` if no persona has it, or for no run folder.
    """
    from dprm_data.runs.lookup import persona_attribute

    return sorted({str(value) for value in persona_attribute(Path(run), attribute).values() if value is not None})


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
    return sorted(name for name, seen in found.items() if 2 <= len(seen) <= _MOST_GROUPS)


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
    from dprm_data.ingest.vote_tables import read_ratings
    from dprm_data.preference.groups import by_group
    from dprm_data.preference.model_selection import learn_prior
    from dprm_data.runs.lookup import persona_attribute

    membership = persona_attribute(run.folder.path, attribute)
    ratings = read_ratings(run.folder.needs("annotations"), run.space)
    prior, _ = learn_prior(ratings.votes().counts, run.space, "beta")
    return GroupViews(attribute, list(ratings.item_ids), by_group(ratings, run.space, prior, membership))


def of_group(run: Run, table: pa.Table, group: str) -> pa.Table:
    """The table of distributions (schema `DISTRIBUTIONS`) with the group's in place of everyone's; evidence counts its
    own votes.

    Items without votes are left out. Raises `TrainingDataError` for an unknown group.
    """
    attribute, value = named(group)
    seen = views(run, attribute)
    found = {group.name: group for group in seen.groups}
    if value not in found:
        raise TrainingDataError(
            f"{run.folder.path}: no persona that voted has {attribute}={value}",
            hint=f"Values of {attribute}: {', '.join(found)}.",
        )
    theirs = pa.table(
        {
            "item_id": pa.array(seen.item_ids, pa.string()),
            "label_distribution": pa.array(
                found[value].distribution.tolist(), table.schema.field("label_distribution").type
            ),
            "evidence": pa.array(found[value].votes, table.schema.field("evidence").type),
        }
    )
    place = pc.index_in(table["item_id"], theirs["item_id"])
    table, place = table.filter(pc.is_valid(place)), pc.drop_null(place)
    for name in ("label_distribution", "evidence"):
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), theirs[name].take(place))
    return table
