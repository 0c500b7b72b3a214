"""The routes of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from dprm_trainers.core.errors import RewardError, TrainingError
from dprm_trainers.data.chat import all_judged
from dprm_trainers.data.rows import Message
from dprm_trainers.reward.scorer import Scorer, Scores
from dprm_trainers.serving.admission import OPEN, RETRY_SECONDS, Gate, printable, problem
from dprm_trainers.serving.batching import Batcher, Crowded
from dprm_trainers.serving.queries import QueryReader
from dprm_trainers.serving.request_forms import (
    OpenRLHFAnswer,
    OpenRLHFForm,
    ScoreAnswer,
    ScoreForm,
    VerlForm,
    VLLMForm,
    classify_answer,
    pooling_answer,
    verl_answers,
)
from dprm_trainers.serving.service_metrics import CONTENT_TYPE, Metrics
from dprm_trainers.serving.service_settings import ServiceSettings

PATHS = frozenset(
    {OPEN, "/metrics", "/model", "/score", "/get_reward", "/compute_score", "/classify", "/v1/classify", "/pooling"}
)
_ERRORS_SHOWN = 10


class TooMuch(TrainingError):
    """A request with more rows or longer texts than the limits allow."""


class NotReady(TrainingError):
    """The model is not loaded yet."""

    def __init__(self) -> None:
        super().__init__("the model is still loading", hint="Poll /health until it returns 200.")


@dataclass(frozen=True)
class Loaded:
    """The scorer of a service, and its reader of queries."""

    scorer: Scorer
    reader: QueryReader


class Service:
    """The state behind the routes: the loaded models, the batches and the metrics."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.failure: Exception | None = None
        self._loaded: Loaded | None = None
        self._batcher: Batcher | None = None

    @property
    def loaded(self) -> Loaded:
        """Raises `NotReady`."""
        if self._loaded is None:
            raise NotReady
        return self._loaded

    async def start(self, load: Callable[[], Loaded]) -> None:
        """Load the models, then score until the task is cancelled."""
        loaded, settings = await asyncio.to_thread(load), self.settings
        self._batcher = Batcher(
            loaded.scorer,
            self.metrics,
            max_batch=settings.max_batch,
            max_wait=settings.wait_seconds,
            max_queue=settings.max_queue,
        )
        self._loaded, self.metrics.ready = loaded, 1
        try:
            await self._batcher.run()
        finally:
            self._batcher.close()

    async def scores_of_queries(self, queries: list[str], prompts: list[str] | None) -> Scores:
        """The scores of N texts of prompt and response. Raises `TrainingError`."""
        _within(self.settings, [len(query) for query in queries], 2 * self.settings.max_text)
        # In a thread: parsing a text of many turns must not block other requests.
        return await self.scores(*await asyncio.to_thread(self.loaded.reader.read, queries, prompts))

    async def scores(self, prompts: list[list[Message]], responses: list[str], reading: str | None = None) -> Scores:
        """The scores of N rows, batched with the rows of other requests. Raises `TrainingError`."""
        scorer = self.loaded.scorer
        pairs = zip(prompts, responses, strict=True)
        lengths = [max(len(text), sum(len(turn["content"]) for turn in prompt)) for prompt, text in pairs]
        _within(self.settings, lengths, self.settings.max_text)
        if reading is not None or not responses:
            empty = scorer.read(scorer.predict([], []), reading)  # reports a wrong reading before anything is scored
            if not responses:
                return empty
        assert self._batcher is not None
        return scorer.read(await self._batcher.predict(prompts, responses), reading)


def make_app(service: Service, load: Callable[[], Loaded], stop: Callable[[], None]) -> FastAPI:
    """The application. load: loads the models, called in a thread; stop: called if that fails."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.start(load))
        task.add_done_callback(lambda done: _ended(service, done, stop))
        yield
        task.cancel()
        await asyncio.wait([task])

    app = FastAPI(title="dprm serve", lifespan=lifespan)
    app.add_middleware(Gate, settings=service.settings, metrics=service.metrics, paths=PATHS)
    _add_routes(app, service)
    _add_problems(app)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.get(OPEN)
    async def health() -> dict[str, str]:
        if not service.metrics.ready:
            raise NotReady
        return {"status": "ready"}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        scorer = service.loaded.scorer
        about = {"model": scorer.name, "reading": service.settings.reading, "groups": scorer.groups}
        return about | {"labels": scorer.labels, "rewards": scorer.rewards or None}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.post("/score")
    async def score(form: ScoreForm) -> ScoreAnswer:
        found = await service.scores(*all_judged(form.prompts, form.responses), reading=form.reading)
        return ScoreAnswer.of(service.loaded.scorer, found, form.reading or service.settings.reading)

    @app.post("/get_reward")
    async def get_reward(form: OpenRLHFForm) -> OpenRLHFAnswer:
        found = await service.scores_of_queries(form.query, form.prompts)
        return OpenRLHFAnswer.of(service.loaded.scorer, found)

    @app.post("/compute_score")
    async def compute_score(form: VerlForm) -> dict[str, Any]:
        found = await service.scores(*all_judged(form.prompts, form.responses))
        answers = verl_answers(service.loaded.scorer, found)
        return {"scores": answers} if form.many else answers[0]

    async def judged(form: VLLMForm) -> Scores:
        if form.messages is None:
            return await service.scores_of_queries(form.queries, None)
        *before, last = form.messages or [{}]
        return await service.scores(*all_judged([before], [[last]]))

    @app.post("/classify")
    @app.post("/v1/classify")
    async def classify(form: VLLMForm) -> dict[str, Any]:
        return classify_answer(service.loaded.scorer, await judged(form))

    @app.post("/pooling")
    async def pooling(form: VLLMForm) -> dict[str, Any]:
        return pooling_answer(service.loaded.scorer, await judged(form))


def _add_problems(app: FastAPI) -> None:
    """Report every error as JSON, without echoing anything from the request."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        fields = [_field(found) for found in error.errors()[:_ERRORS_SHOWN]]
        message = f"{fields[0]['field']}: {fields[0]['message']}"
        return JSONResponse(problem(message, "The forms are at /docs.", fields=fields), 422)

    @app.exception_handler(TrainingError)
    async def wrong(request: Request, error: TrainingError) -> JSONResponse:
        content = problem(error.message, error.hint)
        if isinstance(error, NotReady):
            return JSONResponse(content | {"status": "loading"}, 503, {"retry-after": "2"})
        if isinstance(error, Crowded):
            return JSONResponse(content, 429, {"retry-after": str(RETRY_SECONDS)})
        return JSONResponse(
            content, 500 if isinstance(error, RewardError) else 413 if isinstance(error, TooMuch) else 422
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:  # FastAPI's status for a body that is not text, or nested too deeply
            message = "body: not valid JSON"
            return JSONResponse(problem(message, fields=[{"field": "body", "message": "not valid JSON"}]), 422)
        return JSONResponse(problem(str(error.detail)), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(problem("internal error; see the log of the service"), 500)


def _field(found: dict[str, Any]) -> dict[str, str]:
    """The field with the error, and the message."""
    if found["type"] == "json_invalid":  # its location is a position in the text
        return {"field": "body", "message": f"not valid JSON at character {found['loc'][-1]}: {found['ctx']['error']}"}
    if found["type"] == "model_attributes_type":  # FastAPI parses the body as JSON only if the header says so
        return {"field": "body", "message": "not a JSON object (is content-type application/json?)"}
    field = ".".join(map(str, found["loc"][1:])) or "body"
    return {"field": printable(field), "message": printable(found["msg"].removeprefix("Value error, "))}


def _ended(service: Service, task: asyncio.Task[None], stop: Callable[[], None]) -> None:
    """Stop the server if the task that loads and scores has failed."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Exception):
        service.failure = error
        stop()


def _within(settings: ServiceSettings, lengths: Sequence[int], longest: int) -> None:
    """Check rows, by their lengths in characters, against the limits. Raises `TooMuch`."""
    if len(lengths) > settings.max_rows:
        raise TooMuch(
            f"{len(lengths)} rows in one request; the limit is {settings.max_rows}",
            hint="Send fewer rows per request, or raise --max-rows.",
        )
    row = next((row for row, length in enumerate(lengths) if length > longest), None)
    if row is not None:
        raise TooMuch(
            f"row {row + 1}: a text of {lengths[row]} characters; the limit is {longest}",
            hint="Shorten it, or raise --max-text.",
        )
