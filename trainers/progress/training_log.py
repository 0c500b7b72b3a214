"""The log of a PPO training: metrics and samples in JSON lines, and a live page.

    log.jsonl       one line per step: {"step", "distribution", and every metric}
    samples.jsonl   one line per sample: {"step", "prompt", "response", ...}
    progress.html   curves, the predicted distribution over the labels along training, and the latest samples

Every line is flushed at once. An incomplete last line, left by a crash, is dropped. Memory does not grow with the
steps.
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
PICTURES = ("distribution.svg", "curves.svg")  # the charts of the page, written at the end of the training
_PAGE_EVERY = 4.0  # seconds between two versions of the page


class TrainingLog:
    """The log in a folder. An existing log is continued; `truncate(0)` empties it."""

    def __init__(self, folder: Path, *, labels: Sequence[str] = (), rewards: Sequence[float] | None = None) -> None:
        """labels: the names, in the order of the distributions.

        rewards: of the labels; they set the colours, else the order does.
        """
        self.folder = Path(folder)
        self.labels = tuple(labels)
        self.rewards = tuple(rewards) if rewards is not None else None
        self._history = History()
        self._samples: list[dict[str, Any]] = []
        self._written = float("-inf")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._read()

    def step(self, step: int, figures: Mapping[str, float], distribution: Sequence[float] | None = None) -> None:
        """Log a step. distribution: (K,), the mean prediction over its responses."""
        numbers = {name: float(value) for name, value in figures.items()}
        shares = [float(share) for share in distribution] if distribution is not None else None
        self._append(LOG, [{"step": step, "distribution": shares, **numbers}])
        self._history.add(step, numbers, shares)
        if time.monotonic() - self._written > _PAGE_EVERY:
            self.write_page()

    def samples(self, step: int, rows: Sequence[Mapping[str, object]]) -> None:
        """Log a table of samples: texts, numbers and booleans by name."""
        self._append(SAMPLES, [{"step": step} | dict(row) for row in rows])
        self._samples = [{"step": step} | dict(row) for row in rows]

    def truncate(self, step: int) -> None:
        """Drop everything after a step, for a training that resumes from it; 0 drops all."""
        for path in (self.folder / LOG, self.folder / SAMPLES):
            if path.exists():
                kept = path.with_name(f".{path.name}.kept")
                with kept.open("wb") as file:
                    file.writelines(_dumped(line) for line in _lines(path) if line["step"] <= step)
                kept.replace(path)
        self._read()

    def close(self) -> None:
        """Write the final page, which no longer reloads itself, and the charts as files."""
        from dprm_trainers.progress.progress_page import pictures

        self.write_page(over=True)
        for name, svg in pictures(self._history, self.labels, self.rewards).items():
            write_text(self.folder / f"{name}.svg", svg)

    @property
    def history(self) -> History:
        """The metrics of all logged steps."""
        return self._history

    def write_page(self, *, over: bool = False) -> None:
        """Write `progress.html` from the current log."""
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
        """Read the history and the latest samples from the files."""
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
    """A line of JSON, in which numbers that are not finite are null."""
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE, default=str)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file.

    An incomplete last line is removed from it. Raises `TrainingDataError` for any other broken line.
    """
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
                    f"{path}, line {number} is not valid JSON: {error}",
                    hint="Remove the line, or give --overwrite to start again.",
                ) from error
            whole += len(line)
            yield row
    if whole < path.stat().st_size:
        with path.open("ab") as file:
            file.truncate(whole)
