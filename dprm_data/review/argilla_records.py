"""Records and responses as Argilla's REST API gives them: checked, and turned into answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from dprm_data.core.errors import ReviewError
from dprm_data.labels.space import LabelSpace
from dprm_data.review.human_annotations import DISCARDED, DRAFT, SUBMITTED, Answer, answer_time, pseudonym
from dprm_data.runs.folder import RunFolder

_STATUSES = {"submitted": SUBMITTED, "draft": DRAFT, "discarded": DISCARDED}


class _Value(BaseModel):
    value: Any = None


class Response(BaseModel):
    """One user's response to a record."""

    user_id: str
    status: Literal["submitted", "draft", "discarded"]
    values: dict[str, _Value] | None = None
    updated_at: datetime


class ArgillaRecord(BaseModel):
    """A record with its responses; `external_id` is the item's id, if the record is one of ours."""

    id: str
    external_id: str | None = None
    responses: list[Response] | None = None


def read_record(content: Any) -> ArgillaRecord:
    """Check a record. Raises ReviewError."""
    try:
        return ArgillaRecord.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "record"
        raise ReviewError(
            f"the Argilla server sent a record that cannot be read: {where}: {first['msg']}",
            hint="Check that ARGILLA_API_URL is the address of an Argilla server (version 2).",
        ) from error


def answer_of(response: Response, item_id: str, folder: RunFolder, space: LabelSpace) -> Answer:
    """The response as an answer. Raises ReviewError if its label or time cannot be."""
    values = response.values or {}
    label = values["label"].value if "label" in values else None
    comment = values["comment"].value if "comment" in values else None
    index = space.find(str(label)) if label is not None else None
    if label is not None and index is None:
        raise ReviewError(
            f"somebody answered {str(label)[:100]!r}, which is not a label of this run's space {space.name!r}",
            hint=f"Labels: {', '.join(space.names)}. Check that the dataset belongs to this run.",
        )
    at = answer_time(response.updated_at)
    if at is None:
        raise ReviewError(
            f"the answer to item {item_id} is of {response.updated_at}, which is no time from 1900 until now",
            hint="Check the clocks of this machine and of the Argilla server.",
        )
    status = _STATUSES[response.status]
    return Answer(
        item_id=item_id,
        person=pseudonym(folder, response.user_id),
        label=None if index is None else space.names[index],
        # Argilla requires a label for a submitted answer; without one, it is no vote.
        status=DRAFT if status == SUBMITTED and index is None else status,
        comment=str(comment).encode("utf-8", "replace").decode() if comment else None,  # half surrogates are no text
        at=at,
    )
