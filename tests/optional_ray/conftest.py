"""What the tests on Ray share: a Ray of the test's own, in a folder of its own, and `dprm` as a process that starts or joins it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers import environ, write_recipe, write_rows
from tests.servers.llm import LLMProcess, LLMServer
from tests.servers.postgres import Database

ITEMS, PERSONAS = 24, 15  # the paper's panel
CALLS = ITEMS * PERSONAS
CONCURRENCY = 4
IN_FLIGHT = CONCURRENCY + CONCURRENCY // 4 + 1  # of one actor: calls sent, or answered and not yet acknowledged
PATIENCE = 120  # seconds, against hanging only


@dataclass
class Job:
    """A run folder's surroundings: a recipe for Ray, and what has come of it."""

    folder: Path
    ray_folder: Path
    database: Database
    recipe: Path

    def changed(self, address: str, *, key: str) -> Job:
        """The same job for a running cluster, with a key by this variable's name."""
        recipe = yaml.safe_load(self.recipe.read_text())
        recipe["ray"]["address"] = address
        recipe["provider"]["api_key_env"] = key
        self.recipe.write_text(yaml.safe_dump(recipe))
        return self

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """`dprm` with the recipe, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "dprm_data.cli", arguments[0], str(self.recipe), *arguments[1:]],
            cwd=self.folder,
            env=environ(**self.database.environment, RAY_TMPDIR=str(self.ray_folder), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def dprm(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        return ended(self.start(*arguments, **environment))

    def rows(self) -> int:
        """Replies in the ledger, which may not be there yet."""
        with contextlib.suppress(Exception):
            return int(self.database.execute("SELECT COUNT(*) FROM dprm.calls")[0][0])
        return 0

    def actors(self) -> list[int]:
        """The processes of this Ray that ask."""
        return [
            pid for pid, command in self.processes() if command.startswith("ray::MapWorker(MapBatches(AnnotatorActor)")
        ]

    def processes(self) -> Iterator[tuple[int, str]]:
        """Everything that Ray has started for this job."""
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if f"RAY_TMPDIR={self.ray_folder}".encode() in (folder / "environ").read_bytes():
                    yield int(folder.name), (folder / "cmdline").read_text().replace("\0", " ").strip()


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """How a process ended, and what it said."""
    try:
        out, errors = process.communicate(timeout=PATIENCE)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def wait_until(what: Callable[[], Any], why: str) -> Any:
    """Wait until it is true; returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited in vain: {why}"
        time.sleep(0.05)
    return found


def answered(server: LLMProcess | LLMServer) -> dict[str, Any]:
    """What the server has counted, once nothing is in flight any more."""
    stats = server.stats if isinstance(server, LLMProcess) else server.tally.stats
    wait_until(lambda: not stats()["in_flight"], "calls are still in flight at the server")
    return stats()


@pytest.fixture
def server() -> Iterator[LLMProcess]:
    """A provider that takes its time, so that there is a middle to be killed in."""
    with LLMProcess("--latency", "0.1") as process:
        yield process


@pytest.fixture
def job(tmp_path: Path, postgres: Database, server: LLMProcess) -> Iterator[Job]:
    """A job of CALLS calls for two actors."""
    with a_job(tmp_path, postgres, server.url) as made:
        yield made


@contextlib.contextmanager
def a_job(folder: Path, database: Database, url: str, **changes: Any) -> Iterator[Job]:
    rows = [{"prompt": f"question {number}", "response": f"an answer [{number}]"} for number in range(ITEMS)]
    write_rows(folder / "pairs.jsonl", rows)
    given = {
        "panel": "paper",
        "limits": {"concurrency": CONCURRENCY, "lease": 6},
        "engine": "ray",
        "ray": {"actors": 2, "batch_size": 4},
        "ledger": database.url,
    }
    ray_folder = Path(tempfile.mkdtemp(prefix="dprm-ray-"))  # short: the names of sockets are in it
    job = Job(folder, ray_folder, database, write_recipe(folder, url, **given | changes))
    try:
        yield job
        wait_until(lambda: not job.actors(), "what asks outlives the run")
    finally:
        for pid, _ in job.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(ray_folder, ignore_errors=True)


@contextlib.contextmanager
def a_cluster() -> Iterator[str]:
    """A cluster of three nodes on this machine, each with this process's environment; its address."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False} | small)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, **small)
        yield cluster.address
    finally:
        cluster.shutdown()


def content(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a command with --json said, and nothing beside it."""
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
