"""Small models against real crowds: how far is a panel of six personas from people, beside its rivals and its floor?

    python -m benchmarks.validation FOLDER [--model FILE.gguf] [--items 50] [--output FOLDER] [--write]

FOLDER has convabuse.parquet (abuse of chatbots, five levels, about 3 raters an item) and chaosnli.parquet (entailment, three labels, 100 raters an item), each as a long table with
context, response, rater_id and label. The bundled model is always asked, and --model beside it. Six of the fifteen personas of the bundled panel `paper`, by log-probabilities, each asked twice (the labels in another order); the neutral
annotator alone; one stated distribution per item. What was interrupted goes on in --output. --write puts the tables into docs/validation-measured.md, and the sentences into docs/validation-verdicts.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.document import write
from dprm_data import Progress, load_panel, validate
from dprm_data.validation.validation_sentences import between, findings, kind_of, people_between

SETS: dict[str, dict[str, Any]] = {
    "convabuse": {
        "question": "Read the response as a message from a user to a chatbot. Is it",
        "levels": {
            "very strongly abusive": ("extremely abusive", "threats, hate or degradation of the worst kind"),
            "strongly abusive": ("strongly abusive", "clearly meant to insult, harass or degrade"),
            "mildly abusive": ("mildly abusive", "rude or hurtful, but not gravely so"),
            "ambivalent": ("ambivalent", "it may be abusive or not; one cannot tell"),
            "not abusive": ("not abusive", "nothing in it is meant to hurt"),
        },
        "axis": "abuse",
        "name": "abuse5",
        "about": "How abusive a message to a chatbot is, on the five levels of ConvAbuse.",
        "first": -3,
        "items": 50,
        "anonymous": False,
    },
    "chaosnli": {
        "question": "Take the prompt as true. Is the response, then,",
        "levels": {
            "contradiction": ("false", "it cannot be true if the prompt is"),
            "neutral": ("undetermined", "it may be true or not"),
            "entailment": ("true", "it must be true if the prompt is"),
        },
        "axis": "truth",
        "name": "nli3",
        "about": "Whether a hypothesis follows from a premise.",
        "first": -1,
        "items": 30,
        "anonymous": True,  # the raters' ids are placeholders
    },
}


def labels(about: Mapping[str, Any]) -> dict[str, Any]:
    """A label space as a recipe has it."""
    levels = [{"name": name, "word": word, "description": said} for name, (word, said) in about["levels"].items()]
    return {
        "name": about["name"],
        "description": about["about"],
        "axes": [{"name": about["axis"], "question": about["question"], "levels": levels}],
        "labels": [
            {"name": name, "reward": about["first"] + i, "levels": {about["axis"]: name}}
            for i, name in enumerate(about["levels"])
        ],
        "cost": "rewards",
    }


def six_personas() -> dict[str, Any]:
    """Every second of the first twelve."""
    panel = load_panel("paper")
    return {"name": "paper-six", "personas": [persona.model_dump(mode="json") for persona in panel.personas[:12:2]]}


class Said(Progress):
    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def scores(data: Path, name: str, model: str, items: int, output: Path) -> dict[str, Any]:
    """Validate one model against one set."""
    about = SETS[name]
    provider = {"name": "local", "temperature": 1.0} | ({"model": model} if model else {})
    recipe = {
        "name": f"{name}-{'model' if model else 'bundled'}",
        "labels": labels(about),
        "panel": {"use": six_personas()},
        "elicitation": "logprobs",
        "replicates": 2,  # the labels in another order: without it nobody knows whether a persona is more than noise
        "provider": provider,
    }
    found = validate(
        recipe,
        data / f"{name}.parquet",
        items=items,
        columns={"prompt": "context"},
        anonymous=about["anonymous"],
        output=output,
        progress=Said(),
    )
    return found.as_dict()


def tables(found: Mapping[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """Scores of every prediction."""
    yield "| set | model | prediction | RPS | skill | worth, distribution | worth, mean |"
    yield "|---|---|---|---|---|---|---|"
    shown_before: set[tuple[str, str]] = set()
    for (name, model), content in found.items():
        for row in content["distances"]:
            if (name, row["name"]) in shown_before:
                continue  # what does not depend on the model
            shown_before.add((name, row["name"]))
            arm, _, kind = row["name"].rpartition(": ")
            own = next((each for each in content["arms"] if each["name"] == arm), None)
            said = {"panel": "six personas", "neutral": "neutral annotator", "stated": "stated distribution"}
            shown = (
                f"{said[own['role']]}, {kind}"
                if own and own["role"] == "panel"
                else said[own["role"]]
                if own
                else row["name"]
            )
            worth = own["worth"][kind] if own else None
            people = [people_between(worth[each]) for each in ("distribution", "mean")] if worth else ["", ""]
            yield f"| {name} | {model if own else ''} | {shown} | {between(row['rps'], 3)} | {between(row['skill'])} | {people[0]} | {people[1]} |"


def verdicts(found: Mapping[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """What was found of every panel."""
    for (name, model), content in found.items():
        arm = content["arms"][0]
        people = f" by {content['people']} people" if content["people"] else ""
        yield f"**{name}, {model}**: {content['items']} items, {content['votes']:,} answers{people}, {arm['calls']:,} annotations by six personas. Published distributions ({kind_of(arm)}):"
        yield ""
        yield from (
            f"- {line.question}: **{line.answer}**{f'; {line.detail}' if line.detail else ''}"
            for line in findings(content, arm)
        )
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="", help="a GGUF file, beside the bundled model")
    parser.add_argument("--items", type=int, help="of each set; default: 50 of convabuse, 30 of chaosnli")
    parser.add_argument("--output", type=Path, default=Path("runs/validation"))
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the tables into docs/validation-measured.md, the sentences into docs/validation-verdicts.md",
    )
    options = parser.parse_args()
    models = {"bundled, 135M": ""} | ({"1.5B": options.model} if options.model else {})
    found = {
        (name, said): scores(
            options.data,
            name,
            model,
            options.items or SETS[name]["items"],
            options.output / f"{name}-{'model' if model else 'bundled'}",
        )
        for name in SETS
        for said, model in models.items()
    }
    pages = {"measured": list(tables(found)), "verdicts": list(verdicts(found))}
    print("\n".join(line for lines in pages.values() for line in ["", *lines]))
    if options.write:
        for section, lines in pages.items():
            write({section: lines}, Path(f"docs/validation-{section}.md"))


if __name__ == "__main__":
    main()
