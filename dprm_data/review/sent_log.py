"""The log of items sent to people: how each was chosen, and where it went. `review/register.json` in the run folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from dprm_data.core.errors import InputError
from dprm_data.core.tables import write_text
from dprm_data.review.selection import Selection
from dprm_data.runs.folder import RunFolder


@dataclass
class SentLog:
    """`chosen`: item id to (purpose, number of items it represents); `places`: where items were sent, the latest last."""

    chosen: dict[str, tuple[str, float]] = field(default_factory=dict)
    places: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: RunFolder) -> SentLog:
        """The run's log; empty if nothing was sent yet."""
        path = folder.path / "review" / "register.json"
        if not path.is_file():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            chosen = {item: (str(purpose), float(weight)) for item, (purpose, weight) in content["chosen"].items()}
            return cls(chosen, [dict(place) for place in content["places"]])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} cannot be read: {error}", hint="Delete it and push again.") from error

    def write(self, folder: RunFolder) -> None:
        content = {"places": self.places, "chosen": {item: list(why) for item, why in sorted(self.chosen.items())}}
        write_text(folder.path / "review" / "register.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def add(self, selection: Selection, item_ids: list[str]) -> None:
        """Add the chosen items. Items chosen earlier for the same purpose get the new weights, too."""
        here = {item_ids[int(row)]: int(row) for row in selection.rows}
        again = [item for item, (purpose, _) in self.chosen.items() if purpose == selection.purpose]
        for row, item in enumerate(item_ids) if again else ():
            if self.chosen.get(item, ("", 0.0))[0] == selection.purpose:
                here.setdefault(item, row)
        for item, row in here.items():
            self.chosen[item] = (selection.purpose, float(selection.weights[row]))

    def went(self, place: dict[str, Any], same: Collection[str]) -> None:
        """Record where they went, in place of an entry with the same values under the keys `same`."""
        self.places = [one for one in self.places if any(one.get(key) != place.get(key) for key in same)] + [place]
