"""A fleet: several endpoints that serve the same model, as one provider.

    all calls of an item     go to one endpoint, whose cache then holds their shared prefix. Rendezvous hashing on the cache hint, by weight:
                             adding or removing an endpoint moves no items between the others
    if it is full or out     the call goes to the item's next endpoint; if all are full, to the first that becomes free, first come first served
    an endpoint that fails   is taken out and probed (`endpoint`); this is reported once
    a failed call            is retried on the next endpoint if it was certainly not billed and the endpoint is to blame: no connection, a
                             429, a refused key, an unknown model. Any other failure is raised: the engine counts it, pays for it and retries

If no endpoint is available, the fleet raises a rate limit with the shortest wait, a failed connection, or, if every endpoint refuses us
permanently, that refusal.

Rendezvous hashing with weights: endpoint e scores -w_e / ln(h(e, item)) with h uniform on (0, 1); the highest score wins with probability
w_e / sum(w), because -ln(h)/w is exponential with rate w (Thaler and Ravishankar 1998; the weights as in Resch 2015).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dprm_data.providers.endpoint import CONGESTION, Endpoint, Standing, reason
from dprm_data.providers.request import Answer, CallFailed, Request
from dprm_data.providers.token_estimates import estimated_input_tokens, output_tokens_cap

_LONGEST_WAIT = 5.0  # seconds to wait for a free endpoint; after that the engine is asked to send fewer calls
_SHORT_WAIT = 0.5  # seconds to wait when all endpoints are out or cooling
_REMEMBERED = 10_000  # calls whose failed endpoints are remembered


@dataclass(slots=True, eq=False)
class _Waiting:
    """A call that waits for an endpoint. ranking: the endpoints that may take it, best first."""

    ranking: Sequence[Endpoint]
    given: asyncio.Future[Endpoint]


class Fleet:
    """One provider over several endpoints of one family. say: called when an endpoint fails or recovers."""

    def __init__(self, endpoints: Sequence[Endpoint], *, family: str, say: Callable[[str], None] | None = None) -> None:
        self.family = family
        self.concurrency = sum(endpoint.concurrency for endpoint in endpoints)
        self._endpoints = tuple(endpoints)
        self._say = say or (lambda text: None)
        self._by_affinity = lru_cache(maxsize=4096)(self._ranked)
        self._failed_at: dict[int, tuple[Request, set[Endpoint]]] = {}
        self._queue: list[_Waiting] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def standings(self) -> list[Standing]:
        """How each endpoint does. The objects stay the same."""
        return [endpoint.standing for endpoint in self._endpoints]

    async def complete(self, request: Request) -> Answer:
        """Send the request until an endpoint has taken it. Raises `CallFailed`."""
        refused: set[Endpoint] = set()
        while True:
            endpoint = await self._endpoint(request, refused)
            try:
                answer = await endpoint.ask(request, _tokens(endpoint, request))
            except CallFailed as error:
                self._judge(endpoint, error)
                if not (error.kind in CONGESTION or error.fatal or not error.sent):
                    self._remember(request, endpoint)
                    # What the provider says about its limits is said about this endpoint alone.
                    raise _without_limits(error) from None
                refused.add(endpoint)
            else:
                self._succeeded(endpoint, request)
                return replace(answer, headers={})
            finally:
                self._hand_out()

    async def aclose(self) -> None:
        if self._timer:
            self._timer.cancel()
        for endpoint in self._endpoints:
            await endpoint.aclose()

    # -- which endpoint -------------------------------------------------------------------------------------------------

    async def _endpoint(self, request: Request, refused: set[Endpoint]) -> Endpoint:
        """An endpoint that can take the request now. Raises `CallFailed` where there is none for long."""
        ranking = [endpoint for endpoint in self._ranking(request) if endpoint not in refused]
        if not self._queue and (found := _first_free(ranking)):
            return found
        if _hopeless(ranking):
            raise self._nobody()
        waiting = _Waiting(ranking, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._hand_out()
        try:
            await asyncio.wait([waiting.given], timeout=_LONGEST_WAIT)
        except asyncio.CancelledError:
            if waiting.given.done() and not waiting.given.exception():
                waiting.given.result().leave()
            raise
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
        if not waiting.given.done():
            raise self._nobody()
        return waiting.given.result()

    def _hand_out(self) -> None:
        """Give waiting calls the endpoints that are free, the longest waiting first; look again when the clock frees one."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        for waiting in tuple(self._queue):
            if found := _first_free(waiting.ranking):
                self._queue.remove(waiting)
                waiting.given.set_result(found)
            elif _hopeless(waiting.ranking):
                self._queue.remove(waiting)
                waiting.given.set_exception(self._nobody())
            elif all(endpoint.wait() for endpoint in self._endpoints):
                break
        if not self._queue:
            return
        waits = [wait for endpoint in self._endpoints if 0 < (wait := endpoint.wait()) < math.inf]
        if waits:
            self._timer = asyncio.get_running_loop().call_later(min(waits), self._hand_out)

    def _ranking(self, request: Request) -> list[Endpoint]:
        ranked = self._by_affinity(request.cache_hint or request.messages[-1]["content"][: request.shared_chars])
        _, failed_at = self._failed_at.get(id(request), (request, ()))
        return sorted(ranked, key=lambda endpoint: endpoint in failed_at)

    def _ranked(self, hint: str) -> tuple[Endpoint, ...]:
        return tuple(sorted(self._endpoints, key=lambda endpoint: -_score(endpoint, hint)))

    # -- what comes of it -----------------------------------------------------------------------------------------------

    def _succeeded(self, endpoint: Endpoint, request: Request) -> None:
        self._failed_at.pop(id(request), None)
        if endpoint.bring_in():
            self._say(f"{endpoint.standing.name} answers again ({self._in_words()})")

    def _judge(self, endpoint: Endpoint, error: CallFailed) -> None:
        """Take the endpoint out where it is to blame. What may be the calls' fault takes nobody out if nobody else is left."""
        others = any(not each.out for each in self._endpoints if each is not endpoint)
        to_blame = error.fatal or not error.sent
        suspected = error.kind not in CONGESTION and (endpoint.out or (endpoint.doubtful and others))
        if (to_blame or suspected) and endpoint.take_out(error):
            what = "refuses us" if error.fatal else "is taken out"
            self._say(f"{endpoint.standing.name} {what}: {reason(error)} ({self._in_words()})")

    def _in_words(self) -> str:
        left = sum(not endpoint.out for endpoint in self._endpoints)
        return f"{left} of {len(self._endpoints)} endpoints in use"

    def _remember(self, request: Request, endpoint: Endpoint) -> None:
        """The request is asked elsewhere next time. (The reference to it keeps its id its own.)"""
        _, places = self._failed_at.setdefault(id(request), (request, set()))
        places.add(endpoint)
        if len(places) == len(self._endpoints):
            places.clear()
        while len(self._failed_at) > _REMEMBERED:
            del self._failed_at[next(iter(self._failed_at))]

    def _nobody(self) -> CallFailed:
        """The failure to raise when no endpoint is available."""
        waits = [wait for endpoint in self._endpoints if (wait := endpoint.wait()) < math.inf]
        soonest = max(0.05, min(waits, default=_SHORT_WAIT))
        failures = [endpoint.failure for endpoint in self._endpoints if endpoint.failure]
        each = "; ".join(f"{each.standing.name}: {each.standing.out}" for each in self._endpoints if each.out)
        if len(failures) < len(self._endpoints):
            return CallFailed(
                "rate_limit", f"all endpoints are busy{f' or out: {each}' if each else ''}", retry_after=soonest
            )
        if all(failure.fatal for failure in failures):
            return CallFailed(failures[0].kind, each, status=failures[0].status)
        return CallFailed("connection", each, retry_after=soonest, sent=False)


def _first_free(ranking: Sequence[Endpoint]) -> Endpoint | None:
    """The first endpoint that can be asked now: it is taken."""
    for endpoint in ranking:
        if not endpoint.wait():
            endpoint.take()
            return endpoint
    return None


def _hopeless(ranking: Sequence[Endpoint]) -> bool:
    """Whether none of these can be asked for so long that the engine had better know."""
    return all(endpoint.unavailable > _SHORT_WAIT for endpoint in ranking)


def _score(endpoint: Endpoint, hint: str) -> float:
    digest = hashlib.blake2b(f"{endpoint.place}\0{hint}".encode(), digest_size=7).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**56
    return -endpoint.weight / math.log(uniform) if uniform < 1 else math.inf


def _tokens(endpoint: Endpoint, request: Request) -> float:
    """Tokens that a call will about use, for the endpoint's limit on tokens."""
    if not endpoint.counts_tokens:
        return 0.0
    # As the engine does for its own limit: thoughts count as they usually are, not as the room that they may fill.
    thoughts = request.capabilities.reasoning_tokens
    return estimated_input_tokens(request) + (output_tokens_cap(request.params) or 0) + thoughts


def _without_limits(error: CallFailed) -> CallFailed:
    return CallFailed(error.kind, error.message, status=error.status, usage=error.usage, sent=error.sent)
