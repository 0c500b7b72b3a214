"""Pull: from a published dataset back to a run folder that `dprm ratings fit`, `show`, `report` and `publish` work on.

The ledger is not published, so nothing can be annotated again from it for free; the annotations, the prior and everything after them are all there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dprm_data.core import tables
from dprm_data.core.errors import DprmError, InputError, PublishError
from dprm_data.core.tables import sha256_of, write_parquet, write_text
from dprm_data.labels.space import LabelSpace
from dprm_data.publish.configs import Config
from dprm_data.publish.gate import check_repo_name
from dprm_data.publish.hub import Head, Marker, connect, persist, read_head
from dprm_data.publish.pulled import (
    Faults,
    check_parts,
    checked_manifest,
    data_files,
    prompts_of,
    refused,
    standalone_recipe,
)
from dprm_data.publish.pulled_rows import check_ids, read_rows
from dprm_data.publish.push import Known
from dprm_data.publish.run_texts import MANIFEST, RECIPE
from dprm_data.runs.folder import RunFolder


def pull(
    repo: str,
    to: Path,
    *,
    revision: str | None = None,
    say: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> RunFolder:
    """Make a run folder of a dataset that dprm published; `revision` is a tag, a branch or a commit. Returns the folder.

    The folder appears under its name only when it is whole. Raises `InputError` if it already exists, `PublishError` where the dataset
    is none of ours or not whole.
    """
    check_repo_name(repo)
    if to.exists() and any(to.iterdir()):
        raise InputError(f"{to} already exists", hint="Name a folder that does not exist yet.")
    api = connect(needs_token=False)

    def fetch() -> tuple[Head, Path]:
        head = read_head(api, repo, revision)
        if head.commit is None:
            raise PublishError(
                f"there is no dataset {repo}, or it may not be seen", hint="For a private dataset, set HF_TOKEN."
            )
        if head.marker is None:
            raise PublishError(
                f"{repo} was not published by dprm", hint="Any dataset can be a recipe's source: {dataset: …}."
            )
        wanted = list(data_files(head.marker))
        local = api.snapshot_download(
            repo, repo_type="dataset", revision=head.commit, allow_patterns=wanted, max_workers=4
        )
        return head, Path(local)

    head, files = persist(f"reading {repo}", fetch, say=say, pause=pause)
    staged = to.with_name(f".{to.name}.pulling")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        try:
            _unpack(files, RunFolder(staged), repo, head)
            _write_card(staged, to)
        except DprmError:
            raise
        except Faults as error:
            raise refused(repo, error) from error
        if to.exists():
            to.rmdir()
        staged.rename(to)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return RunFolder(to)


def _check_whole(files: Path, marker: Marker) -> None:
    for path, sha256 in data_files(marker).items():
        local = files / path
        if not local.is_file():
            raise PublishError(f"{path} is missing in the dataset", hint="Pull an earlier version: --revision v1.")
        if sha256_of(local) != sha256:
            raise PublishError(
                f"{path} is not as it was published: others have changed it",
                hint="Pull an earlier version: --revision v1.",
            )


def _unpack(files: Path, folder: RunFolder, repo: str, head: Head) -> None:
    assert head.marker is not None
    _check_whole(files, head.marker)
    texts = {row["name"]: row["content"] for batch in _read(files, head, "run", None) for row in batch.to_pylist()}
    missing = next((name for name in (RECIPE, MANIFEST) if name not in texts), None)
    if missing:
        raise PublishError(f"{repo}: the config run has no {missing}")
    prompts = prompts_of(texts)
    write_text(folder.recipe_file, standalone_recipe(texts[RECIPE], prompts))
    for name, content in prompts.items():
        write_text(folder.path / name, content)
    space = check_parts(folder.path)
    manifest = checked_manifest(texts[MANIFEST], space)
    write_text(folder.manifest_file, json.dumps(manifest))
    ids: set[str] = set()
    items = _distinct(_in_order(files, head, space), ids)
    write_parquet(folder.table("items"), tables.ITEMS, _as(tables.ITEMS, items))
    rows = _in_order(files, head, space)
    write_parquet(folder.table("distributions"), tables.DISTRIBUTIONS, _as(tables.DISTRIBUTIONS, rows))
    names = pa.array(space.names)
    annotations = _of_items(_read(files, head, "annotations", space), ids)
    whole = (_named(table, names) for table in annotations)
    write_parquet(folder.table("annotations"), tables.ANNOTATIONS, _as(tables.ANNOTATIONS, whole))
    compared = [*_of_items(_read(files, head, "comparisons", space), ids)]
    if compared:
        write_parquet(folder.table("comparisons"), tables.COMPARISONS, _as(tables.COMPARISONS, iter(compared)))
    pairs, people = _read(files, head, "preferences", space), _read(files, head, "personas", space)
    write_parquet(folder.table("preferences"), tables.PREFERENCES, _as(tables.PREFERENCES, pairs))
    write_parquet(folder.table("personas"), tables.PERSONAS, _as(tables.PERSONAS, people))
    folder.update_manifest(pulled={"repo": repo, "commit": head.commit, "version": head.marker.version})
    Known(folder.path).note(repo, head.marker.content)


def _distinct(batches: Iterator[pa.Table], ids: set[str]) -> Iterator[pa.Table]:
    """The same items, whose ids are added to `ids`. Raises `PublishError` where two have the same."""
    for table in batches:
        for item_id in table["item_id"].to_pylist():
            if item_id in ids:
                raise PublishError(f"data/default: item_id: {item_id!r} is there twice")
            ids.add(item_id)
        yield table


def _of_items(batches: Iterator[pa.Table], ids: set[str]) -> Iterator[pa.Table]:
    for table in batches:
        check_ids(ids, table, "data/annotations")
        yield table


def _in_order(files: Path, head: Head, space: LabelSpace) -> Iterator[pa.Table]:
    """The items of all splits in the run's own order: each split is in that order already, so they are merged as they are read."""
    assert head.marker is not None
    names = {
        path.split("/")[-1].rsplit("-", 3)[0] for path in data_files(head.marker) if path.startswith("data/default/")
    }
    readers = {name: _read(files, head, "default", space, name) for name in sorted(names)}
    waiting: dict[str, pa.Table] = {}
    while True:
        for name in readers:
            if name not in waiting and (table := next(readers[name], None)) is not None:
                waiting[name] = table
        if not waiting:
            return
        upto = min(table["row"][-1].as_py() for table in waiting.values())  # beyond this row, others may still come
        ready = [table.filter(pc.less_equal(table["row"], upto)) for table in waiting.values()]
        waiting = {
            name: rest
            for name, table in waiting.items()
            if (rest := table.filter(pc.greater(table["row"], upto))).num_rows
        }
        yield pa.concat_tables(ready).sort_by("row")


def _read(files: Path, head: Head, config: Config, space: LabelSpace | None, split: str = "") -> Iterator[pa.Table]:
    """The rows of a config (or of one of its splits), split after split, in the order in which they were written."""
    assert head.marker is not None
    mine = sorted(
        (path for path in data_files(head.marker) if path.startswith(f"data/{config}/{split + '-' if split else ''}")),
        key=lambda path: (not path.split("/")[-1].startswith("train"), path),
    )
    for path in mine:
        yield from read_rows(files / path, path, config, space)


def _as(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in batches:
        yield table.select(schema.names).cast(schema)


def _named(table: pa.Table, names: pa.Array) -> pa.Table:
    """Class labels back to the labels' names."""
    at = table.column_names.index("label")
    chunks = [names.take(chunk) for chunk in table["label"].chunks]
    return table.set_column(at, "label", pa.chunked_array(chunks, pa.string()))


def _write_card(staged: Path, to: Path) -> None:
    """Write the card before the folder gets its name, which is the last thing that happens; the card has that name."""
    from dprm_data.publish.cards import dataset_card
    from dprm_data.runs.run import Run
    from dprm_data.runs.summary import summarise

    run = Run.open(staged)
    card = dataset_card(run, summarise(run.folder, run.space))
    write_text(run.folder.card_file, card.replace(str(staged), str(to)))
