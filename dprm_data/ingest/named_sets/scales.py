"""Label spaces of named sets: steps from low to high, and choices without an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dprm_data.labels.space import LabelSpace


def steps(
    name: str, description: str, levels: Mapping[str, str] | Sequence[str], rewards: Sequence[float] | None = None
) -> LabelSpace:
    """A scale from low to high. levels: the labels, with what each means; rewards: 0, 1, 2, … unless given."""
    meant = levels if isinstance(levels, Mapping) else dict.fromkeys(levels, "")
    worth = list(rewards) if rewards is not None else list(range(len(meant)))
    return LabelSpace.load(
        {
            "name": name,
            "description": description,
            "axes": [{"name": "scale", "levels": [{"name": label, "description": words} for label, words in meant.items()]}],
            "labels": [
                {"name": label, "description": words, "reward": reward, "levels": {"scale": label}}
                for (label, words), reward in zip(meant.items(), worth, strict=True)
            ],
        }
    )  # fmt: skip


def choices(name: str, description: str, options: Mapping[str, str]) -> LabelSpace:
    """Options without an order: each is as far from every other, and none is worth more."""
    return LabelSpace.load(
        {
            "name": name,
            "description": description,
            "labels": [{"name": option, "description": words, "reward": 0} for option, words in options.items()],
            "cost": [[float(one != other) for other in options] for one in options],
        }
    )
