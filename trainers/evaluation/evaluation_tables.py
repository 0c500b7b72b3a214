"""The tables of an evaluation of reward models, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dprm_data.core.format import percent
from dprm_data.core.text import markdown_row, one_line
from dprm_data.labels.statistics import Interval
from dprm_trainers.evaluation.group_scores import GroupScores
from dprm_trainers.evaluation.metrics import BAND
from dprm_trainers.evaluation.pair_calibration import SHARES
from dprm_trainers.evaluation.reward_evaluation import Evaluation

_LONGEST = 200  # characters of a cell


def markdown(found: Evaluation) -> str:
    """The main metrics, a row per model; then pairs by bands, shares of pairs, people against people, groups, and notes."""
    parts = [_main(found), _bands(found), _shares(found), _people(found)]
    parts += [_groups(scores) for scores in found.by_group]
    parts.append([f"- {note}" for note in found.notes])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def main_names(found: Evaluation) -> list[str]:
    """The names of the figures of the main table."""
    return [name for name in _names(found) if not name.startswith((BAND, SHARES))]


def band_names(found: Evaluation) -> list[str]:
    """The names of the bands of pairs."""
    return [name for name in _names(found) if name.startswith(BAND)]


def share_names(found: Evaluation) -> list[str]:
    """The names of the figures of shares of pairs."""
    return [name for name in _names(found) if name.startswith(SHARES)]


def _names(found: Evaluation) -> list[str]:
    return list(dict.fromkeys(name for figures in found.figures.values() for name in figures))


def _main(found: Evaluation) -> list[str]:
    names = main_names(found)
    rows = [[name, *[_shown(figures.get(figure)) for figure in names]] for name, figures in found.figures.items()]
    return _table(["", *names], rows)


def _bands(found: Evaluation) -> list[str]:
    bands, models = band_names(found), list(found.figures)
    rows = [[band.removeprefix(BAND), *[_shown(found.figures[model].get(band)) for model in models]] for band in bands]
    return _table(["accuracy on pairs", *models], rows)


def _shares(found: Evaluation) -> list[str]:
    names = share_names(found)
    known = [(model, figures) for model, figures in found.figures.items() if any(name in figures for name in names)]
    rows = [[model, *[_shown(figures.get(name)) for name in names]] for model, figures in known]
    return _table(["shares of people who prefer one of two", *[name.removeprefix(SHARES) for name in names]], rows)


def _people(found: Evaluation) -> list[str]:
    columns = ["against half of people's own votes", "items", "w1", "rps", "log", "skill"]
    errors = found.people_pairs.errors if found.people_pairs else {}
    rows = [
        [row.name, str(row.items), *map(_shown, (row.w1, row.rps, row.log, row.skill))]
        + ([_shown(errors.get(row.name))] if errors else [])
        for row in found.people
    ]
    return _table(columns + ["pair brier"] * bool(errors), rows)


def _groups(scores: GroupScores) -> list[str]:
    groups = list(scores.groups)
    lines: list[str] = []
    for figure, title in (("rps", "RPS"), ("pairs", "accuracy on pairs")):
        rows = [
            [model, *[_shown(of[group].get(figure)) for group in groups], _worst(scores, model, figure)]
            for model, of in scores.figures.items()
            if any(figure in each for each in of.values())
        ]
        table = _table([f"{title} by {scores.attribute}", *groups, "worst"], rows)
        lines += [*table, ""] if table else []
    rows = [[model, str(jury.win), str(jury.majority), str(jury.pairs)] for model, jury in scores.jury.items()]
    lines += _table([f"jury of {scores.attribute}", "win", "majority", "pairs"], rows)
    return lines


def _worst(scores: GroupScores, model: str, figure: str) -> str:
    worst = scores.worst[model].get(figure)
    return f"{worst.group} (in {percent(worst.resamples)} of resamples)" if worst else "–"


def _table(head_cells: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """No lines without rows."""
    head, *body = [markdown_row([one_line(cell, _LONGEST) for cell in row]) for row in (head_cells, *rows)]
    return [head, markdown_row(["---", *["---:"] * (len(head_cells) - 1)]), *body] if body else []


def _shown(figure: Interval | None) -> str:
    return "–" if figure is None else str(figure)
