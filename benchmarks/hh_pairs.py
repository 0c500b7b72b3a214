"""The main job on real input: pairs of HH-RLHF, the bundled model in the roles of six personas, killed half way and finished.

    python benchmarks/hh_pairs.py PATH/TO/hh_rlhf.parquet --pairs 40

The file has the columns prompt, chosen and rejected. The model's server stands in this process behind a proxy that counts what is asked;
`dprm run` is a process of its own, killed with SIGKILL when half of the calls are in the ledger, and started again. Prints what was asked
twice, the accuracy on the pairs of the panel, of the neutral annotator and of "the longer response", with 95 % intervals, and what it took.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pyarrow.parquet as pq
import yaml
from aiohttp import web

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.panel_sources import load_panel
from dprm_data.panel.personas import NEUTRAL
from dprm_data.providers.local import LocalProvider

ROOT = Path(__file__).resolve().parent.parent


class CountingProxy:
    """Hands requests on to the model's server and counts their bodies."""

    def __init__(self, target: str) -> None:
        self.seen: Counter[str] = Counter()
        self._target = target
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._serve, daemon=True).start()
        self._ready.wait()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600))
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._hand_on)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()

    async def _hand_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen[hashlib.sha256(body).hexdigest()] += 1
        headers = {"Authorization": request.headers["Authorization"], "Content-Type": "application/json"}
        async with self._session.post(f"{self._target}/chat/completions", data=body, headers=headers) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")


def recipe(
    folder: Path, name: str, data: Path, pairs: int, personas: list[dict[str, Any]], url: str, model: str
) -> Path:
    content = {
        "name": name,
        "source": {"path": str(data.resolve()), "limit": pairs},
        "labels": str(ROOT / "benchmarks/hh6_small_words.yaml"),
        "panel": {"use": {"name": name, "personas": personas}},
        "elicitation": "logprobs",
        "provider": {
            "name": "openai",
            "model": model,
            "base_url": f"{url}/v1",
            "api_key_env": "LOCAL_TOKEN",
            "temperature": 0,
            "price": {"input": 0, "output": 0},
        },
        "limits": {"concurrency": 1},
        "output": str(folder / name),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def start(path: Path, token: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dprm_data.cli", "run", "--json", str(path)]
    return subprocess.Popen(command, env=os.environ | {"LOCAL_TOKEN": token}, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate()
    assert process.returncode == 0, process.returncode
    content: dict[str, Any] = json.loads(said)
    return content


def in_ledger(folder: Path) -> int:
    file = folder / "ledger.sqlite"
    if not file.exists():
        return 0
    with Ledger(LedgerAddress.parse(file), readonly=True) as ledger:
        return ledger.counts()["calls"]


def share(found: list[Any]) -> str:
    accuracy, pairs = found
    return f"{accuracy:.2f} ± {1.96 * math.sqrt(max(accuracy * (1 - accuracy), 1e-9) / pairs):.2f} of {pairs}"


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=40)
    arguments = parser.parse_args()
    rows = min(arguments.pairs, pq.read_metadata(arguments.data).num_rows)
    provider = LocalProvider(servers=1)
    proxy = CountingProxy(provider.base_url)
    folder = Path(tempfile.mkdtemp(prefix="hh-pairs-"))
    panel = [persona.model_dump(mode="json") for persona in load_panel("paper").personas[:6]]
    path = recipe(folder, "panel", arguments.data, rows, panel, proxy.url, provider.model)
    expected = rows * 2 * 6 * 2 + 24

    began = time.monotonic()
    first = start(path, provider.token)
    while in_ledger(folder / "panel") < expected // 2:
        assert first.poll() is None, "it ended before half of the calls were made"
        time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    at_kill = in_ledger(folder / "panel")
    done = finish(start(path, provider.token))
    seconds = time.monotonic() - began
    asked, twice = sum(proxy.seen.values()), sum(count - 1 for count in proxy.seen.values())
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024

    say(f"pairs                     {rows}, items {done['summary']['items']}, personas 6")
    say(f"killed at                 {at_kill} answers in the ledger")
    say(f"calls asked at the server {asked}, distinct {len(proxy.seen)}, asked twice {twice} (1 in flight at the kill)")
    again = done["annotate"]
    say(f"second process            {again['calls']} calls, {again['replayed']} annotations replayed")
    say(f"annotations               {done['summary']['statuses']}")
    say(f"time                      {seconds:.0f} s for both processes, {seconds / asked:.2f} s a call")
    say(f"memory of dprm run        {memory:.0f} MB at most")

    personas = [NEUTRAL.model_dump(mode="json")]
    neutral = recipe(folder, "neutral", arguments.data, rows, personas, proxy.url, provider.model)
    alone = finish(start(neutral, provider.token))
    asyncio.run(provider.aclose())
    say(f"accuracy, panel           {share(done['summary']['pair_accuracy'])}")
    say(f"accuracy, neutral         {share(alone['summary']['pair_accuracy'])}")
    say(f"accuracy, the longer      {share(done['summary']['longer_accuracy'])}")


if __name__ == "__main__":
    main()
