"""Write the tables of settings, losses and risk measures in the documentation from the code: python docs/render_settings.py"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dprm_data.core.registry import LOSSES
from dprm_trainers.core.settings import described
from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.reward.reward_config import RewardConfig
from dprm_trainers.reward.risk_measures import specs


def settings(model: type[BaseModel]) -> str:
    """The rows of a model's fields: name, default, description."""
    return "".join(
        f"| `{name}` | {_default(field)} | {described(field)} |\n" for name, field in model.model_fields.items()
    )


def losses() -> str:
    """The rows of the losses: name, aliases, description."""
    found = [(name, LOSSES.get(name)) for name in LOSSES.names()]
    return "".join(f"| `{name}` | {_code(loss.aliases)} | {_first_line(loss)} |\n" for name, loss in found)


def measures() -> str:
    """The rows of the risk measures: spec, default level, description."""
    return "".join(
        f"| `{spec}` | {f'{measure.parameter.default:g}' if measure.parameter else ''} | {_first_line(measure)} |\n"
        for spec, measure in specs().items()
    )


SETTINGS = "| setting | default | |\n|---|---|---|\n"
# For each page: the head of a table, and its rows.
PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    Path(__file__).parent / "reward-model.md": {
        SETTINGS: lambda: settings(RewardConfig),
        "| `--objective` | also called | |\n|---|---|---|\n": losses,
        "| `--reading` | level if not given | |\n|---|---|---|\n": measures,
    },
    Path(__file__).parent / "alignment.md": {SETTINGS: lambda: settings(PPOConfig)},
}


def rendered(text: str, tables: dict[str, Callable[[], str]]) -> str:
    """A page's text with its tables written again."""
    for head, rows in tables.items():
        before, old = text.split(head)
        is_row = [line.startswith("|") for line in old.splitlines()]
        after = old.splitlines(keepends=True)[is_row.index(False) if False in is_row else len(is_row) :]
        text = before + head + rows() + "".join(after)
    return text


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    default = field.get_default(call_default_factory=True)
    return "" if default in (None, {}) else f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _first_line(target: type) -> str:
    return (target.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    for page, tables in PAGES.items():
        page.write_text(rendered(page.read_text(encoding="utf-8"), tables), encoding="utf-8")
