"""Public sets of people's votes: each is read from files of its documented form, and what is missing is named."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dprm_data.core.errors import DprmError, SourceError, VotesError
from dprm_data.core.text import markdown_row
from dprm_data.ingest.named_sets.collection import load_named, named_sets, set_rows
from dprm_data.ingest.named_sets.named_set import LoadedSet
from dprm_data.ingest.rated_items import read_rated_items
from dprm_data.recipe.people_config import RatingsConfig
from tests.helpers import ROOT, environ
from tests.ingest import set_samples
from tests.servers.hub import Hub


def votes(loaded: LoadedSet) -> Counter[tuple[Any, ...]]:
    """How much weight each item's label has, by rater."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in loaded.votes.to_pylist():
        found[row["item_id"], row["rater_id"], row["label"]] += row["weight"]
    return found


def test_dices(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    loaded = load_named("dices-350", tmp_path)
    assert votes(loaded) == {
        ("1", "7", "unsafe"): 1,
        ("1", "8", "safe"): 1,
        ("2", "7", "unsure"): 1,
        ("2", "8", "safe"): 1,
    }
    first = loaded.votes.to_pylist()[0]
    assert (first["prompt"], first["response"]) == ("USER: Question 1?\nLAMDA: Well.\nUSER: So?", "Answer 1.")
    assert (first["gender"], first["age"]) == ("Man", "gen z")
    assert loaded.attributes == ("gender", "age")  # nobody's race is known here
    assert loaded.labels.names == ["unsafe", "unsure", "safe"]
    assert loaded.about.unit == "vote" and not loaded.notes


def by_text(loaded: LoadedSet) -> Counter[tuple[str, str]]:
    """How much weight each response's label has."""
    found: Counter[tuple[str, str]] = Counter()
    for row in loaded.votes.to_pylist():
        found[row["response"], row["label"]] += row["weight"]
    return found


def test_helpsteer2_counts_what_nobody_signed(tmp_path: Path) -> None:
    set_samples.helpsteer2(tmp_path)
    loaded = load_named("helpsteer2", tmp_path)
    assert by_text(loaded) == {
        ("Apple.", "extremely helpful"): 2,
        ("Apple.", "mostly helpful"): 1,
        ("Pear.", "not helpful"): 1,
        ("Pear.", "partially helpful"): 1,
    }
    assert loaded.about.unit == "count" and loaded.votes["rater_id"].null_count == loaded.votes.num_rows
    assert loaded.votes["prompt"].to_pylist()[-1] == "user: Hi.\n\nassistant: Hello!\n\nuser: A fruit?\n"


def test_helpsteer3_has_both_responses(tmp_path: Path) -> None:
    set_samples.helpsteer3(tmp_path)
    loaded = load_named("helpsteer3", tmp_path)
    both = "Response 1:\nApple.\n\nResponse 2:\nA stone."
    assert by_text(loaded)[both, "response 1 is much better"] == 2
    assert by_text(loaded)[both, "response 2 is slightly better"] == 1
    assert loaded.votes["weight"].to_numpy().sum() == 6
    assert loaded.labels.rewards.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert loaded.votes["prompt"].to_pylist()[0] == "user: Hi.\n\nassistant: Hello!\n\nuser: A fruit?"


def test_prism_joins_the_survey(tmp_path: Path) -> None:
    set_samples.prism(tmp_path)
    loaded = load_named("prism", tmp_path)
    assert by_text(loaded) == {("Yes.", "91 to 100"): 1, ("No.", "11 to 20"): 1, ("Perhaps.", "1 to 10"): 1}
    row = loaded.votes.to_pylist()[0]
    assert (row["rater_id"], row["age"], row["reside_country"]) == ("user0", "18-24 years old", "Chile")
    assert (row["ethnicity"], row["religion"]) == ("White", "No Affiliation")
    assert any(note.startswith("answers in later turns") and note.endswith(": 1") for note in loaded.notes)
    assert loaded.labels.rewards.tolist()[:2] == [5.5, 15.5]


def test_chaosnli_counts(tmp_path: Path) -> None:
    set_samples.chaosnli(tmp_path)
    assert votes(load_named("chaosnli", tmp_path)) == {
        ("46359n", None, "entailment"): 76,
        ("46359n", None, "neutral"): 24,
        ("2.jpg", None, "contradiction"): 100,
    }


def test_convabuse_is_one_of_five_columns(tmp_path: Path) -> None:
    set_samples.convabuse(tmp_path)
    loaded = load_named("convabuse", tmp_path)
    rows = loaded.votes.to_pylist()
    assert [(row["rater_id"], row["label"], row["replicate"]) for row in rows] == [
        ("Annotator7", "mildly abusive", ""),
        ("Annotator1", "not abusive", ""),
        ("Annotator7", "very strongly abusive", "2"),
        ("Annotator1", "ambiguous", ""),
    ]
    assert (rows[0]["prompt"], rows[0]["response"]) == ("AGENT: Please go on.", "USER: You fool")
    assert (
        rows[3]["prompt"] == "AGENT: Hi.\nUSER: Hi.\nAGENT: Please go on." and rows[3]["item_id"] != rows[0]["item_id"]
    )


def test_popquorn(tmp_path: Path) -> None:
    set_samples.popquorn(tmp_path)
    for name, label in (("popquorn", "1"), ("popquorn-politeness", "5")):
        [row] = load_named(name, tmp_path).votes.to_pylist()
        assert (row["item_id"], row["response"], row["rater_id"], row["label"]) == ("530", "What a day.", "0", label)
        assert (row["race"], row["occupation"]) == ("White", "Unemployed")
    assert load_named("popquorn", tmp_path).labels.rewards.tolist() == [-1, -2, -3, -4, -5]


def test_community_alignment_is_a_choice_among_four(tmp_path: Path) -> None:
    set_samples.community_alignment(tmp_path)
    loaded = load_named("community-alignment", tmp_path)
    rows = loaded.votes.to_pylist()
    assert [(row["rater_id"], row["label"], row["country"]) for row in rows] == [
        ("a1", "response B", "india"),
        ("a2", "response D", "france"),
    ]
    assert rows[0]["item_id"] == rows[1]["item_id"] and rows[0]["response"].startswith("Response A:\nAnswer a.\n\n")
    assert (loaded.labels.ground_cost == 1 - np.eye(4)).all()  # no option is nearer than another
    assert any("1 row left out: without four responses" in note for note in loaded.notes)


def test_lewidi_2025(tmp_path: Path) -> None:
    set_samples.lewidi(tmp_path)
    loaded = load_named("lewidi", tmp_path)
    assert votes(loaded) == {("CSC_dev-3944", "Ann64", "1"): 1, ("CSC_dev-3944", "Ann65", "6"): 1}
    assert [row["age"] for row in loaded.votes.to_pylist()] == ["19.0", None]
    assert loaded.attributes == ("age",)  # a gender that has expired is not known
    several = load_named("lewidi-varierrnli", tmp_path)
    item = "VariErrNLI_dev-49807"
    assert votes(several) == {
        (item, "Ann1", "neutral"): 1,
        (item, "Ann2", "entailment"): 0.5,
        (item, "Ann2", "neutral"): 0.5,
    }
    assert "replicate" not in several.votes.column_names  # two labels at once are one judgement
    assert several.votes["education"].to_pylist() == ["master, student", None, None]


def test_lewidi_2023(tmp_path: Path) -> None:
    set_samples.lewidi(tmp_path)
    brexit = load_named("lewidi-hs-brexit", tmp_path).votes.to_pylist()
    assert [(row["rater_id"], row["label"], row["group"]) for row in brexit] == [
        ("Ann1", "no hate speech", "group1"),
        ("Ann2", "hate speech", "group1"),
        ("Ann3", "no hate speech", "group2"),
    ]
    abuse = load_named("lewidi-convabuse", tmp_path / "ConvAbuse_dataset/ConvAbuse_dev.json").votes.to_pylist()
    assert [row["label"] for row in abuse] == ["very strongly abusive", "not abusive", "ambiguous"]
    assert (abuse[0]["prompt"], abuse[0]["response"]) == ("AGENT: Go on.", "USER: No")


# -- surveys: each question has options of its own ---------------------------------------------------------------------


def by_group(loaded: LoadedSet, item: str, group: str) -> dict[str, dict[str, float]]:
    """The weight of each label of an item, by group."""
    found: dict[str, dict[str, float]] = {}
    for row in loaded.votes.to_pylist():
        if item in (row["prompt"], row["item_id"]):
            found.setdefault(row[group], {})[row["label"]] = pytest.approx(row["weight"])
    return found


def test_globalopinionqa_reads_the_scale_of_most_questions(tmp_path: Path) -> None:
    set_samples.globalopinionqa(tmp_path)
    loaded = load_named("globalopinionqa", tmp_path)
    assert loaded.labels.names == ["Very favorable", "Somewhat favorable", "Very unfavorable"]
    assert by_group(loaded, "Do you have a favorable view of France?", "country") == {
        "France": {"Very favorable": 0.625, "Somewhat favorable": 0.3125, "Very unfavorable": 0.0625},
        "Japan": {"Very favorable": 1 / 9, "Somewhat favorable": 3 / 9, "Very unfavorable": 5 / 9},
    }
    assert loaded.about.unit == "share"
    assert any("2 of 3 questions are read" in note and "Yes | No (1)" in note for note in loaded.notes)
    assert any("1 row left out: without a question" in note for note in loaded.notes)


def test_a_scale_is_chosen(tmp_path: Path) -> None:
    set_samples.globalopinionqa(tmp_path)
    loaded = load_named("globalopinionqa", tmp_path, scale="yes|no")
    assert loaded.labels.names == ["Yes", "No"]
    assert by_group(loaded, "Yes?", "country") == {"Japan": {"Yes": 0.4, "No": 0.6}}
    with pytest.raises(VotesError, match=r"no question has the options 'Good \| Bad'") as caught:
        load_named("globalopinionqa", tmp_path, scale="Good | Bad")
    assert "Very favorable | Somewhat favorable | Very unfavorable (2)" in str(caught.value.hint)


def test_a_cell_that_python_did_not_write(tmp_path: Path) -> None:
    set_samples.globalopinionqa(tmp_path)
    file = tmp_path / "data/global_opinions.csv"
    file.write_text(file.read_text().replace("['Yes', 'No']", "__import__('os').getcwd()"))
    with pytest.raises(VotesError, match=r"global_opinions\.csv:4: options must hold a list, found"):
        load_named("globalopinionqa", tmp_path)
    set_samples.globalopinionqa(tmp_path)
    file.write_text(file.read_text().replace("0.25,", "'many',"))
    with pytest.raises(VotesError, match="selections must be a number from 0, found 'many'"):
        load_named("globalopinionqa", tmp_path)


def test_opinionqa_has_people_and_their_weights(tmp_path: Path) -> None:
    set_samples.opinionqa(tmp_path)
    loaded = load_named("opinionqa", tmp_path)
    assert loaded.labels.names == ["Safer", "No more or less safe", "Less safe"]  # by the survey's own places
    assert loaded.labels.rewards.tolist() == [1, 1.5, 2]
    assert votes(loaded) == {
        ("GUNSAFE_W26", "100", "Safer"): 0.5,
        ("GUNSAFE_W26", "101", "No more or less safe"): 1.5,
        ("CAR_W27", "W27-0", "Less safe"): 1,
    }
    assert [row.get("age") for row in loaded.votes.to_pylist()] == ["18-29", None, None]
    assert any("1 row left out: the answer is 'Refused'" in note for note in loaded.notes)
    (tmp_path / "human_resp/American_Trends_Panel_W27/responses.csv").unlink()
    with pytest.raises(VotesError, match=r"W27: no file responses\.csv") as caught:
        load_named("opinionqa", tmp_path)
    assert "codalab" in str(caught.value.hint)


def test_subpop_by_group(tmp_path: Path) -> None:
    set_samples.subpop(tmp_path)
    loaded = load_named("subpop", tmp_path)
    assert loaded.labels.names == ["A lot", "Some", "Not at all"]
    assert by_group(loaded, "A_W96", "polparty") == {
        "Democrat": {"A lot": 0.5, "Some": 0.25, "Not at all": 0.25},
        None: {"Not at all": 1},
    }
    assert by_group(loaded, "A_W96", "age")["65+"] == {"Not at all": 1}
    assert set(loaded.attributes) == {"polparty", "age"}


def test_simbench_counts_people(tmp_path: Path) -> None:
    set_samples.simbench(tmp_path)
    whole = load_named("simbench", tmp_path)
    assert whole.about.name == "simbench-pop" and whole.labels.names == ["Yes", "No"]
    prompt = "Do you agree?\nOptions:\n(A): Yes\n(B): No\n(C): Don't know"
    assert by_group(whole, prompt, "country") == {"Kenya": {"Yes": 125, "No": 75}}
    assert any("the texts of the options are not known" in note for note in whole.notes)
    grouped = load_named("simbench-grouped", tmp_path)
    assert by_group(grouped, "Do you agree?", "country") == {"Kenya": {"Yes": 125, "No": 75}, "Mali": {"Yes": 200}}
    assert grouped.attributes == ("country", "age_group", "study")


# -- what all have in common ------------------------------------------------------------------------------------------


def test_every_set_says_what_it_is() -> None:
    for name, each in named_sets().items():
        assert name == each.name and each.title and each.question.endswith("?") and each.licence and each.files
        assert "arXiv" in each.citation and each.source.startswith("https://")
        assert "ublic since" in each.leakage
        assert each.labels is None or each.labels.K >= 2
    assert [row["name"] for row in set_rows()] == list(named_sets())
    assert all(all(row.values()) for row in set_rows())


def test_the_documents_list_them() -> None:
    text = (ROOT / "docs/people-sets.md").read_text(encoding="utf-8")
    for row in set_rows():
        assert markdown_row(list(row.values())).rstrip("|") in text, row["name"]


def test_a_family_is_its_first_set(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    assert load_named("dices", tmp_path).about.name == "dices-350"


def test_one_file_is_enough_under_any_name(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    file = (tmp_path / "350/diverse_safety_adversarial_dialog_350.csv").rename(tmp_path / "mine.csv")
    assert load_named("dices-350", file).votes.num_rows == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(VotesError, match=r"no file 350/diverse_safety.*_350\.csv, which dices-350 needs") as caught:
        load_named("dices-350", tmp_path)
    assert "github.com/google-research-datasets" in str(caught.value.hint) and "notes.txt" in str(caught.value.hint)
    with pytest.raises(VotesError, match="no such file or folder"):
        load_named("dices-350", tmp_path / "nowhere")


def test_a_file_that_is_there_twice(tmp_path: Path) -> None:
    for folder in ("old", "new", ".git"):
        set_samples.helpsteer2(tmp_path / folder)
    with pytest.raises(VotesError, match=r"2 files disagreements/disagreements\.jsonl\.gz") as caught:
        load_named("helpsteer2", tmp_path)
    assert "new/disagreements/disagreements.jsonl.gz" in str(caught.value.hint)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    file = tmp_path / "350/diverse_safety_adversarial_dialog_350.csv"
    file.write_text(file.read_text().replace("Q_overall", "Q_all"))
    with pytest.raises(VotesError, match=r"_350\.csv:2: no column Q_overall, as dices-350 has") as caught:
        load_named("dices-350", tmp_path)
    assert "Q_all" in str(caught.value.hint)


def test_a_broken_row_is_refused(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    file = tmp_path / "350/diverse_safety_adversarial_dialog_350.csv"
    file.write_text(file.read_text() + "5,7,Man\n")
    with pytest.raises(VotesError, match="has 3 fields, but the header has") as caught:
        load_named("dices-350", tmp_path)
    assert "again" in str(caught.value.hint)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    file = tmp_path / "350/diverse_safety_adversarial_dialog_350.csv"
    file.write_text(file.read_text().replace(",Yes\n", ",Perhaps\n").replace(",Unsure\n", ",\n"))
    loaded = load_named("dices-350", tmp_path)
    assert loaded.votes.num_rows == 2
    assert any("1 row left out: the label 'Perhaps' is not on the scale" in note for note in loaded.notes)
    assert any("1 row left out: without a label" in note for note in loaded.notes)
    file.write_text(file.read_text().replace(",No\n", ",\n"))
    with pytest.raises(VotesError, match="dices-350: no votes were found") as caught:
        load_named("dices-350", tmp_path)
    assert "Perhaps" in str(caught.value.hint)


def test_a_rater_who_judged_twice_is_numbered(tmp_path: Path) -> None:
    set_samples.dices(tmp_path)
    file = tmp_path / "350/diverse_safety_adversarial_dialog_350.csv"
    file.write_text(file.read_text() + file.read_text().split("\n", 1)[1])
    assert Counter(load_named("dices-350", tmp_path).votes["replicate"].to_pylist()) == {"": 4, "2": 4}


def test_a_name_that_nothing_has() -> None:
    with pytest.raises(VotesError, match="no set of people's votes is called 'dice-350'; did you mean 'dices-350'"):
        load_named("dice-350")


SCRIPT = """
import json, sys
from dprm_data.core.errors import VotesError
from dprm_data.ingest.named_sets.collection import load_named
for name in sys.argv[1:]:
    try:
        print(json.dumps(load_named(name).votes.to_pylist()))
    except VotesError as error:
        print(json.dumps([error.message, error.hint]))
"""


def test_a_set_comes_from_the_hub(tmp_path: Path) -> None:
    """In a process of its own: the Hub's client reads its settings when it is imported."""
    set_samples.helpsteer2(tmp_path / "files")
    file = "disagreements/disagreements.jsonl.gz"
    with Hub() as hub:
        hub.create("nvidia/HelpSteer2", private=False).write(file, (tmp_path / "files" / file).read_bytes())
        hub.repos["nvidia/HelpSteer2"].write("train.jsonl.gz", b"not asked for")
        settings = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, "helpsteer2", "subpop"],
            env=environ(**settings),
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        fetched = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    rows, (message, hint) = map(json.loads, done.stdout.splitlines())
    assert rows == load_named("helpsteer2", tmp_path / "files").votes.to_pylist()
    assert [path.rpartition("/")[2] for path in fetched] == ["disagreements.jsonl.gz"]
    assert "subpop: the dataset jjssuh/subpop cannot be fetched" in message and "HF_TOKEN" in hint


def test_a_set_that_is_not_on_the_hub() -> None:
    with pytest.raises(VotesError, match="dices-350 is not on the Hugging Face Hub") as caught:
        load_named("dices-350")
    assert "--data" in str(caught.value.hint) and "github.com" in str(caught.value.hint)


WRITTEN = {
    "dices-350": set_samples.dices,
    "helpsteer2": set_samples.helpsteer2,
    "helpsteer3": set_samples.helpsteer3,
    "prism": set_samples.prism,
    "community-alignment": set_samples.community_alignment,
    "globalopinionqa": set_samples.globalopinionqa,
    "opinionqa": set_samples.opinionqa,
    "subpop": set_samples.subpop,
    "simbench-grouped": set_samples.simbench,
    "chaosnli": set_samples.chaosnli,
    "convabuse": set_samples.convabuse,
    "popquorn": set_samples.popquorn,
    "lewidi-csc": set_samples.lewidi,
    "lewidi-convabuse": set_samples.lewidi,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_votes_are_ratings(name: str, tmp_path: Path) -> None:
    """A recipe's own reader of people's ratings takes each of them, with its texts, raters and weights."""
    WRITTEN[name](tmp_path)
    loaded = load_named(name, tmp_path)
    config = RatingsConfig(attributes=list(loaded.attributes), duplicates="all")
    read = read_rated_items(config, loaded.labels, base=tmp_path, rows=loaded.ratings.to_pylist())
    assert not read.refused and not read.unrated
    texts = {(row["prompt"], row["response"]) for row in loaded.votes.to_pylist()}
    assert len(read.items) == len(texts)
    assert read.ratings.weight.sum() == pytest.approx(sum(loaded.votes["weight"].to_pylist()))


@pytest.mark.parametrize("name", WRITTEN)
def test_no_value_makes_a_traceback(name: str, tmp_path: Path) -> None:
    """Each field of the first row of each file holds something else: what comes is votes, or an error in words."""
    WRITTEN[name](tmp_path)
    for file in [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith("meta.json")]:
        whole = file.read_bytes()
        for changed in set_samples.changed(file):
            file.write_bytes(changed)
            with contextlib.suppress(DprmError):
                assert load_named(name, tmp_path).votes.num_rows
        file.write_bytes(whole)


def test_a_scale_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="dices-350 has one scale"):
        load_named("dices-350", tmp_path, scale="Yes | No")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0")
    with pytest.raises(SourceError, match="this kind of file cannot be read"):
        load_named("dices-350", tmp_path / "data.bin")
