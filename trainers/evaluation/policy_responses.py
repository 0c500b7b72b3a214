"""Responses of policies in a folder. Needs no torch.

responses.jsonl   one line per response. `dprm run` can annotate it as a source: a panel that took no part in the training
                  is a held-out judge
sampling.json     policies, prompts and settings
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.tables import write_text
from dprm_data.ingest.messages import read_reply
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.holdout import alignment_of

RESPONSES, SAMPLING = "responses.jsonl", "sampling.json"
BLANK = "(no response)"  # shown to a run's judges for an empty response: a source rejects rows without text


@dataclass(frozen=True)
class Response:
    """One policy's response.

    sample: its number among those to the prompt. text: empty if it is only white space. kl: to the reference, in nats;
    None if not measured.
    """

    policy: str
    prompt_id: str
    sample: int
    prompt: list[Message]
    text: str
    tokens: int
    ended: bool
    kl: float | None = None

    @property
    def shown(self) -> str:
        """The text as a run's judges see it."""
        return self.text if self.text.strip() else BLANK


def read_responses(folder: Path) -> list[Response]:
    """The responses in a folder. Raises `TrainingDataError` if there are none."""
    file = folder / RESPONSES
    if not file.is_file():
        raise TrainingDataError(
            f"{folder} holds no {RESPONSES}", hint="Sample first: dprm eval policy --policy ... --prompts ..."
        )
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = orjson.loads(line)
            response = row.pop("response")
            text = response if isinstance(response, str) else response[0]["content"]
            row["text"] = "" if row.pop("blank") else text
            found.append(Response(**row))
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
            raise TrainingDataError(
                f"{file}, line {number} is not a response of `dprm eval policy`: {error}"
            ) from error
    return found


def write_responses(folder: Path, found: Mapping[str, Sequence[Response]], facts: Mapping[str, Any]) -> None:
    """Write the responses of all policies, and the facts of their sampling."""
    lines = []
    for row in (row for rows in found.values() for row in rows):
        content = asdict(row) | {"response": _as_source(row.shown), "blank": row.shown != row.text}
        del content["text"]
        lines.append(orjson.dumps(content).decode())
    write_text(folder / RESPONSES, "\n".join(lines) + "\n")
    write_text(folder / SAMPLING, json.dumps(facts, indent=2) + "\n")


def _as_source(text: str) -> str | list[Message]:
    """The text; as a message if a source would parse it as a transcript (`Human: ... Assistant: ...`)."""
    return [{"role": "assistant", "content": text}] if read_reply(text, "response")[1] else text


def sampling_facts(folder: Path) -> dict[str, Any]:
    """The facts in a folder; empty if there are none."""
    file = folder / SAMPLING
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def trained_for(policy: str) -> list[str]:
    """The reward models that a policy was trained for, by its record: absolute paths, or names on the Hub."""
    record = alignment_of(policy)
    return [absolute(model) for model in record["settings"]["reward_model"]] if record else []


def policies_trained_for(judge: str, folder: Path) -> list[str]:
    """The policies with responses in the folder that were trained for this judge."""
    policies: dict[str, Any] = sampling_facts(folder).get("policies", {})
    return [name for name, facts in policies.items() if absolute(judge) in facts["trained_for"]]


def absolute(model: str) -> str:
    """The absolute path of a model's folder; a name on the Hub as it is."""
    return str(Path(model).resolve()) if Path(model).exists() else model
