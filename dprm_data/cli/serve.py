"""The command that serves rewards over HTTP."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Literal

import typer

from dprm_data.cli.shared import Json, answer, app, note, say
from dprm_data.cli.train import needs_trainers, quiet_libraries
from dprm_data.core.errors import InputError

_LOCAL = ("127.0.0.1", "localhost", "::1")


@app.command("serve-reward")
def serve_reward(
    reward_model: Annotated[
        list[str],
        typer.Option("--reward-model", "-m", help="A trained model; several are groups, of which the least counts."),
    ],
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 to be reached from elsewhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any that is free.")] = 8000,
    reading: Annotated[
        str, typer.Option("--reading", help="How a reward is read: mean, quantile:t, cvar:t, std:l or entropic:b.")
    ] = "mean",
    queries: Annotated[
        Literal["template", "plain"],
        typer.Option("--queries", help="What OpenRLHF's texts are: made by a chat template, or plain."),
    ] = "template",
    policy_tokenizer: Annotated[
        str | None,
        typer.Option("--policy-tokenizer", help="Whose template queries are made by; the reward model's if not given."),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", help="The environment variable with the key that callers must show."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = None,
    bf16: Annotated[bool, typer.Option("--bf16", help="The model in half the memory.")] = False,
    max_body: Annotated[float, typer.Option("--max-body", min=0.001, help="MiB of one request's body.")] = 8.0,
    max_rows: Annotated[int, typer.Option("--max-rows", min=1, help="Responses of one request.")] = 1024,
    max_text: Annotated[int, typer.Option("--max-text", min=1, help="Characters of a prompt or response.")] = 100_000,
    max_concurrency: Annotated[
        int, typer.Option("--max-concurrency", min=1, help="Requests at once; more are told to come again.")
    ] = 1024,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Responses that the model reads at once.")] = 32,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0, help="Milliseconds that a response waits for others to be read with.")
    ] = 5.0,
    as_json: Json = False,
) -> None:
    """Serve a reward model over HTTP: to OpenRLHF, verl, or whoever posts texts.

    Prints its address, then serves until it is stopped. /health says when the model is loaded. docs/rewards-at-scale.md has complete examples.
    """
    needs_trainers()
    _needs_server()
    key = _key(api_key_env)
    from dprm_trainers.serving.server import serve
    from dprm_trainers.serving.settings import Limits, ServiceSettings

    limits = Limits(
        max_body=int(max_body * 1024 * 1024), max_rows=max_rows, max_text=max_text, max_concurrency=max_concurrency,
        max_batch=max_batch, max_wait=max_wait / 1000,
    )  # fmt: skip
    settings = ServiceSettings(
        references=tuple(reward_model), host=host, port=port, reading=reading, device=device, bf16=bf16, queries=queries,
        policy_tokenizer=policy_tokenizer, key=key, limits=limits,
    )  # fmt: skip
    if key is None and host not in _LOCAL:
        note(False)(f"Whoever can reach {host} can ask for rewards: --api-key-env asks callers for a key.")

    def listening(url: str) -> None:
        quiet_libraries()
        if as_json:
            answer({"url": url, "models": reward_model}, None, True)
        else:
            say(url)
        sys.stdout.flush()  # it must be read now, also where it is piped

    serve(settings, listening)


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key.strip():
        raise InputError(f"--api-key-env: the environment variable {variable} is not set, or empty")
    return key.strip()


def _needs_server() -> None:
    import importlib.util

    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"serving needs packages that are not installed: {', '.join(missing)}",
            hint="Install them with: pip install 'dprm-data[train,serve]' (in a checkout: pip install -e '.[train,serve]').",
        )
