"""A validation in sentences: how many people the panel is worth, where it errs, and what that means for whoever thinks of replacing people. From the content of `scores.json`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dprm_data.core.format import number, percent
from dprm_data.runs.verdict_line import Line
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


def findings(content: Content, arm: Content) -> Iterator[Line]:
    """What was found of one panel, the most important first."""
    kind = kind_of(arm)
    worth, means = arm["worth"][kind], arm["means"]
    yield meaning(content, arm)
    yield Line(
        "Worth",
        people_between(worth["distribution"]),
        f"for the whole distribution; {people_between(worth['mean'])} for the mean",
        worth["distribution"]["people"] is not None and worth["distribution"]["people"] < 1,
    )
    yield _skill(content, arm, kind)
    yield from _errors(means)
    if arm["above_noise"] is not None:
        answer = "differ beyond noise" if arm["above_noise"] else "do not differ beyond noise"
        yield Line("Personas", answer, " ".join(arm["variance"]), not arm["above_noise"])
    for group in arm["groups"]:
        yield _by_group(group)
    if test := arm["alternative"]:
        yield Line(
            "Alternative annotator test",
            "passed" if test["winning_rate"] >= 0.5 else "not passed",
            f"it may replace {percent(test['winning_rate'])} of {test['people']} people (ε = {test['epsilon']:g}); "
            f"on {percent(test['advantage'])} of items it is at least as close to the others as one of them is",
            test["winning_rate"] < 0.5,
        )
    if pairs := arm["pairwise"]:
        of = "of responses to one prompt" if pairs["same_prompt"] else "of random items"
        yield Line(
            "Pairs",
            f"on the crowd's side in {percent(pairs['accuracy']['value'])}",
            f"of {pairs['pairs']:,} pairs {of}; squared error of the share that prefers one: {number(pairs['error']['value'], 3)}, half of the people "
            f"{number(pairs['floor']['value'], 3)}, always one half {number(pairs['average']['value'], 3)}",
            pairs["error"]["value"] > pairs["average"]["value"],
        )


def meaning(content: Content, arm: Content) -> Line:
    """What the validation means for replacing people by this panel."""
    question = "May it replace people?"
    score = score_of(content, f"{arm['name']}: {kind_of(arm)}")
    calibrated = score_of(content, f"{arm['name']}: {CALIBRATED}")
    people = arm["worth"][kind_of(arm)]["distribution"]["people"]
    better = (
        f" Calibrated with people's answers to other items it is of use (skill {between(calibrated['skill'])})."
        if calibrated and _above(calibrated)
        else ""
    )
    if not _above(score):
        return Line(
            question, "no", f"it predicts an item no better than the average of all items does.{better}", concern=True
        )
    if people is not None and people < 1:
        return Line(
            question,
            "no",
            f"one person's answer to an item is closer to the crowd than this whole panel.{better}",
            concern=True,
        )
    return Line(
        question,
        "a few, on items like these",
        "have people judge what matters, and calibrate the panel with their answers",
    )


def _above(score: Content | None) -> bool:
    return score is not None and score["skill"]["low"] is not None and bool(score["skill"]["low"] > 0)


def _skill(content: Content, arm: Content, kind: str) -> Line:
    own = score_of(content, f"{arm['name']}: {kind}")
    said = []
    for name, label in ((f"{arm['name']}: {CALIBRATED}", "calibrated"), (HALF, HALF)):
        if score := score_of(content, name):
            said.append(f"{label} {between(score['skill'])}")
    for rival in content["arms"]:
        score = score_of(content, f"{rival['name']}: {RAW}")
        if rival["role"] != "panel" and score and rival["models"] == arm["models"]:
            named = "one neutral annotator" if rival["role"] == "neutral" else "one stated distribution"
            said.append(f"{named} {between(score['skill'])}")
    return Line(
        "Skill",
        between(own["skill"]) if own else "–",
        f"0 is the {AVERAGE}, 1 the crowd itself; {'; '.join(said)}",
        not _above(own),
    )


def _errors(means: Content) -> Iterator[Line]:
    bias = means["bias"]
    sure = bias["low"] is not None and (bias["low"] > 0 or bias["high"] < 0)
    way = ("too lenient" if bias["value"] > 0 else "too harsh") if sure else "no bias found"
    yield Line("Mean", way, f"by {between(bias, sign=True)} in units of reward", sure)
    narrow = means["width"]["high"] is not None and means["width"]["high"] < 1
    wide = means["width"]["low"] is not None and means["width"]["low"] > 1
    way = "too narrow" if narrow else "too wide" if wide else "as wide as people's"
    yield Line("Spread", way, f"{between(means['width'])} of the spread between people", narrow or wide)
    if means["held"]["value"] is not None:
        unsure = means["held"]["high"] is not None and means["held"]["high"] < 0.9
        held = f"the 90 % interval holds people's mean in {percent(means['held']['value'])} of items"
        yield Line("Intervals", "too sure" if unsure else "not too sure", held, unsure)
    yield Line(
        "Items",
        f"means correlate {between(means['means'])}",
        f"with people's (two halves of the people: {between(means['means_of_people'])}); disagreement {between(means['disagreement'])} "
        f"(people: {between(means['disagreement_of_people'])})",
        means["means"]["low"] is None or means["means"]["low"] <= 0,
    )


def _by_group(group: Content) -> Line:
    detail = f"alignment {between(group['alignment'], 4, sign=True)}, of {between(group['possible'], 4, sign=True)} possible; p = {group['p_value']:.3f}"
    shown = group["p_value"] <= 0.05
    if group["possible"]["low"] is None or group["possible"]["low"] <= 0:
        answer = "people of these groups hardly differ on these items: there is nothing to reproduce"
    elif shown:
        answer = "personas of a group answer as its people do, more than as others do"
    elif group["least"] > 0.05:
        answer, detail = (
            "too few personas to tell",
            f"{detail}; the least p that they could give is {group['least']:.2f}",
        )
    else:
        answer = "personas of a group answer no more like its people than like others"
    return Line(f"By {group['attribute']}", answer, detail, not shown)
