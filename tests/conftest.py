"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers.llm import LLMServer
from tests.servers.local_llm import LocalLLM, start_local_llm


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
