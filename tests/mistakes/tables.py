"""Mistakes with tables of votes and ratings."""

from __future__ import annotations

from tests.mistakes.mistake import PEOPLE, RATINGS, VOTES, Mistake

_FIT = "ratings fit {} --labels 5 --output new.parquet"


def _rated(**ratings: object) -> dict[str, object]:
    return (
        {"provider": None, "panel": None, "source": None, "budget": None, "output": "people"}
        | PEOPLE
        | {
            "ratings": PEOPLE["ratings"] | ratings  # type: ignore[operator]
        }
    )


VOTE_TABLES = [
    Mistake("The table does not exist.", _FIT.format("vote.csv"), ("vote.csv", "CSV")),
    Mistake("The scale is missing.", "ratings fit votes.csv --output new.parquet", ("--labels",)),
    Mistake("The output is missing.", "ratings fit votes.csv --labels 5", ("--output",)),
    Mistake(
        "No column holds labels.",
        _FIT.format("odd.csv"),
        ("odd.csv", "label", "--column"),
        files={"odd.csv": VOTES.replace("label", "stars_given")},
    ),
    Mistake(
        "It is ambiguous whether the labels start at 0 or 1.",
        _FIT.format("middle.csv"),
        ("middle.csv", "--base"),
        files={"middle.csv": "item_id,annotator_id,label\na,ann,2\na,ben,3\nb,ann,2\nb,ben,4\n"},
    ),
    Mistake(
        "A label is outside the scale.",
        _FIT.format("votes.csv"),
        ("votes.csv", "row 1", "9", "--bad-rows skip"),
        files={"votes.csv": VOTES.replace("face 0,rater 0,1", "face 0,rater 0,9")},
    ),
    Mistake(
        "The scale has too few levels.",
        "ratings fit votes.csv --labels 4 --output new.parquet",
        ("votes.csv", "5"),
    ),
    Mistake(
        "Labels are names that the scale does not have.",
        _FIT.format("named.csv"),
        ("named.csv", "superb"),
        files={"named.csv": "item_id,annotator_id,label\na,ann,superb\na,ben,poor\n"},
    ),
    Mistake(
        "Somebody rated an item twice.",
        _FIT.format("votes.csv"),
        ("face 0", "rater 0", "--duplicates"),
        files={"votes.csv": VOTES + "face 0,rater 0,2\n"},
    ),
    Mistake(
        "A wide table does not say which columns are raters.",
        _FIT.format("wide.csv"),
        ("wide.csv", "--rater-columns"),
        files={"wide.csv": "id,ann,ben\na,1,2\nb,5,4\n"},
    ),
    Mistake("The table is empty.", _FIT.format("none.csv"), ("none.csv", "empty"), files={"none.csv": ""}),
    Mistake(
        "The table has a header, but no rows.",
        _FIT.format("none.csv"),
        ("none.csv", "no"),
        files={"none.csv": "item_id,annotator_id,label\n"},
    ),
    Mistake(
        "A row has too few cells.",
        _FIT.format("votes.csv"),
        ("votes.csv", "row 31", "--bad-rows skip"),
        files={"votes.csv": VOTES + "face 0\n"},
    ),
    Mistake(
        "An old Excel format.", _FIT.format("votes.xls"), (".xls", ".xlsx"), files={"votes.xls": b"\xd0\xcf\x11\xe0"}
    ),
    Mistake(
        "A CSV file with the extension .parquet.",
        _FIT.format("v.parquet"),
        ("v.parquet", "suffix"),
        files={"v.parquet": VOTES},
    ),
    Mistake(
        "Next month's labels are on another scale.",
        "ratings drift fitted.parquet april.csv",
        ("april.csv", "7"),
        files={"april.csv": VOTES.replace("face 0,rater 0,1", "face 0,rater 0,7")},
    ),
    Mistake(
        "An update of votes that were never fitted.",
        "ratings update votes.csv votes.csv --output new.parquet",
        ("votes.csv", "fit"),
    ),
    Mistake(
        "The output's folder is a file.",
        "ratings fit votes.csv --labels 5 --output votes.csv/new.parquet",
        ("votes.csv/new.parquet", "folder"),
    ),
    Mistake(
        "Groups by a column that does not exist.", "ratings groups votes.csv --labels 5 --by age", ("votes.csv", "age")
    ),
    Mistake("An option for tables is given with a run.", "ratings agreement run --labels 5", ("run", "Omit")),
    Mistake(
        "`--forgetting` above 1.",
        "ratings update fitted.parquet votes.csv --output new.parquet --forgetting 1.5",
        ("forgetting", "1"),
    ),
    Mistake(
        "Ratings with texts: the rated column is not named.",
        "run recipe.yaml",
        ("ratings.csv", "columns"),
        recipe=_rated(),
        files={"ratings.csv": RATINGS.replace("response", "reply_text")},
    ),
    Mistake(
        "Ratings with texts: the table does not exist.",
        "run recipe.yaml",
        ("rating.csv",),
        recipe=_rated(path="rating.csv"),
    ),
    Mistake(
        "Ratings with texts: a rater's attribute does not exist.",
        "run recipe.yaml",
        ("ratings.attributes", "gender", "rater"),
        recipe=_rated(attributes=["gender"]),
    ),
    Mistake(
        "Ratings with texts: every label is outside the scale.",
        "run recipe.yaml",
        ("ratings.csv", "label"),
        recipe=_rated(),
        files={"ratings.csv": "prompt,response,rater,label\nA?,B.,ann,70\nA?,C.,ann,80\n"},
    ),
    Mistake("A pilot of people's ratings.", "pilot recipe.yaml", ("recipe", "model"), recipe=_rated()),
]
