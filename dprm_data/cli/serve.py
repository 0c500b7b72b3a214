"""The command `dprm serve`: rewards over HTTP."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from dprm_data.cli.options import given, settings_command
from dprm_data.cli.shared import Json, answer, app, note, say
from dprm_data.cli.train import check_named, needs_trainers, quiet_libraries
from dprm_data.core.extras import needs_installed

if TYPE_CHECKING:
    from dprm_trainers.serving.service_settings import ServiceSettings

_LOCAL = ("127.0.0.1", "localhost", "::1")


def service_settings() -> type[ServiceSettings]:
    from dprm_trainers.serving.service_settings import ServiceSettings

    return ServiceSettings


@app.command(cls=settings_command(service_settings, required=True))
def serve(context: typer.Context, as_json: Json = False) -> None:
    """Serve a reward model over HTTP (extra: serve).

    To OpenRLHF, verl, or any client that posts texts. Prints its address, then serves until it is stopped. /health says when the model is loaded.
    """
    needs_trainers()
    needs_installed("serving needs", ("fastapi", "uvicorn"), "train", "serve")
    from dprm_trainers.core.settings import given_settings
    from dprm_trainers.serving.server import serve as serve_rewards

    settings = given_settings(service_settings(), None, given(context))
    check_named(reward_model=settings.reward_model)
    if settings.key is None and settings.host not in _LOCAL:
        note(False)(
            f"Anyone who can reach {settings.host} can use this server: --api-key-env requires a key of callers."
        )

    def listening(url: str) -> None:
        quiet_libraries()
        if as_json:
            answer({"url": url, "models": settings.reward_model}, None, True)
        else:
            say(url)
        sys.stdout.flush()  # callers wait for the address, even through a pipe

    serve_rewards(settings, listening)
