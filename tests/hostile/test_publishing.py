"""What is published: nothing of the publisher's machine, no commit without a change, and no live Markdown from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.core import charts
from dprm_data.core.errors import PublishError
from dprm_data.core.markdown import as_text
from dprm_data.core.scrub import public_text
from dprm_data.pipeline import stages
from dprm_data.publish.gate import check_repo_name, check_tag
from dprm_data.publish.publication import Publication, prepared
from dprm_data.publish.pull import pull
from dprm_data.publish.push import Known, push
from dprm_data.runs.run import Run
from tests.helpers import dprm
from tests.publish.conftest import finished, hub, hub_environment, hub_here, run_folder  # noqa: F401
from tests.servers.hub import Hub

REPO = "acme/prefs"


def published_texts(publication: Publication) -> str:
    """Everything that is published, for people."""
    return "\n".join(
        str(pq.read_table(file.local).to_pylist()) if path.endswith(".parquet") else file.local.read_text()
        for path, file in publication.files.items()
    )


def with_recipe(folder: Path, change: Callable[[dict[str, Any]], None]) -> Run:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    change(recipe)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return Run.open(folder)


def with_column(folder: Path, table: str, name: str, value: str) -> None:
    """The first rows of the table get another value."""
    path = folder / f"tables/{table}.parquet"
    found = pq.read_table(path)
    field = found.schema.field(name)
    first = pa.array([i < 7 for i in range(found.num_rows)])
    column = pc.if_else(first, pa.scalar(value, field.type), found[name])
    pq.write_table(found.set_column(found.schema.names.index(name), field, column), path)


# -- the publisher's machine ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8000/v1", "http://127.0.0.1:8000/v1", "http://192.168.7.20:8000/v1", "http://[fd00::1]:8000/v1", "http://gpu-box-7:8000/v1", "http://gpu-box-7.lan/v1"],
)  # fmt: skip
@pytest.mark.slow
def test_local_addresses_are_a_local_server(run_folder: Path, url: str) -> None:  # noqa: F811
    host = url.split("//")[1].removesuffix("/v1").removesuffix(":8000")
    with_column(run_folder, "annotations", "reason", f"no connection to {host.strip('[]')}:8000: refused")
    run = with_recipe(run_folder, lambda recipe: recipe["provider"].update(base_url=url))
    with prepared(run, REPO) as publication:
        texts = published_texts(publication)
    assert host.strip("[]") not in texts
    assert "a local server" in texts
    assert "no connection to a local server" in texts


def test_public_servers_are_named(run_folder: Path) -> None:  # noqa: F811
    run = with_recipe(run_folder, lambda recipe: recipe["provider"].update(base_url="https://api.example.com/v1"))
    with prepared(run, REPO) as publication:
        assert "https://api.example.com/v1" in publication.files["README.md"].local.read_text()


def test_paths_and_the_cluster_stay_home(run_folder: Path) -> None:  # noqa: F811
    def change(recipe: dict[str, Any]) -> None:
        recipe["provider"] |= {"base_url": "https://api.example.com/v1", "model": "/home/janedoe/models/big.gguf"}
        recipe["ray"] = {"address": "head-node-3:6379", "runtime_env": {"working_dir": "/home/janedoe/src"}}

    with_column(run_folder, "items", "source", "/home/janedoe/data/pairs.jsonl:3")
    with_column(run_folder, "annotations", "reason", "cannot read /home/janedoe/models/big.gguf")
    run = with_recipe(run_folder, change)
    with prepared(run, REPO) as publication:
        texts = published_texts(publication)
    for never in ("janedoe", "head-node-3", "/home", str(run_folder.parent)):
        assert never not in texts
    assert "big.gguf" in texts
    assert "pairs.jsonl:3" in texts


def test_endpoints_that_look_alike_are_still_a_recipe(run_folder: Path, hub_here: Hub, tmp_path: Path) -> None:  # noqa: F811
    places = [{"base_url": f"http://127.0.0.1:{port}/v1"} for port in (8001, 8002)]

    def change(recipe: dict[str, Any]) -> None:
        del recipe["provider"]["base_url"]
        recipe["provider"]["endpoints"] = places

    with prepared(with_recipe(run_folder, change), REPO) as publication:
        push(publication, REPO, Known(run_folder))
    recipe = pull(REPO, tmp_path / "pulled").recipe()
    assert [place.base_url for place in recipe.provider.places] == ["a local server", "a local server (2)"]


# -- no change, no commit ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fitting_again_changes_nothing(run_folder: Path) -> None:  # noqa: F811
    with prepared(Run.open(run_folder), REPO) as first:
        content = first.content
    run = Run.open(run_folder)
    stages.fit(run)
    run.folder.update_manifest(written_at="2031-01-01T00:00:00+00:00", last_annotate={"seconds": 1.0})
    with prepared(Run.open(run_folder), REPO) as again:
        assert again.content == content


@pytest.mark.slow
def test_a_pulled_run_is_not_a_new_version(run_folder: Path, hub_here: Hub, tmp_path: Path) -> None:  # noqa: F811
    with prepared(Run.open(run_folder).with_publish({"test": 0.3}), REPO) as publication:
        push(publication, REPO, Known(run_folder))
    folder = pull(REPO, tmp_path / "pulled").path
    with prepared(Run.open(folder), REPO) as again:
        assert push(again, REPO, Known(folder)).changes.nothing


# -- the gate ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["acme/a--b", "acme/a..b", "acme/x.git", "acme/-x", "acme/x.", "acme/" + "x" * 96, "acme/a b", "acme/ä", "acme", "a/b/c", "/x"]
)  # fmt: skip
def test_names_that_the_hub_refuses_are_refused_before(name: str) -> None:
    with pytest.raises(PublishError, match="is not the name of a dataset repository"):
        check_repo_name(name)


def test_a_refused_name_is_a_message(run_folder: Path, hub: Hub) -> None:  # noqa: F811
    done = dprm("publish", run_folder, "--repo", "acme/a--b", cwd=run_folder, **hub_environment(hub, run_folder / "hf"))
    assert done.returncode == 1
    assert "is not the name of a dataset repository" in done.stderr
    assert "Traceback" not in done.stderr
    assert not hub.requests


@pytest.mark.parametrize("tag", ["a b", "a..b", "v1~", "x:y", "-v", "a.lock", "@{", "", "a/", "\x1b[31m"])
def test_tags_that_git_refuses_are_refused_before(tag: str) -> None:
    with pytest.raises(PublishError, match="cannot be a tag"):
        check_tag(tag)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"license": "CC-BY-4.0"}, "did you mean 'cc-by-4.0'"),
        ({"license": "apache"}, "did you mean 'apache-2.0'"),
        ({"license": "my own\nlicence"}, "knows no licence"),
        ({"language": ["english"]}, "knows no language 'english'"),
        ({"language": ["en", "en-US"]}, "knows no language 'en-US'"),
        ({"language": ["xx"]}, "knows no language 'xx'"),
    ],
)
def test_metadata_that_the_hub_refuses_is_refused_before(run_folder: Path, settings: dict[str, Any], says: str) -> None:  # noqa: F811
    run = Run.open(run_folder).with_publish(settings)
    with pytest.raises(PublishError, match=says), prepared(run, REPO):
        pass


def test_nothing_is_public_without_a_licence_and_a_statement(run_folder: Path, hub: Hub) -> None:  # noqa: F811
    def publish(*options: str) -> subprocess.CompletedProcess[str]:
        return dprm(
            "publish", run_folder, "--repo", REPO, *options, cwd=run_folder, **hub_environment(hub, run_folder / "hf")
        )

    done = publish("--public")
    assert done.returncode == 1
    assert "needs a licence and a statement on personal data" in done.stderr
    done = publish("--public", "--license", "mit")
    assert done.returncode == 1
    assert "--personal-data" in done.stderr
    assert not hub.requests
    done = publish("--public", "--license", "mit", "--personal-data", "None: <b>all</b> was made up.")
    assert done.returncode == 0, done.stderr
    assert not hub.repos[REPO].private
    assert "all" in hub.repos[REPO].files["README.md"].decode().partition("## Personal data")[2][:60]


# -- texts from outside -------------------------------------------------------------------------------------------------------

MARKDOWN = [
    "![x](https://evil.example/pixel.png)",
    "[click](https://evil.example)",
    "[click]: https://evil.example",
    "<img src=https://evil.example/x.png>",
    "<script>alert(1)</script>",
    "<https://evil.example>",
    "https://evil.example/bare and www.evil.example and me@evil.example",
    "` `` ``` ~~~~~~ | a | b |",
    "# heading",
    "> quote",
    "1. one",
    "\\[x](https://evil.example)",
    "`https://evil.example`<img src=x>",
    "&lt;img src=x&gt; &#60;img src=x>",
    "line one\n\n![x](https://evil.example/pixel.png)\n\n# heading",
    "\u202e\x1b[31m\x00 text",
]
OWN_LINKS = ("https://arxiv.org/", "https://huggingface.co/", "pictures/")


def live(card: str) -> list[str]:
    """What a renderer would make of the card beside text: links, images, HTML; and addresses that it might make links."""
    from markdown_it import MarkdownIt

    found: list[str] = []
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(card.split("---\n", 2)[2])
    for token in [inner for block in blocks for inner in [block, *(block.children or [])]]:
        address = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if token.type.startswith("html") or (address and not address.startswith(OWN_LINKS)):
            found.append(address or token.content)
        if token.type == "text" and any(sign in token.content for sign in ("://", "www.", "@evil")):
            found.append(token.content)
        if token.type == "heading_open" and token.level:
            found.append("a heading in a list or quote")
        if token.type == "blockquote_open" and token.level:
            found.append("a quote in a list")
    return found


@pytest.mark.parametrize("text", MARKDOWN, ids=range(len(MARKDOWN)))
def test_markdown_from_outside_is_text_in_the_card(run_folder: Path, text: str) -> None:  # noqa: F811
    def change(recipe: dict[str, Any]) -> None:
        panel, labels = recipe["panel"]["use"], recipe["labels"]
        panel["source"] = panel["name"] = labels["description"] = text
        panel["personas"][0] |= {"name": text, "description": text}
        recipe["publish"] = {"sources": [text], "personal_data": text}

    with_column(run_folder, "annotations", "model", text)
    with_column(run_folder, "annotations", "reason", text)
    with_column(run_folder, "annotations", "status", "unparsable")
    run = with_recipe(run_folder, change)
    run.folder.update_manifest(versions={text: text})
    with prepared(run, REPO) as publication:
        card = publication.files["README.md"].local.read_text()
        assert not live(card)
        assert "\x1b" not in card
        assert "\u202e" not in card


def test_published_pictures_are_well_formed_whatever_the_texts() -> None:
    text = "\ud800 \x00 \x0b \ufffe \x1b ]]> <script> & \" '"
    body, height = charts.matrix(np.eye(2), [text, text], 500)
    bars, _ = charts.bars([(text, 1.0, text)], 500)
    key, _ = charts.legend([text], ["#000000"], 500)
    svg = charts.picture(text, body + bars + key + charts.text(0, 0, text), height)
    root = ElementTree.fromstring(svg.encode("utf-8"))
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_long_texts_are_escaped_in_linear_time() -> None:
    for text in (
        "a" * 200_000,
        "a." * 100_000,
        "/" * 200_000,
        "`" * 200_000,
        "\\" * 200_000,
        "@" * 200_000,
        "a-" * 100_000,
        "1." * 100_000,
    ):
        start = time.process_time()
        as_text(text)
        public_text(text)
        assert time.process_time() - start < 2, text[:3]
