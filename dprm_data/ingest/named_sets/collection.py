"""All named sets: found by name, loaded, and listed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dprm_data.core.errors import VotesError
from dprm_data.core.text import did_you_mean
from dprm_data.ingest.named_sets import (
    chaosnli,
    community_alignment,
    convabuse,
    dices,
    global_opinions,
    helpsteer_votes,
    lewidi,
    opinionqa,
    popquorn,
    prism,
    simbench,
    subpop,
)
from dprm_data.ingest.named_sets.named_set import LoadedSet, NamedSet
from dprm_data.ingest.named_sets.set_files import SetFiles, hub_folder
from dprm_data.ingest.named_sets.vote_rows import VoteRows

_MODULES = (
    *(dices, helpsteer_votes, prism, community_alignment, global_opinions, opinionqa, subpop, simbench),
    *(chaosnli, convabuse, popquorn, lewidi),
)
_SETS: Mapping[str, NamedSet] = MappingProxyType({each.name: each for module in _MODULES for each in module.SETS})


def named_sets() -> Mapping[str, NamedSet]:
    """All of them, by name."""
    return _SETS


def named_set(name: str) -> NamedSet:
    """The set with this name; of a family (`dices`) the first. Raises `VotesError`."""
    family = (each for each in _SETS if each.startswith(f"{name}-"))
    found = _SETS.get(name) or _SETS.get(next(family, ""))
    if found is None:
        raise VotesError(
            f"no set of people's votes is called {name!r}{did_you_mean(name, _SETS)}",
            hint=f"The named sets: {', '.join(_SETS)}. A table of your own is given by its path.",
        )
    return found


def load_named(name: str, data: Path | None = None, *, scale: str | None = None) -> LoadedSet:
    """The votes of a named set.

    data: the folder with its files (or its only file); None fetches them from the Hub, where the set is there. scale: for a set whose questions have
    options of their own, the options that its questions must have, as "Yes | No"; None takes those that most questions have. Raises `VotesError` or `SourceError`.
    """
    about = named_set(name)
    if scale is not None and about.labels is not None:
        raise VotesError(
            f"{about.name} has one scale", hint=f"Leave scale out. It is: {', '.join(about.labels.names)}."
        )
    if data is None:
        if about.hub is None:
            raise VotesError(
                f"{about.name} is not on the Hugging Face Hub",
                hint=f"Fetch {', '.join(about.files)} from {about.source}, and give the folder with them (--data FOLDER).",
            )
        data = hub_folder(about.name, about.hub, about.files)
    rows = VoteRows(about.name, about.labels, scale)
    about.read(SetFiles(about.name, data, about.source), rows)
    votes, attributes, notes = rows.table()
    assert rows.labels is not None
    return LoadedSet(about, rows.labels, votes, attributes, notes)


def set_rows() -> list[dict[str, str]]:
    """A row for each set, for a listing."""
    return [
        {
            "name": each.name,
            "what people judged": each.title,
            "levels": each.levels,
            "raters an item": each.raters,
            "attributes": ", ".join(each.attributes) or "none",
            "licence": each.licence,
            "citation": each.citation,
            "from": f"Hub: {each.hub}" if each.hub else each.source,
        }
        for each in _SETS.values()
    ]
