"""The log of an alignment: its figures and samples as lines of JSON, and a page that shows them while it goes on.

    log.jsonl       one line per step: {"step", "distribution", and every figure}
    samples.jsonl   one line per sample: {"step", "prompt", "response", ...}
    progress.html   the curves, the predicted distribution over the labels along training, and the newest samples

Lines are written at once and flushed. A line that a crash tore off at the end is forgotten. Memory does not grow with the steps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from dprm_data.core.tables import write_text
from dprm_trainers.core.errors import TrainingDataError
from dprm_trainers.progress.history import History

LOG, SAMPLES, PAGE = "log.jsonl", "samples.jsonl", "progress.html"
PICTURES = ("distribution.svg", "curves.svg")  # what the page shows, as files, when the training is over
_PAGE_EVERY = 4.0  # seconds between two versions of the page


class TrainingLog:
    """The log in a folder. What is there already is gone on with; `truncate(0)` begins anew."""

    def __init__(self, folder: Path, *, labels: Sequence[str] = (), rewards: Sequence[float] | None = None) -> None:
        """labels: the label space's names, in the order of the distributions; rewards: theirs, which colour the labels (else their order does)."""
        self.folder = Path(folder)
        self.labels = tuple(labels)
        self.rewards = tuple(rewards) if rewards is not None else None
        self._history = History()
        self._samples: list[dict[str, Any]] = []
        self._written = float("-inf")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def step(self, step: int, figures: Mapping[str, float], distribution: Sequence[float] | None = None) -> None:
        """Log a step. distribution (K,): the mean predicted one over its responses."""
        numbers = {name: float(value) for name, value in figures.items()}
        shares = [float(share) for share in distribution] if distribution is not None else None
        self._append(LOG, [{"step": step, "distribution": shares, **numbers}])
        self._history.add(step, numbers, shares)
        if time.monotonic() - self._written > _PAGE_EVERY:
            self.write_page()

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Log a table of samples: texts, numbers and truth values by name."""
        self._append(SAMPLES, [{"step": step} | dict(row) for row in rows])
        self._samples = [{"step": step} | dict(row) for row in rows]

    def truncate(self, step: int) -> None:
        """Forget what came after a step (0: everything), for a training that goes on from there."""
        for path in (self.folder / LOG, self.folder / SAMPLES):
            if path.exists():
                kept = path.with_name(f".{path.name}.kept")
                with kept.open("wb") as file:
                    file.writelines(_dumped(line) for line in _lines(path) if line["step"] <= step)
                kept.replace(path)
        self._read()

    def close(self) -> None:
        """The training is over: the page says so and does not refresh itself any more, and its figures are pictures beside it."""
        from dprm_trainers.progress.progress_page import pictures

        self.write_page(over=True)
        for name, svg in pictures(self._history, self.labels, self.rewards).items():
            write_text(self.folder / f"{name}.svg", svg)

    @property
    def history(self) -> History:
        """The figures of all steps that are logged."""
        return self._history

    def write_page(self, *, over: bool = False) -> None:
        """Write `progress.html` as things stand."""
        from dprm_trainers.progress.progress_page import progress_page

        page = progress_page(
            self._history, self._samples, self.labels, rewards=self.rewards, name=self.folder.absolute().name, over=over
        )
        write_text(self.folder / PAGE, page)
        self._written = time.monotonic()

    def _append(self, name: str, rows: Sequence[Mapping[str, object]]) -> None:
        with (self.folder / name).open("ab") as file:
            file.write(b"".join(_dumped(row) for row in rows))

    def _read(self) -> None:
        """What is in the files: the whole history, and the newest samples."""
        self._history, self._samples = History(), []
        for line in _lines(self.folder / LOG):
            step, distribution = line.pop("step"), line.pop("distribution", None)
            figures = {name: float("nan") if value is None else value for name, value in line.items()}
            self._history.add(step, figures, distribution)
        for line in _lines(self.folder / SAMPLES):
            if self._samples and self._samples[0]["step"] != line["step"]:
                self._samples = []
            self._samples.append(line)


def _dumped(row: Mapping[str, object]) -> bytes:
    """A line; what is no finite number is null, since JSON has no word for it."""
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE, default=str)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, without a last line that was torn off; that one is cut from the file too. Raises `TrainingDataError` for any other that is broken."""
    if not path.exists():
        return
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise TrainingDataError(
                    f"{path}, line {number} is not valid JSON: {error}", hint="Remove the line, or begin anew."
                ) from error
            whole += len(line)
            yield row
    if whole < path.stat().st_size:
        with path.open("ab") as file:
            file.truncate(whole)
