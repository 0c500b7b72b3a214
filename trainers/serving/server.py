"""The process of a service: socket, signals, shutdown.

The socket listens before the model is loaded, so that a load balancer can poll /health from the start. On SIGTERM or
SIGINT the server accepts no new connections, completes the requests in flight, and exits with 0.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import InputError
from dprm_trainers.core.loading import CONFIG, loading
from dprm_trainers.serving.service_settings import ServiceSettings

if TYPE_CHECKING:
    import uvicorn

    from dprm_trainers.serving.app import Loaded

_GRACE_SECONDS = 120  # for requests in flight at shutdown


def serve(settings: ServiceSettings, listening: Callable[[str], None]) -> None:
    """Serve until a signal arrives. listening: called with the address once the socket is open.

    Raises `DprmError` if the socket cannot be opened or the models cannot be loaded.
    """
    opened = _socket(settings)  # before heavy imports, so that a port in use is reported at once
    host, port = opened.getsockname()[:2]
    import uvicorn

    from dprm_trainers.serving.app import Service, make_app
    from dprm_trainers.serving.connections import timed

    service = Service(settings)
    server: uvicorn.Server | None = None

    def stop() -> None:
        if server is not None:
            server.should_exit = True

    app = make_app(service, lambda: load(settings), stop)
    config = uvicorn.Config(
        app,
        http=timed(settings.max_receive),
        ws="none",
        log_level="error",  # warnings are about malformed requests: a stranger must not fill the log
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal again after shutdown; these handlers then exit with 0.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    listening(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    server.run(sockets=[opened])
    if service.failure is not None:
        raise service.failure


def load(settings: ServiceSettings) -> Loaded:
    """The scorer of a service, and its reader of queries. Raises `TrainingError`."""
    from dprm_trainers.reward.scorer import Scorer
    from dprm_trainers.serving.app import Loaded
    from dprm_trainers.serving.queries import QueryReader

    scorer = Scorer.load(
        settings.reward_model,
        reading=settings.reading,
        device=settings.device,
        batch_size=settings.max_batch,
        bf16=settings.bf16,
        group=settings.group,
    )
    tokenizer: Any = scorer.models[0].tokenizer
    if settings.policy_tokenizer is not None:
        from transformers import AutoTokenizer

        with loading(f"the tokenizer {settings.policy_tokenizer}", "Give the policy's folder, or its name on the Hub."):
            tokenizer = AutoTokenizer.from_pretrained(settings.policy_tokenizer, **CONFIG)
    return Loaded(scorer, QueryReader(tokenizer, settings.queries))


def _socket(settings: ServiceSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"cannot listen on {settings.host}, port {settings.port}: {error}",
            hint="Give another --port (0 takes any that is free) or --host.",
        ) from error


def _leave(*_: Any) -> None:
    sys.exit(0)
