"""A validation in sentences: how many people the panel is worth, where it errs, and what that means for whoever thinks of replacing people. From the content of `scores.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dprm_data.core.format import number, percent
from dprm_data.validation.distance import AVERAGE, HALF
from dprm_data.validation.panel_validation import CALIBRATED, PUBLISHED, RAW

Content = Mapping[str, Any]


def between(interval: Content | None, digits: int = 2, *, sign: bool = False) -> str:
    """ "0.31 (0.28 to 0.35)"; "–" where it is not known."""
    if interval is None or interval["value"] is None:
        return "–"
    value, low, high = (number(interval[end], digits, sign=sign) for end in ("value", "low", "high"))
    return value if interval["low"] is None else f"{value} ({low} to {high})"


def people_between(worth: Content) -> str:
    """ "2.3 people (1.6 to 3.4)"; without an upper end "2.3 people (at least 1.6)"."""
    if worth["people"] is None:
        return "as many people as there are" if worth["low"] is None else f"at least {number(worth['low'], 1)} people"
    said = f"{number(worth['people'], 1)} {'person' if number(worth['people'], 1) == '1.0' else 'people'}"
    if worth["low"] is None:
        return said
    return (
        f"{said} ({number(worth['low'], 1)} to {number(worth['high'], 1)})"
        if worth["high"] is not None
        else f"{said} (at least {number(worth['low'], 1)})"
    )


def kind_of(arm: Content) -> str:
    """The prediction that a run would publish."""
    return PUBLISHED if PUBLISHED in arm["worth"] else RAW


def score_of(content: Content, name: str) -> Content | None:
    found: Content | None = next((row for row in content["distances"] if row["name"] == name), None)
    return found


def meaning(content: Content, arm: Content) -> tuple[str, bool]:
    """What the validation means for replacing people by this panel, in one sentence; and whether that is a warning."""
    score = score_of(content, f"{arm['name']}: {kind_of(arm)}")
    calibrated = score_of(content, f"{arm['name']}: {CALIBRATED}")
    people = arm["worth"][kind_of(arm)]["distribution"]
    low = score["skill"]["low"] if score else None
    better = (
        f" Calibrated with people's answers to other items it is of use: skill {between(calibrated['skill'])}."
        if _above(calibrated)
        else ""
    )
    if low is None or low <= 0:
        return (
            f"Do not put this panel in the place of people here: it says no more of an item than the average of all items does.{better}",
            True,
        )
    if people["people"] is not None and people["people"] < 1:
        return (
            f"One person's answer to an item is closer to the crowd than this whole panel; it is no substitute for people here.{better}",
            True,
        )
    return (
        "On items like these the panel can stand for a few people. Have people judge what matters, and calibrate with their answers.",
        False,
    )


def _above(score: Content | None) -> bool:
    return score is not None and score["skill"]["low"] is not None and score["skill"]["low"] > 0


def findings(content: Content, arm: Content) -> Iterator[tuple[str, str, bool]]:
    """What is found of one panel, as (question, answer, whether it is a concern), the most important first."""
    kind = kind_of(arm)
    worth, means = arm["worth"][kind], arm["means"]
    said, concern = meaning(content, arm)
    yield "May it replace people?", said, concern
    yield (
        "Worth",
        f"{people_between(worth['distribution'])} for the whole distribution, {people_between(worth['mean'])} for the mean",
        bool(worth["distribution"]["people"] is not None and worth["distribution"]["people"] < 1),
    )
    yield "Skill", _skill(content, arm, kind), not _above(score_of(content, f"{arm['name']}: {kind}"))
    yield from _errors(means)
    if arm["above_noise"] is not None:
        answer = (
            "differ beyond noise"
            if arm["above_noise"]
            else "do not differ beyond noise: they answer as one and the same annotator would"
        )
        yield "Personas", f"{answer}. {' '.join(arm['variance'])}".strip(), not arm["above_noise"]
    for group in arm["groups"]:
        yield f"By {group['attribute']}", _group(group), group["p_value"] > 0.05
    if test := arm["alternative"]:
        answer = "passed" if test["winning_rate"] >= 0.5 else "not passed"
        yield (
            "Alternative annotator test",
            f"{answer}: it may replace {percent(test['winning_rate'])} of {test['people']} people (ε = {test['epsilon']:g}); "
            f"at least as close to the others as one of them on {percent(test['advantage'])} of items",
            test["winning_rate"] < 0.5,
        )
    if pairs := arm["pairwise"]:
        of = "of responses to one prompt" if pairs["same_prompt"] else "of random items"
        yield (
            "Pairs",
            f"squared error of the share that prefers one {number(pairs['error']['value'], 3)}; half of the people {number(pairs['floor']['value'], 3)}, always one half "
            f"{number(pairs['average']['value'], 3)}; on the crowd's side in {between(pairs['accuracy'])} of {pairs['pairs']:,} pairs {of}",
            pairs["error"]["value"] > pairs["average"]["value"],
        )


def _skill(content: Content, arm: Content, kind: str) -> str:
    said = []
    for name, label in (
        (f"{arm['name']}: {kind}", ""),
        (f"{arm['name']}: {CALIBRATED}", "calibrated "),
        (HALF, "half of the people "),
    ):
        if score := score_of(content, name):
            said.append(f"{label}{between(score['skill'])}")
    for rival in content["arms"]:
        score = score_of(content, f"{rival['name']}: {RAW}")
        if rival["role"] != "panel" and score and rival["models"] == arm["models"]:
            named = "one neutral annotator" if rival["role"] == "neutral" else "one stated distribution"
            said.append(f"{named} {between(score['skill'])}")
    return f"{'; '.join(said)}. 0: the {AVERAGE}; 1: the crowd itself"


def _errors(means: Content) -> Iterator[tuple[str, str, bool]]:
    bias = means["bias"]
    sure = bias["low"] is not None and (bias["low"] > 0 or bias["high"] < 0)
    way = ("too lenient" if bias["value"] > 0 else "too harsh") if sure else "no bias found"
    yield "Mean", f"{way}: {between(bias, sign=True)} in units of reward", sure
    narrow = means["width"]["high"] is not None and means["width"]["high"] < 1
    wide = means["width"]["low"] is not None and means["width"]["low"] > 1
    way = "too narrow" if narrow else "too wide" if wide else "as wide as people's"
    yield "Spread", f"{way}: {between(means['width'])} of the spread between people", narrow or wide
    if means["held"]["value"] is not None:
        unsure = means["held"]["high"] is not None and means["held"]["high"] < 0.9
        yield (
            "Intervals",
            f"{'too sure: ' if unsure else ''}the 90 % interval holds people's mean in {percent(means['held']['value'])} of items",
            unsure,
        )
    yield (
        "Items",
        f"means correlate {between(means['means'])} with people's (two halves of the people: {between(means['means_of_people'])}); "
        f"disagreement {between(means['disagreement'])} (people: {between(means['disagreement_of_people'])})",
        means["means"]["low"] is None or means["means"]["low"] <= 0,
    )


def _group(group: Content) -> str:
    said = f"alignment {between(group['alignment'], 4, sign=True)}, of {between(group['possible'], 4, sign=True)} possible; p = {group['p_value']:.3f}"
    if group["possible"]["low"] is None or group["possible"]["low"] <= 0:
        return f"{said}. People of these groups hardly differ on these items: nothing to reproduce"
    if group["least"] > 0.05:
        return f"{said}. So few personas cannot show an effect (least p: {group['least']:.2f})"
    return f"{said}. {'Personas of a group answer as its people do, more than as others' if group['p_value'] <= 0.05 else 'Personas of a group answer no more like its people than like others'}"
