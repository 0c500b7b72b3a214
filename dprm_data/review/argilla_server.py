"""The Argilla server: connection, error messages, and retries while it is unavailable.

The address is ARGILLA_API_URL, the key ARGILLA_API_KEY: from the environment, never an argument, never stored.

Workspaces, datasets and their settings go through Argilla's own client. Records and responses go over its REST API: only there does a response have its
time, and a batch can be retried. Every write is an upsert by the item's id, so a repeated request changes nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from dprm_data.core.errors import ReviewError
from dprm_data.core.extras import extra
from dprm_data.core.scrub import public_url

if TYPE_CHECKING:
    import argilla
    import httpx

PATIENCE = 90.0  # seconds to retry while the server is unavailable during a push or a pull
BATCH = 100  # records per request; the server takes 500, but fewer do not block people who annotate meanwhile
PAGE = 250
TIMEOUT = 60
LARGEST_REPLY = 256 << 20  # bytes: a page of records, each with texts of a megabyte


class Server:
    """A connection. Raises ReviewError if the server cannot be used."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self.url = (os.environ.get("ARGILLA_API_URL") or "http://localhost:6900").strip().rstrip("/")
        self.patience = patience
        key = (os.environ.get("ARGILLA_API_KEY") or "").strip()
        if not key:
            raise ReviewError(
                "ARGILLA_API_KEY is not set",
                hint="Set it to the key of an owner or admin (Argilla: My settings), and ARGILLA_API_URL to the server's address.",
            )
        with extra("argilla", what="a review in Argilla"):
            import argilla
        with self.explained():
            self.client = argilla.Argilla(api_url=self.url, api_key=key, timeout=TIMEOUT, retries=1)

    @property
    def http(self) -> httpx.Client:
        return self.client.http_client  # type: ignore[no-any-return]

    # -- workspaces and datasets ----------------------------------------------------------------------------------------

    def workspace(self, name: str) -> argilla.Workspace:
        """The workspace of this name. Raises ReviewError that lists those available."""
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where there is none, which is an answer
            found = self.client.workspaces(name)
            if found is None:
                names = ", ".join(sorted(workspace.name for workspace in self.client.workspaces)) or "none"
                raise ReviewError(
                    f"{public_url(self.url)} has no workspace {name!r} that this key can access",
                    hint=f"Workspaces: {names}. An owner can create one in Argilla's settings.",
                )
        return found

    def dataset(self, workspace: argilla.Workspace, name: str) -> argilla.Dataset | None:
        """The dataset of this name, with its settings; None if there is none. Raises ReviewError if it was never published."""
        with self.explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.client.datasets(name, workspace=workspace)
            if found is None:
                return None
            content = self.ask("GET", f"/datasets/{found.id}")
            status = content.get("status") if isinstance(content, dict) else None
            if status != "ready":
                raise ReviewError(
                    f"the dataset {name!r} in {workspace.name!r} is an unfinished {status}",
                    hint="Delete it in Argilla, or choose another --dataset.",
                )
            found.settings.get()
        return found

    # -- records --------------------------------------------------------------------------------------------------------

    def upsert(
        self, dataset_id: Any, records: Iterable[dict[str, Any]], *, sent: Callable[[int], None] = lambda count: None
    ) -> int:
        """Send records in batches; `sent` is called with the number sent so far. Returns the total. (The server does not distinguish new from updated.)"""
        source = iter(records)
        total = 0
        while batch := list(islice(source, BATCH)):
            self.ask("PUT", f"/datasets/{dataset_id}/records/bulk", json={"items": batch})
            total += len(batch)
            sent(total)
        return total

    def records(self, dataset_id: Any, *, responses: bool = True) -> Iterator[dict[str, Any]]:
        """All records of a dataset as the REST API gives them, in order of creation."""
        start, first = 0, None
        while True:
            window: dict[str, Any] = {"offset": start, "limit": PAGE} | ({"include": "responses"} if responses else {})
            page = self._items(f"/datasets/{dataset_id}/records", params=window)
            if page and page[0] == first:
                raise ReviewError(f"{public_url(self.url)} sends the same records again and again")
            first = page[0] if page else None
            yield from page
            if len(page) < PAGE:
                return
            start += PAGE

    def accounts(self, workspace_id: Any) -> set[str]:
        """The ids of the users that exist: all of them for an owner's key, for an admin's the workspace's members."""
        import httpx

        try:
            users = self._items("/users")
        except ReviewError as error:
            cause = error.__cause__
            if not isinstance(cause, httpx.HTTPStatusError) or cause.response.status_code != 403:
                raise
            users = self._items(f"/workspaces/{workspace_id}/users")
        return {str(user.get("id")) for user in users if isinstance(user, dict)}

    def _items(self, path: str, **content: Any) -> list[Any]:
        answer = self.ask("GET", path, **content)
        items = answer.get("items") if isinstance(answer, dict) else None
        if not isinstance(items, list):
            raise self._no_argilla()
        return items

    def ask(self, method: str, path: str, **content: Any) -> Any:
        """Make one request and return its JSON. Retries passing failures for `patience` seconds. Raises ReviewError."""
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

        again = Retrying(
            retry=retry_if_exception(_passing),
            stop=stop_after_delay(self.patience),
            wait=wait_random_exponential(multiplier=0.25, max=4.0),
            reraise=True,
        )
        with self.explained():
            return again(self._once, method, path, content)

    def _once(self, method: str, path: str, content: dict[str, Any]) -> Any:
        import httpx

        headers = {"Accept-Encoding": "identity"}
        with self.http.stream(method, f"/api/v1{path}", headers=headers, **content) as streamed:
            body = self._bounded(streamed)
        answer = httpx.Response(streamed.status_code, content=body, request=streamed.request)
        answer.raise_for_status()
        try:
            return answer.json() if answer.content else None
        except (ValueError, RecursionError) as error:
            raise self._no_argilla() from error

    def _bounded(self, answer: httpx.Response) -> bytes:
        """The body of a reply as it is read, decompressed piece by piece. Raises `ReviewError` once it exceeds `LARGEST_REPLY`."""
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > LARGEST_REPLY:
                raise ReviewError(
                    f"{public_url(self.url)} sends more than {LARGEST_REPLY >> 20} MiB at once, which is no page of {PAGE} records"
                )
        return bytes(body)

    # -- failures -------------------------------------------------------------------------------------------------------

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the client's and the server's errors into a ReviewError that says what to do."""
        import httpx
        from argilla._exceptions import ArgillaError

        try:
            yield
        except httpx.TransportError as error:
            raise ReviewError(
                f"no answer from the Argilla server at {public_url(self.url)} ({type(error).__name__})",
                hint="Check that it is running and that ARGILLA_API_URL is its address. What was sent is kept; run the same command to continue.",
            ) from error
        except (httpx.HTTPStatusError, ArgillaError) as error:
            raise self._refused(error) from error

    def _no_argilla(self) -> ReviewError:
        return ReviewError(
            f"{public_url(self.url)} does not answer as an Argilla server does",
            hint="Check that ARGILLA_API_URL is the address of an Argilla server (version 2).",
        )

    def _refused(self, error: Exception) -> ReviewError:
        # The client wraps the server's answer, sometimes twice.
        chain: list[BaseException] = [error]
        while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
            chain.append(inner)
        answers = [answer for one in chain if (answer := getattr(one, "response", None)) is not None]
        status = answers[0].status_code if answers else None
        if status == 401:
            return ReviewError(
                f"{public_url(self.url)} does not know the key in ARGILLA_API_KEY",
                hint="Copy it again from Argilla (My settings), and check that it belongs to this server.",
            )
        if status == 403:
            return ReviewError(
                "this key's user is not allowed to do that",
                hint="Pushing and pulling need an owner, or an admin of the workspace; annotators can only answer.",
            )
        reason = answers[0].text if answers else str(error)
        return ReviewError(f"{public_url(self.url)} refuses{f' ({status})' if status else ''}: {reason[:400]}")


def _passing(error: BaseException) -> bool:
    """Whether a retry may succeed."""
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    return isinstance(error, httpx.TransportError)
