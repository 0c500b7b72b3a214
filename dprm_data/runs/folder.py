"""The run folder: the inputs, calls and results of one recipe.

recipe.yaml            the recipe as it was run, with its panel and label space
prompts/*.jinja        the prompt templates
ledger.sqlite          every paid call
tables/*.parquet       items, personas, annotations, comparisons, distributions, preferences, utilities (`dprm_data/core/tables.py`)
README.md              the dataset card; `datasets.load_dataset` opens the folder by it
manifest.json          versions, seeds, hashes, models, counts, cost, the fitted prior
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from dprm_data.core.errors import DprmError, InputError, RunBusy
from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.core.resources import neighbour
from dprm_data.core.tables import SCHEMAS, damage, make_folder, write_text
from dprm_data.recipe.recipe import Recipe

# The C dumper is twenty times faster on a large panel; PyYAML may be built without it.
_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_GLANCE = 0.2  # seconds: whoever looks whether the lock is free has it for an instant

Table = Literal["items", "personas", "annotations", "comparisons", "distributions", "preferences", "utilities"]


def is_run_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a run has written its recipe in this folder."""
    return RunFolder(path).recipe_file.is_file()


class RunFolder:
    """The paths of a run, its lock and its manifest."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def recipe_file(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def card_file(self) -> Path:
        return self.path / "README.md"

    @property
    def ledger_file(self) -> Path:
        """The ledger of a recipe that names none."""
        return self.path / "ledger.sqlite"

    def table(self, name: Table) -> Path:
        return self.path / "tables" / f"{name}.parquet"

    def needs(self, name: Table) -> Path:
        """The table's file. Raises `InputError` if the run has not written it yet, or if it is damaged."""
        path = self.table(name)
        if not path.is_file():
            if name in ("distributions", "preferences") and self.table("annotations").is_file():
                raise InputError(
                    f"{self.path} has no {name} yet", hint=f"Fit it, from the annotations: dprm ratings fit {self.path}"
                )
            raise InputError(
                f"{self.path} has no {name} yet",
                hint=f"Run it first: dprm run {self.recipe_file if self.recipe_file.exists() else 'RECIPE'}. "
                f"What is paid so far: dprm status {self.path}",
            )
        if fault := damage(path, SCHEMAS[name]):
            raise InputError(f"{path}: {fault}", hint=self._how_to_write(name))
        return path

    def check_contents(self) -> None:
        """Read all tables to the end. Raises `InputError` for the first with damaged contents: `needs` looks only at the footers."""
        for name in get_args(Table):
            path = self.table(name)
            try:
                if path.is_file():
                    for _ in pq.ParquetFile(path).iter_batches():
                        pass
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path}: its contents are damaged ({error})", hint=self._how_to_write(name)) from None

    def _how_to_write(self, name: Table) -> str:
        """The command that writes a table again."""
        if name in ("distributions", "preferences", "utilities"):
            return f"To write it again, from the annotations: dprm ratings fit {self.path}"
        if "pulled" in self.read_manifest():
            return "Pull the dataset into another folder: dprm pull OWNER/NAME FOLDER"
        if name == "items":
            return f"To write it again, without paying for a call twice: dprm run {self.recipe_file}"
        return f"To write it again, from the ledger: dprm ratings fit {self.path}"

    def ledger_at(self, recipe: Recipe) -> LedgerAddress:
        """The address of the run's ledger: the recipe's, or a file in this folder."""
        return recipe.ledger or LedgerAddress.parse(self.ledger_file)

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> RunFolder:
        """The run folder at this path. Raises `InputError` if there is none."""
        folder = cls(path)
        if not is_run_folder(path):
            reason = "it is a file" if folder.path.is_file() else "it has no recipe.yaml"
            reason = reason if folder.path.exists() else f"no such folder{neighbour(folder.path)}"
            raise InputError(
                f"{path} is not a run folder ({reason})",
                hint="Give the output folder of `dprm run`, such as runs/my-run.",
            )
        return folder

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> RunFolder | None:
        """The run folder at this path, or None if the path is not a folder. Raises `InputError` for a folder that is not a run's."""
        return cls.existing(path) if Path(path).is_dir() else None

    @contextmanager
    def held(self, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the folder's lock: no other process works in it. Raises `DprmError` if it cannot be written, and `RunBusy` if another process holds
        it; with `waiting`, calls that and waits instead."""
        try:
            make_folder(self.path)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=_GLANCE, poll_interval=0.02)
            except Timeout:
                if not waiting:
                    raise
                waiting()
                lock.acquire()
        except Timeout as error:
            raise RunBusy(
                f"another process is working in {self.path}",
                hint="Wait for it or stop it, or choose another output folder.",
            ) from error
        except OSError as error:
            raise DprmError(
                f"cannot write in {self.path}: {error.strerror or error}",
                hint=f"{_remedy(error)}, or choose another output folder.",
            ) from error
        try:
            yield
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            raise DprmError(
                f"{error.filename or self.path}: {error.strerror or error}",
                hint=f"What the ledger holds is safe. {_remedy(error)} and run again.",
            ) from error
        finally:
            lock.release()

    # -- the recipe and the manifest ------------------------------------------------------------------------------------

    def freeze(self, recipe: Recipe, *, labels: dict[str, Any], panel: dict[str, Any], prompts: dict[str, str]) -> None:
        """Write the recipe with everything it names, so that the folder is self-contained. Without a model there are no prompts, and no panel."""
        content = recipe.model_dump(mode="json", exclude_defaults=True)
        sections = (("source", recipe.source), ("ratings", recipe.ratings), ("comparisons", recipe.comparisons))
        for name, section in sections:
            if section and section.path:
                content[name]["path"] = str((recipe.folder / Path(section.path).expanduser()).absolute())
        content |= {"labels": labels, "output": str(self.path.absolute())}
        if recipe.entries:
            content["panel"] = recipe.panel.model_dump(mode="json", exclude_defaults=True) | {"use": panel}
        if recipe.ledger:
            content["ledger"] = recipe.ledger.absolute().text
        for name, source in prompts.items():
            write_text(self.path / "prompts" / f"{name}.jinja", source)
        if prompts:
            content["prompt"] = f"prompts/{next(iter(prompts))}.jinja"
        write_text(
            self.recipe_file,
            "# The recipe as it was run; written by dprm.\n"
            + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120),
        )

    def recipe(self) -> Recipe:
        return Recipe.load(self.recipe_file, frozen=True)

    def read_manifest(self) -> dict[str, Any]:
        """The manifest's content; empty if there is none yet."""
        try:
            content = json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"{self.manifest_file} cannot be read: {error}", hint="Delete it: the next run writes it again."
            ) from error
        return content if isinstance(content, dict) else {}

    def update_manifest(self, **parts: Any) -> None:
        """Replace these parts of the manifest and keep the others, also when several processes update it."""
        with FileLock(self.path / ".manifest.lock"):
            content = self.read_manifest() | parts
            write_text(self.manifest_file, json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def _remedy(error: OSError) -> str:
    """What to do about a failure of the file system."""
    if error.errno in _FULL:
        return "Make room there"
    return "Make it readable and writable" if error.errno in _FORBIDDEN else "Fix that"
