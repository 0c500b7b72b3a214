"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.servers.llm import LLMServer
from tests.servers.local_llm import LocalLLM, start_local_llm
from tests.servers.postgres import Database, PostgresServer, programs

GROUPS = {"argilla": "tests/review/test_argilla"}  # group: how the names of its files begin


with suppress(ImportError):  # not in the environments of the optional tests
    from hypothesis import settings

    settings.register_profile("fuzz", max_examples=1_000, deadline=None)  # --hypothesis-profile=fuzz
    settings.register_profile("tests", deadline=None)  # a busy machine is no failure
    settings.load_profile("tests")


@pytest.fixture
def double() -> Iterator[LLMServer]:
    """A double of both providers' APIs, on a socket, for one test."""
    with LLMServer() as server:
        yield server


@pytest.fixture(scope="session")
def local_llm() -> Iterator[LocalLLM]:
    """The bundled model's server. Set DPRM_TEST_NO_LOCAL to go without; that it is not installed is a failure."""
    if os.environ.get("DPRM_TEST_NO_LOCAL"):
        pytest.skip("DPRM_TEST_NO_LOCAL is set")
    where, server = start_local_llm()
    yield where
    del server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A temporary PostgreSQL cluster on loopback, one per process of tests."""
    pytest.importorskip("psycopg", reason="the extra [postgres] is not installed")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed (tests/setup_postgres.sh installs it)")
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh database. Its password is in this process's PGPASSWORD; processes with another environment need `.environment`."""
    with postgres_server.database() as database:
        for name, value in database.environment.items():
            monkeypatch.setenv(name, value)
        yield database


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files of one group (`--dist loadgroup`) go to one worker, so that what they share is started once.

    pytest-xdist 3.8 writes a test's group into its node id, which pytest 9 computes anew: it is told by the file here.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByFile(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((group for group, file in GROUPS.items() if file in nodeid), nodeid)

    return ByFile(config, log)
