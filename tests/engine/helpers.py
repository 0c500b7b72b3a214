"""What the engine's tests share: small works, items, providers that are plain functions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dprm_data.core.ledger_address import LedgerAddress
from dprm_data.elicit.template import load_prompt
from dprm_data.elicit.work import Work, make_work
from dprm_data.engine.budget import Budget
from dprm_data.engine.counters import Counters
from dprm_data.engine.direct import Engine
from dprm_data.engine.prices import Prices
from dprm_data.ingest.items import Item, ids_of
from dprm_data.labels.space import LabelSpace
from dprm_data.ledger.ledger import Ledger
from dprm_data.panel.panel_sources import load_panel
from dprm_data.providers.function_provider import FunctionProvider
from dprm_data.providers.provider import Provider
from dprm_data.providers.request import Answer, Request, Usage
from dprm_data.recipe.recipe import LimitsConfig, Recipe

FREE = Prices(lambda usage: 0.0, "free")
# A dollar per token in and out: sums are easy to follow.
DOLLAR = Prices(lambda usage: float(usage.input_tokens + usage.output_tokens), "a dollar a token")


def work(personas: int = 5, **recipe: Any) -> Work:
    """The paper's panel, cut to so many personas, on three levels."""
    panel = load_panel("paper")
    content = {"provider": {"name": "openai", "model": "gpt-4o-mini"}, "labels": 3, "elicitation": "choice"} | recipe
    parsed = Recipe.of(content)
    return make_work(
        parsed,
        LabelSpace.load(3),
        panel.model_copy(update={"personas": panel.personas[:personas]}),
        load_prompt(parsed.elicitation),
        None,
    )


def items(count: int, text: str = "response") -> list[Item]:
    made = []
    for number in range(count):
        prompt = ({"role": "user", "content": f"question {number}"},)
        completion = ({"role": "assistant", "content": f"{text} {number}"},)
        item_id, group_id = ids_of(prompt, completion)  # type: ignore[arg-type]
        made.append(Item(item_id, prompt, completion, group_id, None, f"made:{number}", {}))  # type: ignore[arg-type]
    return made


def label(text: str = "2", *, usage: Usage = Usage(10, 2), headers: dict[str, str] | None = None) -> Answer:  # noqa: B008
    """An answer that chooses a label."""
    return Answer(json.dumps({"label": text}), "stop", usage, "gpt-4o-mini", headers=headers or {})


class RecordingProvider(FunctionProvider):
    """Keeps what it is asked."""

    def __init__(self, function: Callable[[Request], Awaitable[Answer]]) -> None:
        super().__init__(function)
        self.requests: list[Request] = []
        self.in_flight = self.most_in_flight = 0

    async def complete(self, request: Request) -> Answer:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await super().complete(request)
        finally:
            self.in_flight -= 1


def annotate(
    folder: Path,
    provider: Provider,
    asked: Work,
    rows: list[Item],
    *,
    prices: Prices = FREE,
    budget: Budget | None = None,
    retry_failed: bool = False,
    **limits: Any,
) -> Counters:
    """Run the engine once on a ledger in the folder. Raises what stopped it."""

    async def go() -> Counters:
        with Ledger(LedgerAddress.parse(folder / "ledger.sqlite"), run="test", price_table=prices.source) as ledger:
            engine = Engine(
                provider=provider,
                ledger=ledger,
                prices=prices,
                budget=budget or Budget(None),
                limits=LimitsConfig(**limits),
                retry_failed=retry_failed,
            )
            async with asyncio.timeout(60):  # only against hanging
                await engine.run(asked, rows)
            return engine.counters

    return asyncio.run(go())
