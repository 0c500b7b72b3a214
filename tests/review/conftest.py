"""One real Argilla server for all tests of the review that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.argilla import OWNER_KEY, ArgillaServer, Person


@pytest.fixture(scope="session")
def argilla_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    server = ArgillaServer(tmp_path_factory.mktemp("argilla"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def team(argilla_server: ArgillaServer) -> tuple[str, list[Person]]:
    """The workspace `team` and three annotators in it."""
    workspace = argilla_server.add_workspace("team")
    return workspace, [argilla_server.add_person(name, workspace) for name in ("ann", "ben", "cem")]


@pytest.fixture
def argilla(argilla_server: ArgillaServer, team: object, monkeypatch: pytest.MonkeyPatch) -> ArgillaServer:
    """The server, with the environment that points to it as its owner."""
    monkeypatch.setenv("ARGILLA_API_URL", argilla_server.url)
    monkeypatch.setenv("ARGILLA_API_KEY", OWNER_KEY)
    return argilla_server
