"""The model card of a trained reward model, from the record of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dprm_data.core.tables import write_text
from dprm_data.labels.space import LabelSpace
from dprm_data.publish.model_cards import RewardModelCard, TrainedOn
from dprm_trainers.core.cache import BUNDLED
from dprm_trainers.reward.objective import is_scalar, on_pairs, on_rows

_BUNDLED_FROM = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMALL = (
    "The base model has 135 million parameters and is bundled to show that training works on a small machine: "
    "do not use its rewards for anything else."
)


def write_model_card(folder: Path, training: dict[str, Any], space: LabelSpace, *, name: str) -> None:
    """Write README.md. training: the content of `dprm_training.json`; name: the model's, owner/name on the Hub."""
    settings, figures = training["settings"], training["figures"]
    base = settings["model"]
    shown = shown_reference(base)
    if is_scalar(settings["objective"]):
        write_text(folder / "README.md", _scalar_card(name, shown, training))
        return
    weights = "the head alone" if settings["freeze"] == "backbone" else f"LoRA of rank {settings['lora']}, merged"
    facts = {
        "distributions of the group": settings.get("group"),
        "heads of groups beside it (folder group_heads)": _heads(figures, settings),
        "trained weights": weights if settings["freeze"] == "backbone" or settings["lora"] else "all",
        "pooling": settings.get("pooling"),
        "epochs": figures["epochs"],
        "steps": figures["steps"],
        "batch": settings["batch_size"] * settings["accumulation"] * figures["processes"],
        "learning rate": settings["learning_rate"],
        "seed": settings["seed"],
        "chosen by size, data and machine": ", ".join(figures.get("chosen", {})) or None,
        "preference pairs": training.get("pairs", {}).get("train"),
        "split": training["split"],
        "training loss": figures["training_loss"],
        "validation loss": figures["validation_loss"],
        "temperature (in the head's weights already)": figures.get("temperature"),
    }
    card = RewardModelCard(
        name=name,
        base_model=shown,
        data=TrainedOn(
            dataset=shown_reference(settings["data"]),
            simulated=simulated_share(Path(settings["data"])),
            rows=training["rows"]["train"] or None,
        ),
        labels=[(label.name, label.reward) for label in space.labels],
        loss=_loss(settings["objective"]),
        training={fact: value for fact, value in facts.items() if value is not None},
        pooling="mean" if (folder / "modules.json").is_file() else "last",
        notes=[*training["notes"], *([_SMALL] if base == BUNDLED else [])],
    )
    write_text(folder / "README.md", card.render())


def _heads(figures: dict[str, Any], settings: dict[str, Any]) -> str | None:
    """Of which groups, with what they are worth on the validation split."""
    rows = figures.get("groups") or []
    together = rows[-1]["scores"]["rps"] if rows else {}
    worth = "; validation RPS " + ", ".join(f"{who} {score:.4f}" for who, score in together.items()) if rows else ""
    return f"{settings['group_heads']}{worth}" if settings.get("group_heads") else None


def _loss(objective: str) -> str:
    """What the objective compares, in words."""
    compared = ["the predicted and the fitted distribution"] if on_rows(objective) else []
    compared += ["the predicted and the observed share of people who prefer a response"] if on_pairs(objective) else []
    return f"{objective} between {', and between '.join(compared)}"


def shown_reference(reference: str) -> str:
    """A model or dataset as a card names it: the bundled model by its origin, a local path by its last part."""
    if reference == BUNDLED:
        return _BUNDLED_FROM
    return Path(reference).name if Path(reference).exists() else reference


def _scalar_card(name: str, base: str, training: dict[str, Any]) -> str:
    settings, figures = training["settings"], training["figures"]
    return (
        "---\nlibrary_name: transformers\ntags:\n- reward-model\n- dprm\n---\n"
        f"# {name}\n\nA scalar reward model (objective `{settings['objective']}`, on preference pairs), trained from "
        f"{base} with dprm-data as the baseline to a "
        f"distributional one. Its one output is the reward; only differences between responses mean anything.\n\n"
        f"{training['rows']['train']:,} responses, {figures['epochs']:g} epochs, seed {settings['seed']}. "
        "Settings and figures are in `dprm_training.json`.\n"
    )


def simulated_share(run: Path) -> float | None:
    """The share of a run's annotations that come from a language model; None if unknown."""
    file = run / "tables" / "annotations.parquet"
    if not file.is_file():
        return None
    import pyarrow.parquet as pq

    kinds = pq.read_table(file, columns=["annotator_kind"])["annotator_kind"].to_pylist()
    return kinds.count("persona") / len(kinds) if kinds else None
