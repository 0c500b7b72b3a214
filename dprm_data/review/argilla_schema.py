"""The schema of our Argilla datasets: fields, question and metadata, and whether an existing dataset has the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import ReviewError
from dprm_data.core.text import cut
from dprm_data.labels.space import LabelSpace
from dprm_data.review.records import Record

if TYPE_CHECKING:
    import argilla

NUMBERS = {
    "expected_reward": "expected reward",
    "disagreement": "disagreement (chance that two of the panel differ)",
    "entropy": "entropy (nats)",
    "uncertainty": "uncertainty (width of the reward's interval)",
    "evidence": "evidence (votes)",
    "cost": "cost (dollars)",
}
WORDS = {"source": "source", "chosen_as": "chosen as"}
_MESSAGE = 19_000  # characters of one message; the server takes 20,000
DESCRIPTION, GUIDELINES = 1_000, 10_000  # the server's limits


def settings(space: LabelSpace, *, people: int, blind: bool, markdown: bool) -> argilla.Settings:
    """The dataset's settings. blind: hide the panel's answers and figures from annotators."""
    import argilla as rg

    fields: list[Any] = [rg.ChatField("conversation", title="Conversation", use_markdown=markdown)]
    if not blind:
        fields.append(rg.TextField("panel", title="What the panel said", use_markdown=True, required=False))
    shown = not blind
    return rg.Settings(
        guidelines=_guidelines(space, blind),
        fields=fields,
        questions=[
            rg.LabelQuestion(
                "label",
                title="How do you judge the last answer?",
                description=cut(_descriptions(space), DESCRIPTION),
                labels={label.name: label.said for label in space.labels},
                visible_labels=space.K if space.K >= 3 else None,
            ),
            rg.TextQuestion("comment", title="Why? (if you like)", required=False),
        ],
        metadata=[
            *(
                rg.FloatMetadataProperty(name, title=title, visible_for_annotators=shown)
                for name, title in NUMBERS.items()
            ),
            *(
                rg.TermsMetadataProperty(name, title=title, visible_for_annotators=shown)
                for name, title in WORDS.items()
            ),
        ],
        vectors=[rg.VectorField("distribution", title="the panel's distribution", dimensions=space.K)],
        distribution=rg.TaskDistribution(min_submitted=people),
    )


def _descriptions(space: LabelSpace) -> str:
    return "\n\n".join(
        f"**{label.said}**{f': {label.description}' if label.description else ''}" for label in space.labels
    )


def _guidelines(space: LabelSpace, blind: bool) -> str:
    panel = (
        "A panel of personas, played by a language model, has judged these answers before you. You do not see what it said, so that "
        "your judgement is your own."
        if blind
        else "A panel of personas, played by a language model, has judged these answers before you; its answer is marked. It is simulated and it can "
        "be wrong. Say what you think: where you differ, that is what we want to know."
    )
    about = f"{space.description.strip()}\n\n" if space.description.strip() else ""
    return cut(
        f"Read the conversation and judge its **last answer**.\n\n{about}{_descriptions(space)}\n\n{panel}", GUIDELINES
    )


def check_same(dataset: argilla.Dataset, wanted: argilla.Settings) -> None:
    """Raise ReviewError if an existing dataset has other settings than ours."""
    found, ours = _outline(dataset.settings), _outline(wanted)
    # Additional metadata does no harm; everything else must be equal.
    found["metadata"] = {name: kind for name, kind in found["metadata"].items() if name in ours["metadata"]}
    differences = [
        f"{part}: it has {_names(found[part])}, this run needs {_names(ours[part])}"
        for part in ours
        if found[part] != ours[part]
    ]
    if differences:
        raise ReviewError(
            f"the dataset {dataset.name!r} exists with other settings ({'; '.join(differences)})",
            hint="Nothing was changed. Choose another --dataset name, or push the run that it belongs to, with the same --blind as before.",
        )


def _outline(settings: argilla.Settings) -> dict[str, dict[str, str]]:
    """The settings that must agree: names and kinds of all parts, and the question's labels."""
    kinds = {
        part: {one.name: type(one).__name__ for one in getattr(settings, part)}
        for part in ("fields", "questions", "metadata")
    }
    labels = next(
        (list(one.labels) for one in settings.questions if one.name == "label" and hasattr(one, "labels")), []
    )
    vectors = {one.name: str(one.dimensions) for one in settings.vectors}
    # The order of the labels does not matter.
    return kinds | {"vectors": vectors, "labels": dict.fromkeys(sorted(map(str, labels)), "")}


def _names(part: dict[str, str]) -> str:
    return ", ".join(part) or "none"


def payload(record: Record, agent: str, question_id: str, *, blind: bool) -> dict[str, Any]:
    """A record for the REST API. It contains no responses, so it cannot change any."""
    fields: dict[str, Any] = {"conversation": chat(record.conversation)}
    suggestions = []
    if not blind:
        fields["panel"] = record.panel
        suggestion = {
            "question_id": question_id,
            "value": record.suggestion,
            "score": record.probability,
            "agent": agent,
        }
        suggestions.append(suggestion | {"type": "model"})
    return {
        "external_id": record.item_id,
        "fields": fields,
        "metadata": record.metadata,
        "suggestions": suggestions,
        "vectors": {"distribution": record.distribution},
    }


def chat(conversation: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages of a chat field, none empty; one over the server's limit is split into several."""
    pieces = []
    for message in conversation:
        text = message["content"] or "(empty)"
        pieces += [
            {"role": message["role"][:20], "content": text[at : at + _MESSAGE]} for at in range(0, len(text), _MESSAGE)
        ]
    return pieces
