"""Cards: what they say, and that nothing in the data can make them say something else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.core.errors import InputError
from dprm_data.publish.cards import dataset_card, render_card
from dprm_data.publish.model_cards import PolicyCard, RewardModelCard, TrainedOn
from dprm_data.publish.publication import prepared
from dprm_data.runs.run import Run
from dprm_data.runs.summary import summarise
from tests.helpers import dprm


def card_of(folder: Path) -> str:
    run = Run.open(folder)
    return dataset_card(run, summarise(run.folder, run.space))


def metadata_of(card: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return content


@pytest.fixture(scope="module")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = Run.open(finished).with_publish({"license": "cc-by-4.0", "language": ["en"], "sources": ["Made up (MIT)"]})
    with prepared(run, "acme/prefs") as publication:
        folder = publication.files["README.md"].local.parent
        return Path(shutil.copytree(folder, tmp_path_factory.mktemp("card") / "files"))


def test_the_metadata_is_right(published: Path) -> None:
    metadata = metadata_of((published / "README.md").read_text())
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["language"] == ["en"]
    assert metadata["annotations_creators"] == ["machine-generated"]
    assert metadata["size_categories"] == ["n<1K"]
    assert {"dprm", "synthetic"} <= set(metadata["tags"])
    assert [config["config_name"] for config in metadata["configs"]] == [
        "default",
        "preferences",
        "annotations",
        "personas",
        "run",
    ]
    for info in metadata["dataset_info"]:
        for split in info["splits"]:
            files = (published / "data" / info["config_name"]).glob(f"{split['name']}-*.parquet")
            assert split["num_examples"] == sum(pq.read_metadata(file).num_rows for file in files) > 0


@pytest.mark.parametrize(
    "what",
    [
        "The labels in this dataset are simulated",
        "gpt-4o-mini (openai",
        "Sampling parameters sent: none",
        "same label from the same annotator when asked again",
        "Krippendorff's α, ordinal",
        "place of the chosen answer in the list",
        "**not validated**",
        "Family `beta`; label smoothing `targeted`",
        "Cost: $0.1",
        "This is not a survey",
        "terms of the model's provider",
        "This dataset: `cc-by-4.0`",
        "Made up (MIT)",
        "dprm pull acme/prefs",
        "Rigorous scientist",
        "@article{li2024aligning",
        '"The longer response is better"',
        "of 1,440 asked for",
    ],
)
def test_it_says(published: Path, what: str) -> None:
    assert what in (published / "README.md").read_text()


def test_the_prompts_are_there_whole(published: Path, finished: Path) -> None:
    card = (published / "README.md").read_text()
    for prompt in (finished / "prompts").glob("*.jinja"):
        assert prompt.read_text().strip() in card


def test_the_pictures_are_there_and_are_pictures(published: Path) -> None:
    card = (published / "README.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\((pictures/\w+\.svg)\)", card)
    assert set(shown) == {f"pictures/{name}.svg" for name in ("expected_reward", "divided", "agreement", "cost")}
    for path in shown:
        root = ElementTree.parse(published / path).getroot()
        assert root.tag.endswith("svg")
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    texts = " ".join(ElementTree.parse(published / "pictures/divided.svg").getroot().itertext())
    assert "answer" in texts


def with_annotations(finished: Path, folder: Path, **columns: Any) -> Path:
    """A copy of the run whose first annotations (600 of 1,440) have other values in these columns."""
    run = Path(shutil.copytree(finished, folder / "run"))
    path = run / "tables/annotations.parquet"
    table = pq.read_table(path)
    first = pa.array([i < 600 for i in range(table.num_rows)])
    for name, value in columns.items():
        field = table.schema.field(name)
        table = table.set_column(
            table.schema.names.index(name), field, pc.if_else(first, pa.scalar(value, field.type), table[name])
        )
    pq.write_table(table, path)
    return run


def test_people_are_counted_and_compared(finished: Path, tmp_path: Path) -> None:
    card = card_of(with_annotations(finished, tmp_path, annotator_kind="human"))
    assert "**58% of the labels in this dataset are simulated**" in card
    assert "42% were given by people" in card
    assert metadata_of(card)["annotations_creators"] == ["machine-generated", "crowdsourced"]


def test_the_panel_is_held_against_people(finished: Path, tmp_path: Path) -> None:
    """Two of the fifteen annotators are people: on every item the others' mean reward is compared with theirs."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    path = run / "tables/annotations.parquet"
    table = pq.read_table(path)
    people = pc.is_in(table["annotator_id"], value_set=pa.array(sorted(set(table["annotator_id"].to_pylist()))[:2]))
    kinds = pc.if_else(people, "human", "persona")
    pq.write_table(table.set_column(table.schema.names.index("annotator_kind"), "annotator_kind", kinds), path)
    rewards = {label.name: label.reward for label in Run.open(run).space.labels}
    means: dict[str, dict[bool, list[float]]] = {}
    for item, label, human in zip(
        table["item_id"].to_pylist(), table["label"].to_pylist(), people.to_pylist(), strict=True
    ):
        means.setdefault(item, {True: [], False: []})[human].append(rewards[label])
    gaps = [sum(both[False]) / len(both[False]) - sum(both[True]) / len(both[True]) for both in means.values()]
    assert dprm("review", "compare", run, cwd=tmp_path).returncode == 0
    card = card_of(run)
    found = Run.open(run).folder.read_manifest()["review"]
    assert f"In a review, 2 people gave {found['answers']} answers on {len(means)} items" in card
    assert f"on {len(means)} items that both judged" in card
    assert f"mean difference (panel minus people) {sum(gaps) / len(gaps):+.2f}" in card
    assert "not validated" not in card


def test_failures_are_told(finished: Path, tmp_path: Path) -> None:
    reason = "no | label <b>\nhere</b>"
    card = card_of(with_annotations(finished, tmp_path, status="unparsable", reason=reason, label=None))
    assert "| unparsable | 600 |" in card
    assert "600 × no \\| label &lt;b> here&lt;/b>" in card
    assert "840 annotations have a label, of 1,440 asked for" in card


def test_a_prompt_cannot_close_its_fence(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    prompt = run / "prompts" / "choice.jinja"
    prompt.write_text(prompt.read_text() + "\n{# ~~~~~~~~ #}\n")
    assert "~~~~~~~~~jinja" in card_of(run)


def test_a_reward_model_card() -> None:
    card = RewardModelCard(
        name="acme/rm",
        base_model="org/base",
        data=TrainedOn(dataset="acme/prefs", revision="v1", simulated=0.75, rows=1234),
        labels=[("good", 1.0), ("bad", -1.0)],
        loss="optimal transport",
        training={"epochs": 3, "learning rate": 1e-5},
        evaluation={"W1": 0.25},
        baselines={"Bradley–Terry": {"accuracy": 0.5}},
    ).render()
    metadata = metadata_of(card)
    assert metadata["base_model"] == "org/base"
    assert metadata["datasets"] == ["acme/prefs"]
    for what in (
        "75% of the labels behind this model are simulated",
        "| 1 | `bad` | -1 |",
        "1,234 rows",
        "| W1 | 0.25 | – |",
        "| accuracy | – | 0.5 |",
    ):
        assert what in card
    with pytest.raises(InputError):
        RewardModelCard(name="x", base_model="y", data=TrainedOn(dataset="z"), labels=[], loss="").render()


def test_a_policy_card_of_what_lies_in_folders(tmp_path: Path) -> None:
    card = PolicyCard(
        name="pi",
        base_model=str(tmp_path),
        data=TrainedOn(dataset="./runs/x", simulated=0.0),
        reward_model="acme/rm",
        method="PPO",
    ).render()
    assert "datasets" not in metadata_of(card)
    assert "base_model" not in metadata_of(card)
    assert "[acme/rm](https://huggingface.co/acme/rm)" in card
    assert "given by people" in card
    assert "**Not evaluated.**" in card
    assert "simulated annotators" not in card


def test_a_card_whose_values_are_missing_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        render_card("policy", {}, {})
