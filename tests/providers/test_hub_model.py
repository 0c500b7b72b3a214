"""Model files from the Hub: which file a reference means, and fetching it from a double of the Hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dprm_data.core.errors import InputError
from dprm_data.providers.hub_model import HubModel
from dprm_data.providers.model_file import hub_model, model_file
from tests.helpers import ROOT, answer, dprm, environ, write_recipe, write_rows
from tests.servers.hub import READER, Hub

CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
FILES = ["README.md", "m-q4_k_m.gguf", "m-Q4_K_S.gguf", "sub/m-f16.gguf", "big-q8_0-00001-of-00002.gguf", "big-q8_0-00002-of-00002.gguf"]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("m-q4_k_m.gguf", ["m-q4_k_m.gguf"]),
        ("Q4_K_M", ["m-q4_k_m.gguf"]),
        ("q4_k_s", ["m-Q4_K_S.gguf"]),
        ("F16", ["sub/m-f16.gguf"]),
        ("sub/m-f16.gguf", ["sub/m-f16.gguf"]),
        ("Q8_0", ["big-q8_0-00001-of-00002.gguf", "big-q8_0-00002-of-00002.gguf"]),
        ("big-q8_0-00001-of-00002.gguf", ["big-q8_0-00001-of-00002.gguf", "big-q8_0-00002-of-00002.gguf"]),
    ],
)
def test_a_file_or_a_quantisation(wanted: str, chosen: list[str]) -> None:
    assert HubModel("org/repo", wanted).choose(FILES) == chosen


def test_none_and_several_are_listed() -> None:
    with pytest.raises(InputError, match=r"no \.gguf file matches") as caught:
        HubModel("org/repo", "Q5_K_M").choose(FILES)
    assert "m-q4_k_m.gguf" in str(caught.value.hint) and "README" not in str(caught.value.hint)
    with pytest.raises(InputError, match="2 files match") as caught:
        HubModel("org/repo", "m").choose([*FILES[:3]])
    assert "m-q4_k_m.gguf, m-Q4_K_S.gguf" in str(caught.value.hint) or "m-Q4_K_S.gguf, m-q4_k_m.gguf" in str(caught.value.hint)  # fmt: skip
    with pytest.raises(InputError, match=r"00002-of-00002\.gguf is missing"):
        HubModel("org/repo", "Q8_0").choose(FILES[:5])
    with pytest.raises(InputError, match=r"no \.gguf file") as caught:
        HubModel("org/repo", "Q8_0").choose(["model.safetensors"])
    assert caught.value.hint == "org/repo has no .gguf file."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/repo:Q4_K_M", HubModel("org/repo", "Q4_K_M")),
        ("org/repo@v1:a/b.gguf", HubModel("org/repo", "a/b.gguf", "v1")),
        ("model.gguf", None),
        ("org/repo", None),
        ("org/repo:../../secret.gguf", None),
        ("https://org/repo:x", None),
        ("", None),
    ],
)
def test_what_is_a_reference(text: str, expected: HubModel | None) -> None:
    found = hub_model(text)
    if expected is None:
        assert found is None or ".." in text  # never a path outside: it must be a file that the repository lists
    else:
        assert found == expected


def test_a_file_that_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("org/repo:Q4.gguf")
    file.parent.mkdir()
    file.write_bytes(b"")
    assert hub_model(str(file)) is None


# -- against the double, in a process of its own: the client reads its settings when it is imported --------------------------

SCRIPT = """
import json, sys
from dprm_data.core.errors import InputError
from dprm_data.providers.hub_model import HubModel, fetch
said = []
try:
    found = fetch(HubModel.parse(sys.argv[1]), said.append)
    answer = {"bytes": found.file.stat().st_size, "name": found.file.name, "license": found.license, "revision": found.revision,
              "beside": sorted(path.name for path in found.file.parent.iterdir())}
except InputError as error:
    answer = {"error": error.message, "hint": error.hint}
print(json.dumps(answer | {"said": said}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        repo = server.create("org/repo", private=False)
        repo.write("README.md", CARD)
        repo.write("m-q4_k_m.gguf", b"GGUF" + bytes(100_000))
        repo.write("big-q8_0-00001-of-00002.gguf", b"GGUF1")
        repo.write("big-q8_0-00002-of-00002.gguf", b"GGUF2")
        yield server


def fetched(home: Path, url: str, reference: str = "org/repo:Q4_K_M", **more: str) -> dict[str, object]:
    environment = environ(HF_HOME=str(home), HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_ETAG_TIMEOUT="2", **more)
    command = [sys.executable, "-c", SCRIPT, reference]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def downloads(hub: Hub) -> list[str]:
    return [path for method, path, status in hub.requests if method == "GET" and "/resolve/" in path]


@pytest.mark.slow
def test_it_is_fetched_once_and_then_offline(hub: Hub, tmp_path: Path) -> None:
    first = fetched(tmp_path, hub.url)
    assert (first["bytes"], first["name"], first["license"]) == (100_004, "m-q4_k_m.gguf", "apache-2.0")
    assert first["revision"] == hub.repos["org/repo"].branches["main"]
    said = first["said"]
    assert isinstance(said, list) and "licence: apache-2.0" in said[0] and "100%" in said[-1]
    assert len(downloads(hub)) == 1
    assert fetched(tmp_path, hub.url)["bytes"] == 100_004
    assert len(downloads(hub)) == 1
    offline = fetched(tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert (offline["name"], offline["revision"]) == ("m-q4_k_m.gguf", first["revision"])
    hub.repos["org/repo"].tags["v1"] = str(first["revision"])
    assert fetched(tmp_path, hub.url, "org/repo@v1:Q4_K_M")["revision"] == first["revision"]
    assert fetched(tmp_path, hub.url, "org/repo@v1:Q4_K_M", HF_HUB_OFFLINE="1")["revision"] == first["revision"]
    hub.fault("GET", "/api/models/org/repo", status=503, times=20)
    assert fetched(tmp_path, hub.url)["name"] == "m-q4_k_m.gguf"
    assert "is not in the cache" in str(fetched(tmp_path, hub.url, "org/repo:Q2_K", HF_HUB_OFFLINE="1")["error"])


def test_all_parts_of_a_split_file_are_fetched(hub: Hub, tmp_path: Path) -> None:
    found = fetched(tmp_path, hub.url, "org/repo:q8_0")
    assert found["name"] == "big-q8_0-00001-of-00002.gguf"
    assert found["beside"] == ["big-q8_0-00001-of-00002.gguf", "big-q8_0-00002-of-00002.gguf"]


def test_what_the_hub_refuses_is_said(hub: Hub, tmp_path: Path) -> None:
    missing = fetched(tmp_path, hub.url, "org/none:Q4_K_M")
    assert "has no model org/none" in str(missing["error"]) and "HF_TOKEN" in str(missing["hint"])
    assert "no revision 'v9'" in str(fetched(tmp_path, hub.url, "org/repo@v9:Q4_K_M")["error"])
    hub.repos["org/repo"].private = True
    assert "has no model org/repo" in str(fetched(tmp_path, hub.url)["error"])
    assert fetched(tmp_path, hub.url, HF_TOKEN=READER)["bytes"] == 100_004


def test_a_download_that_breaks_off_goes_on(hub: Hub, tmp_path: Path) -> None:
    """Where it was, in steps of 10 MB, as the client writes them."""
    hub.repos["org/repo"].write("l-q2_k.gguf", b"GGUF" + bytes(21_000_000))
    hub.fault("GET", "/resolve/", cut=12_000_000)
    found = fetched(tmp_path, hub.url, "org/repo:Q2_K")
    assert found["bytes"] == 21_000_004
    assert [status for method, path, status in hub.requests if method == "GET" and "/resolve/" in path] == [200, 206]


@pytest.mark.slow
def test_a_run_with_a_model_from_the_hub(hub: Hub, tmp_path: Path) -> None:
    """The bundled model, as if it were there: the same answers as by its path, the commit in the manifest, and no file needed to look at it."""
    repo = hub.repos["org/repo"]
    file = tmp_path / "small-q8_0.gguf"
    shutil.copy(model_file(), file)
    repo.write(f"models/{file.name}", file.read_bytes())
    write_rows(
        tmp_path / "pairs.jsonl", [{"prompt": "How do I boil an egg?", "response": "Eight minutes in boiling water."}]
    )
    recipe = {"labels": "ordinal5", "elicitation": "choice", "panel": "neutral", "ledger": "calls.sqlite"}
    provider = {"name": "local", "model": "org/repo:small-Q8_0", "options": {"servers": 1}}
    network = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"}
    write_recipe(tmp_path, provider=provider, **recipe)
    done = dprm("run", "recipe.yaml", cwd=tmp_path, **network)
    assert done.returncode == 0, done.stderr
    assert "licence: apache-2.0" in done.stderr and "downloading small-q8_0.gguf: 100%" in done.stderr
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert manifest["model_source"] == {"hub": "org/repo", "revision": repo.branches["main"], "file": file.name}
    shutil.rmtree(tmp_path / "home")
    assert answer(dprm("show", "run", "--json", cwd=tmp_path))["summary"]["statuses"] == {"ok": 1}
    assert answer(dprm("ratings", "fit", "run", "--json", cwd=tmp_path))["summary"]["statuses"] == {"ok": 1}
    write_recipe(tmp_path, provider=provider | {"model": str(file)}, output="by-path", **recipe)
    by_path = answer(dprm("run", "recipe.yaml", "--json", cwd=tmp_path))
    assert (by_path["annotate"]["calls"], by_path["summary"]["statuses"]) == (0, {"ok": 1})
