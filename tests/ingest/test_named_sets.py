"""Public sets of people's votes: each is read from files of its documented form, and what is missing is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dprm_data.core.errors import SourceError, VotesError
from dprm_data.ingest.named_sets.catalogue import load_named, named_sets, set_rows
from dprm_data.ingest.named_sets.named_set import LoadedSet
from tests.ingest import set_samples

OURS = ["item_id", "prompt", "response", "rater_id", "label", "weight"]


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


# -- what all have in common ------------------------------------------------------------------------------------------


def test_every_set_says_what_it_is() -> None:
    for name, each in named_sets().items():
        assert name == each.name and each.title and each.question.endswith("?") and each.licence and each.files
        assert "arXiv" in each.citation and each.source.startswith("https://")
        assert "ublic since" in each.leakage
        assert each.labels is None or each.labels.K >= 2
    assert [row["name"] for row in set_rows()] == list(named_sets())
    assert all(all(row.values()) for row in set_rows())


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


def test_a_set_that_is_not_on_the_hub() -> None:
    with pytest.raises(VotesError, match="dices-350 is not on the Hugging Face Hub") as caught:
        load_named("dices-350")
    assert "--data" in str(caught.value.hint) and "github.com" in str(caught.value.hint)


def test_a_scale_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match="dices-350 has one scale"):
        load_named("dices-350", tmp_path, scale="Yes | No")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0")
    with pytest.raises(SourceError, match="this kind of file cannot be read"):
        load_named("dices-350", tmp_path / "data.bin")
