"""Writes the bundled panel `demographic`: one persona per cell of age x sex x region x education of adults in the United States.

    python examples/panels/demographic.py > personas/demographic.yaml

Copy it and change the tables below to make such a panel for another population.

Weights are products: the share of the age and sex, times that of the region, times that of the education, as if the three were
independent of each other (they are not quite). Where the shares come from:

- age x sex: US Census Bureau figures on adults, summed over race, in the classes 18-24, 25-34 ... 65+ that are merged here;
- region: resident population of the four census regions, 2020 Census (57,609,148 + 68,985,454 + 126,266,107 + 78,588,572 = 331,449,281);
- education: one third each. That is an assumption, not a figure.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import yaml


class Age(NamedTuple):
    years: int  # of the persona
    stage: str
    men: float  # shares of all adults
    women: float


AGES = {
    "18-24": Age(
        21, "You are at the beginning of adult life and most of what you know of the world is recent", 0.0641, 0.0609
    ),
    "25-44": Age(
        35, "You are in the middle of working life, with bills, plans and people who count on you", 0.1791, 0.1722
    ),
    "45-64": Age(54, "You have decades of work and of other people's advice behind you, good and bad", 0.1566, 0.1585),
    "65+": Age(
        72, "You have seen fashions and certainties come and go, and you have time to read twice", 0.0934, 0.1152
    ),
}
SEXES = {"male": "man", "female": "woman"}
REGIONS = {
    "Northeast": 57_609_148 / 331_449_281,
    "Midwest": 68_985_454 / 331_449_281,
    "South": 126_266_107 / 331_449_281,
    "West": 78_588_572 / 331_449_281,
}
EDUCATIONS = {
    "high school": (
        1 / 3,
        "You went to work after high school and learned what you know by doing it; you like answers in plain words that can be used",
    ),
    "some college": (
        1 / 3,
        "You have some college or a trade certificate; you like answers that explain the why without making a lecture of it",
    ),
    "degree": (
        1 / 3,
        "You finished university; you like answers that give their reasons and admit what they leave out",
    ),
}

HEADER = """\
# One persona for each cell of age x sex x region x education of adults in the United States: 4 x 2 x 4 x 3 = 96.
# Written by examples/panels/demographic.py: change it there.
#
# What it is for: to ask a panel whose composition is known, and to draw from it by strata
# (panel: {use: demographic, sample: 12, stratify: [age, sex]}).
# What it is not: a survey. A language model plays these people. It knows about them only what stands below, and whatever it believes
# about such groups, which may be a stereotype. Do not report its labels as what these groups think.
#
# Where the weights come from: age x sex from US Census Bureau figures on adults (summed over race); region from the resident population
# of the 2020 Census; education is assumed to be one third each, which is no census figure. The three are multiplied as if they were
# independent.
"""


def panel() -> dict[str, object]:
    """The panel as `dprm_data.panel.panel_sources.load_panel` takes it."""
    cells = product(AGES, SEXES, REGIONS, EDUCATIONS)
    return {
        "name": "demographic",
        "description": "Adults in the United States, one persona per cell of age, sex, region and education.",
        "source": "Age x sex: US Census Bureau. Region: 2020 Census. Education: assumed uniform. Multiplied as if independent.",
        "personas": [persona(*cell) for cell in cells],
    }


def persona(age: str, sex: str, region: str, education: str) -> dict[str, object]:
    """The persona of one cell."""
    about, (share, schooling) = AGES[age], EDUCATIONS[education]
    who = SEXES[sex]
    weight = (about.men if sex == "male" else about.women) * REGIONS[region] * share
    return {
        "id": "-".join([sex, age.replace("+", "plus"), region.lower(), education.replace(" ", "_")]),
        "name": f"{who.capitalize()} of {about.years}, {region}, {education}",
        "attributes": {"age": age, "sex": sex, "region": region, "education": education},
        "weight": round(weight, 6),
        "description": (
            f"You are a {who} of {about.years} and live in the {region} of the United States. {about.stage}. {schooling}. "
            "You judge an answer by whether it would help or harm you and the people you know, as one person and not as a spokesperson "
            "for any group."
        ),
    }


if __name__ == "__main__":
    print(HEADER + yaml.safe_dump(panel(), sort_keys=False, allow_unicode=True, width=130), end="")
