"""Our own double of a model provider, on a real socket: OpenAI's chat completions and Anthropic's messages, with faults on demand.

    python -m tests.servers.llm --port 0 --latency 0.05          prints its address as its first line, serves until it is killed
    with LLMServer(latency=0.05) as server: ... server.url         in a thread of the test's own process
    with LLMProcess("--rpm", "600") as server: ... server.url      as a process of its own, which outlives killed clients

Answers follow the JSON schema of the request and are decided by a hash of its messages: the same question gets the same answer. A text
with `[[say:WORDS]]` gets exactly these words; `[[fault:NAME]]` makes things go wrong (see llm_faults), as do scripts: POST /_script with
any of Options' fields, `chances` {fault: probability}, `queue` [fault, ...] for the next requests and `answers` [text, ...]. GET /_stats
(`?details=1`) tells what was counted; POST /_reset forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.servers.llm_double import Double, Options, serve


class LLMServer(Double):
    """The double in a thread of this process. `url` is its root; OpenAI's clients want `url + "/v1"`."""

    url: str

    def __init__(self, *, port: int = 0, seed: int = 0, log: str | None = None, **options: Any) -> None:
        super().__init__(Options(**options), seed=seed, log=log)
        self._port = port

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url, self._runner = asyncio.run_coroutine_threadsafe(serve(self, self._port), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        async def stop() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await self._runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class LLMProcess:
    """The double as a process: `LLMProcess("--latency", "0.05")`."""

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.servers.llm", "--port", "0", *self._arguments]
        self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http"):
            raise RuntimeError("the double did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def stats(self, *, details: bool = False) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_stats{'?details=1' if details else ''}") as response:
            return dict(json.load(response))

    def script(self, **settings: Any) -> None:
        self._post("_script", settings)

    def reset(self) -> None:
        self._post("_reset", {})

    def _post(self, path: str, settings: dict[str, Any]) -> None:
        request = urllib.request.Request(f"{self.url}/{path}", json.dumps(settings).encode(), method="POST")
        urllib.request.urlopen(request).close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.servers.llm", description="A double of a model provider.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--rpm", type=float, help="requests per minute; beyond it, 429")
    parser.add_argument("--key", help="the only key that is accepted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", help="a file that gets a line of JSON per request")
    parser.add_argument("--chances", default="", help="faults and their chances, such as 429=0.1,drop=0.01")
    parser.add_argument("--labels", default="", help="what free text answers are picked from: a,b,c")
    given = parser.parse_args()
    labels = tuple(filter(None, given.labels.split(",")))
    options = Options(latency=given.latency, rpm=given.rpm, key=given.key, labels=labels)
    double = Double(options, seed=given.seed, log=given.log)
    pairs = (pair.split("=") for pair in filter(None, given.chances.split(",")))
    double.script({"chances": {name: float(chance) for name, chance in pairs}})

    async def forever() -> None:
        url, _ = await serve(double, given.port)
        print(url, flush=True)
        await asyncio.Event().wait()

    try:
        import uvloop

        uvloop.run(forever())
    except ImportError:
        asyncio.run(forever())


if __name__ == "__main__":
    main()
