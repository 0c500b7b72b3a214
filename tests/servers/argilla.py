"""Starts a real Argilla server for tests, stops it, and starts it again on the same data."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from tests.helpers import ROOT

VENV = ROOT / ".cache" / "argilla-server"
OWNER_KEY = "owner.key.for.tests"
STARTS_WITHIN = 180.0  # seconds; 10 to 50 are usual


class ArgillaServer:
    """A server on a free port of this machine; everything it keeps is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        python = VENV / "bin" / "python"
        if not python.exists():
            raise RuntimeError(f"no {python}: make test (or tests/setup_argilla.sh) installs it")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ARGILLA", "PYTHONPATH"))
        }
        environment |= {"ARGILLA_HOME_PATH": str(self.folder), "ARGILLA_OWNER_KEY": OWNER_KEY}
        with (self.folder / "server.log").open("ab") as log:
            program = [str(python), str(Path(__file__).with_name("argilla_serve.py")), str(self.port)]
            self._process = subprocess.Popen(program, env=environment, stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError("the Argilla server ended:\n" + (self.folder / "server.log").read_text()[-3000:])
            try:
                httpx.get(f"{self.url}/api/v1/version", timeout=2).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError(f"the Argilla server did not answer within {STARTS_WITHIN:g} s")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    # -- what an administrator does -----------------------------------------------------------------------------------

    def ask(self, method: str, path: str, *, key: str = OWNER_KEY, **content: Any) -> Any:
        """One request to the REST API; the answer's JSON."""
        answer = httpx.request(
            method, f"{self.url}/api/v1{path}", headers={"X-Argilla-Api-Key": key}, timeout=60, **content
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def add_workspace(self, name: str) -> str:
        """The new workspace's id."""
        return str(self.ask("POST", "/workspaces", json={"name": name})["id"])

    def add_person(self, name: str, workspace: str, role: str = "annotator") -> Person:
        """Someone who may annotate in this workspace (by its id)."""
        user = {"username": name, "first_name": name, "role": role, "password": f"{name}-password"}
        made = self.ask("POST", "/users", json=user)
        self.ask("POST", f"/workspaces/{workspace}/users", json={"user_id": made["id"]})
        return Person(self, name, made["id"], made["api_key"])


class Person:
    """One annotator, who answers over the REST API with a key of their own."""

    def __init__(self, server: ArgillaServer, name: str, user_id: str, key: str) -> None:
        self.server, self.name, self.user_id, self.key = server, name, user_id, key

    def answer(self, record_id: str, label: str | None, status: str = "submitted", comment: str = "") -> str:
        """Respond to a record; the response's id."""
        values = {} if label is None else {"label": {"value": label}}
        if comment:
            values["comment"] = {"value": comment}
        said = self.server.ask(
            "POST", f"/records/{record_id}/responses", key=self.key, json={"values": values, "status": status}
        )
        return str(said["id"])

    def change(self, response_id: str, label: str, status: str = "submitted") -> None:
        """Change one's mind."""
        values = {"label": {"value": label}}
        self.server.ask("PUT", f"/responses/{response_id}", key=self.key, json={"values": values, "status": status})

    def withdraw(self, response_id: str) -> None:
        self.server.ask("DELETE", f"/responses/{response_id}", key=self.key)
