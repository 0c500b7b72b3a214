"""A publication: the files of a dataset repository, made from a run folder. Nothing is sent here.

    README.md                              the card
    pictures/*.svg                         the card's pictures
    data/<config>/<split>-00000-of-….parquet
    validation/<set>/scores.json           validations of this very panel, prompt and model

The same run gives the same bytes, so a repeated push finds nothing to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from dprm_data.core.extras import extra
from dprm_data.core.secret_scan import Secrets, check_no_secrets
from dprm_data.core.tables import sha256_of, write_text
from dprm_data.ingest.splits import Splits
from dprm_data.publish.configs import Config
from dprm_data.publish.gate import check_metadata
from dprm_data.publish.parts import write_parts
from dprm_data.recipe.recipe import PublishConfig

if TYPE_CHECKING:
    from dprm_data.runs.run import Run

CARD = "README.md"


@dataclass(frozen=True)
class File:
    """A file of the publication. sha256 and git_oid: the Hub's hash of its content, as a large file and as a small one."""

    path: str
    local: Path
    size: int
    sha256: str
    git_oid: str

    def has_hash(self, oid: str) -> bool:
        return oid in (self.sha256, self.git_oid)


@dataclass(frozen=True)
class Publication:
    """A dataset ready to be published. name: the run's; content: a hash of all files; rows: by config and split; settings: how it is
    published; secrets: what must not be in it."""

    name: str
    content: str
    files: dict[str, File]
    rows: dict[Config, dict[str, int]]
    splits: Splits
    settings: PublishConfig
    secrets: Secrets

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


@contextmanager
def prepared(run: Run, repo: str, *, allow_key_shapes: bool = False) -> Iterator[Publication]:
    """Prepare the publication of a run, in a folder that exists as long as the context.

    Raises `DprmError` if the run is not fitted, or if a file would hold a secret of this environment or, unless `allow_key_shapes`, a text
    that looks like anybody's key.
    """
    from dprm_data.publish.card_figures import card_pictures
    from dprm_data.publish.cards import dataset_card
    from dprm_data.publish.panel_findings import panel_findings
    from dprm_data.publish.validation_section import write_own_scores
    from dprm_data.runs.summary import summarise

    check_metadata(run.recipe.publish)
    with TemporaryDirectory(prefix="dprm-publish-") as temporary:
        folder = Path(temporary)
        parts = write_parts(run, folder)
        summary, findings = summarise(run.folder, run.space, divided=5), panel_findings(run)
        pictures = card_pictures(run, summary, findings)
        for name, svg in pictures.items():
            write_text(folder / "pictures" / f"{name}.svg", svg)
        write_own_scores(run, folder)
        card = dataset_card(run, summary, findings=findings, repo=repo, parts=parts, pictures=pictures)
        write_text(folder / CARD, card)
        secrets = secrets_here(run, shapes=not allow_key_shapes)
        check_no_secrets(folder, secrets)
        files = {file.path: file for file in sorted(_files(folder), key=lambda file: file.path)}
        content = hashlib.sha256("".join(f"{path}\0{file.sha256}\n" for path, file in files.items()).encode())
        rows = {config: {name: n for name, (n, _) in splits.items()} for config, splits in parts.sizes.items()}
        yield Publication(run.recipe.name, content.hexdigest(), files, rows, parts.splits, run.recipe.publish, secrets)


def secrets_here(run: Run, *, shapes: bool = True) -> Secrets:
    """What must not be published from this process: the secrets of its environment, and the Hub's token from the disk."""
    with extra("hub", what="publishing"):
        from huggingface_hub import get_token

    token = get_token()
    environ = {**os.environ, **({"HF_TOKEN": token} if token else {})}
    named = [place.api_key_env for place in run.recipe.places if place.api_key_env]
    return Secrets.of_environment(environ, named, shapes=shapes)


def _files(folder: Path) -> Iterator[File]:
    for path in folder.rglob("*"):
        if path.is_file():
            size = path.stat().st_size
            git = hashlib.sha1(b"blob %d\0" % size)  # git's hash of a small file
            with path.open("rb") as opened:
                while chunk := opened.read(1 << 20):
                    git.update(chunk)
            yield File(path.relative_to(folder).as_posix(), path, size, sha256_of(path), git.hexdigest())
