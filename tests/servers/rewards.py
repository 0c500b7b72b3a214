"""`dprm serve` as a process of its own, and a small client."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.helpers import environ


class RewardServer:
    """`with RewardServer("--reward-model", model) as server: server.ask("/score", {...})`. Ready when it is entered; on any free port."""

    def __init__(self, *arguments: object, key: str | None = None, cwd: Path | None = None, **environment: str) -> None:
        self._arguments, self._key, self._cwd, self._environment = arguments, key, cwd, environment

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "dprm_data.cli", "serve", "--port", "0", *map(str, self._arguments)]
        environment = environ(**({"OMP_NUM_THREADS": "1"} | self._environment))
        self.process = subprocess.Popen(
            command, cwd=self._cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            raise RuntimeError(f"the service did not start: {self.process.communicate()[1]}")
        until = time.monotonic() + 240  # a machine that does much else loads slowly
        while self.ask("/health")[0] != 200:
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                raise RuntimeError(f"the service was never ready: {self.process.communicate()[1]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.said = self.process.communicate(timeout=30)

    def ask(
        self, path: str, content: Any = None, *, key: str | None = None, raw: bytes | None = None
    ) -> tuple[int, Any]:
        """Status, and what was answered. content: posted as JSON; raw: posted as it is."""
        headers = {"Content-Type": "application/json"}
        if key or self._key:
            headers["Authorization"] = f"Bearer {key or self._key}"
        body = raw if raw is not None else None if content is None else json.dumps(content).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, body, headers), timeout=60) as answer:
                text, status = answer.read().decode(), answer.status
        except urllib.error.HTTPError as error:
            text, status = error.read().decode(), error.code
        except OSError:
            return 0, None
        return status, json.loads(text) if text.startswith(("{", "[")) else text

    def metric(self, name: str) -> float:
        """A number of /metrics, with its labels if it has any."""
        lines = self.ask("/metrics")[1].splitlines()
        return float(
            next((line.rsplit(" ", 1)[1] for line in lines if line.rsplit(" ", 1)[0] == f"dprm_reward_{name}"), 0)
        )
