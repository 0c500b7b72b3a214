"""Writes the bundled panel `demographic`: one persona per cell of age x sex x region x education of adults in the United States.

    python examples/panels/demographic.py > personas/demographic.yaml

Copy it and change the tables below to make such a panel for another population.

Descriptions are the cell's facts in fixed words, and nothing that we would only guess of such people.

Weights are products: the share of the age and sex, times that of the region, times that of the education, as if the three were
independent of each other (they are not quite). Where the shares come from:

- age x sex: US Census Bureau figures on adults, summed over race, in the classes 18-24, 25-34 ... 65+ that are merged here;
- region: resident population of the four census regions, 2020 Census (57,609,148 + 68,985,454 + 126,266,107 + 78,588,572 = 331,449,281);
- education: Census Bureau, Educational Attainment in the United States: 2022 (press release CB23-TPS.21), of people aged 25 and over: less than high
  school 9 %, high school 28 %, some college 15 %, associate degree 10 %, bachelor's degree or more 37.7 %. We use it for those aged 18-24, too, of whom
  many are still being educated.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import yaml


class Age(NamedTuple):
    said: str
    men: float  # shares of all adults
    women: float


AGES = {
    "18-24": Age("aged 18 to 24", 0.0641, 0.0609),
    "25-44": Age("aged 25 to 44", 0.1791, 0.1722),
    "45-64": Age("aged 45 to 64", 0.1566, 0.1585),
    "65+": Age("aged 65 or older", 0.0934, 0.1152),
}
SEXES = {"male": "man", "female": "woman"}
REGIONS = {
    "Northeast": 57_609_148 / 331_449_281,
    "Midwest": 68_985_454 / 331_449_281,
    "South": 126_266_107 / 331_449_281,
    "West": 78_588_572 / 331_449_281,
}
_EDUCATED = 9 + 28 + 15 + 10 + 37.7  # rounded figures: 99.7 %
EDUCATIONS = {
    "high school": ((9 + 28) / _EDUCATED, "a high school diploma or less"),
    "some college": ((15 + 10) / _EDUCATED, "some college or an associate degree"),
    "degree": (37.7 / _EDUCATED, "a bachelor's degree or more"),
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
# of the 2020 Census; education from the Census Bureau's Educational Attainment in the United States: 2022 (people aged 25 and over). The
# three are multiplied as if they were independent.
"""


def panel() -> dict[str, object]:
    """The panel as `dprm_data.panel.panel_sources.load_panel` takes it."""
    cells = product(AGES, SEXES, REGIONS, EDUCATIONS)
    return {
        "name": "demographic",
        "description": "Adults in the United States, one persona per cell of age, sex, region and education.",
        "source": "US Census Bureau. Age x sex: adults. Region: 2020 Census. Education: 2022, aged 25 and over. Multiplied as if independent.",
        "personas": [persona(*cell) for cell in cells],
    }


def persona(age: str, sex: str, region: str, education: str) -> dict[str, object]:
    """The persona of one cell."""
    about, (share, schooling) = AGES[age], EDUCATIONS[education]
    who = SEXES[sex]
    weight = (about.men if sex == "male" else about.women) * REGIONS[region] * share
    return {
        "id": "-".join([sex, age.replace("+", "plus"), region.lower(), education.replace(" ", "_")]),
        "name": f"{who.capitalize()} {about.said}, {region}, {education}",
        "attributes": {"age": age, "sex": sex, "region": region, "education": education},
        "weight": round(weight, 6),
        "description": (
            f"You are a {who} {about.said} and live in the {region} of the United States. "
            f"Your highest level of education is {schooling}."
        ),
    }


if __name__ == "__main__":
    print(HEADER + yaml.safe_dump(panel(), sort_keys=False, allow_unicode=True, width=130), end="")
