"""The worker: what it opened is closed, whatever fails at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import dprm_data
from dprm_data.core.errors import InputError
from dprm_data.engine.canary import ENOUGH_HEARD
from dprm_data.providers.request import Answer, Request
from dprm_data.runs import worker
from tests.engine.helpers import RecordingProvider, label


class Closing(RecordingProvider):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


def test_a_forecast_that_fails_leaves_no_connection_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forecast(*arguments: Any, **settings: Any) -> str | None:
        raise InputError("the items have gone")

    async def complete(request: Request) -> Answer:
        return label()

    monkeypatch.setattr(worker, "forecast", forecast)
    provider = Closing(complete)
    rows = [{"prompt": f"question {i}", "response": "an answer"} for i in range(ENOUGH_HEARD)]
    recipe = {"provider": {"name": "openai", "model": "m", "price": {"input": 1, "output": 1}}, "labels": 3}
    with pytest.raises(InputError, match="the items have gone"):
        dprm_data.run(recipe, source=rows, output=tmp_path / "run", provider=provider)
    assert provider.closed
