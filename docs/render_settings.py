"""Write the tables of settings in docs/reward-model.md and docs/alignment.md from their models: python docs/render_settings.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dprm_trainers.ppo.ppo_config import PPOConfig
from dprm_trainers.reward.reward_config import RewardConfig

PAGES = {
    Path(__file__).parent / "reward-model.md": RewardConfig,
    Path(__file__).parent / "alignment.md": PPOConfig,
}
HEAD = "| setting | default | |\n|---|---|---|\n"


def table(model: type[BaseModel]) -> str:
    """The rows of a model's fields: name, default, description."""
    return "".join(
        f"| `{name}` | {_default(field)} | {field.description} |\n" for name, field in model.model_fields.items()
    )


def rendered(text: str, model: type[BaseModel]) -> str:
    """A page's text with the model's table in place of the one it has."""
    before, old = text.split(HEAD)
    rows = [line.startswith("|") for line in old.splitlines()]
    after = old.splitlines(keepends=True)[rows.index(False) if False in rows else len(rows) :]
    return before + HEAD + table(model) + "".join(after)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    default = field.get_default(call_default_factory=True)
    return "" if default in (None, {}) else f"`{default if isinstance(default, str) else json.dumps(default)}`"


if __name__ == "__main__":
    for page, settings in PAGES.items():
        page.write_text(rendered(page.read_text(encoding="utf-8"), settings), encoding="utf-8")
