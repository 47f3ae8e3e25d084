"""Requests as values, and what is to be done with their answers: all of the client but the sending. No I/O.

`synchronous` and `asynchronous` send; both are a page long, since every decision is made here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

import httpx
from httpx_sse import ServerSentEvent
from pydantic import TypeAdapter

from attune.client import errors
from attune.contract import Contract
from attune.messages.events import END

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=Contract)
Params = Mapping[str, str | int | list[str] | None]

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


class Again(Enum):
    """What may be sent a second time."""

    ALWAYS = "always"
    """Reads, and what carries an Idempotency-Key."""
    UNSEEN = "unseen"
    """Only what the server surely did not do: it could not be reached, or said 429 or 503."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Params = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    again: Again = Again.ALWAYS

    def request(self, client: httpx.Client | httpx.AsyncClient, common: Mapping[str, str]) -> httpx.Request:
        """As httpx sends it; `common` are parameters that every call has."""
        params = {**common, **{k: v for k, v in self.params.items() if v is not None}}
        return client.build_request(self.method, self.path, params=params, json=self.body, headers=dict(self.headers))

    def answered(self, answer: httpx.Response) -> T:
        """What the caller gets; raises for an answer that is not 2xx."""
        if not answer.is_success:
            raise errors.of_answer(answer)
        return self.read(answer)

    def pause(self, error: Exception) -> bool | float:
        """For stamina: whether to try again, or the seconds that the server asked to wait."""
        if isinstance(error, errors.Unavailable):
            return error.retry_after if error.retry_after is not None else True
        return isinstance(error, errors.Unreachable) and (self.again is Again.ALWAYS or not error.sent)


@dataclass(frozen=True, slots=True)
class Pages(Generic[T_co]):
    """A list that comes in pages: `page` makes the request for the one that begins at a cursor."""

    page: Callable[[str | None], Call[tuple[tuple[T_co, ...], str | None]]]


@dataclass(frozen=True, slots=True)
class Events(Generic[M]):
    """A stream of states."""

    path: str
    state: type[M]


class Follower(Generic[M]):
    """One stream, over as many connections as it takes: where it was, when it is over, how long to wait before the next one."""

    def __init__(self, events: Events[M], attempts: int) -> None:
        self.over = False
        self._events = events
        self._attempts = attempts
        self._failures = 0
        self._last_id: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Of the next connection."""
        came_from = {"last-event-id": self._last_id} if self._last_id is not None else {}
        return {"accept": "text/event-stream", "cache-control": "no-store", **came_from}

    def opened(self, answer: httpx.Response) -> None:
        """An answer began. One that is not 200 must have been read."""
        if answer.status_code == 204:
            self.over = True
        elif answer.status_code != 200:
            raise errors.of_answer(answer)

    def state(self, event: ServerSentEvent) -> M | None:
        """The state in an event; None for what has none."""
        if not event.data:
            return None
        if event.event == "problem":
            raise errors.Forbidden(403, f"{self._events.path}: the right to watch it was taken away")
        self._failures = 0
        self._last_id = event.id or self._last_id
        self.over = event.event == END
        return self._events.state.from_json(event.data)

    def lost(self, error: Exception | None) -> float:
        """Seconds until the next connection; raises what is not worth another one. None: the server ended it early."""
        if isinstance(error, errors.ApiError) and not isinstance(error, errors.Unavailable):
            raise error
        self._failures += 1
        if self._failures > self._attempts:
            raise error or errors.Unreachable(f"{self._events.path}: the stream ends again and again", sent=True)
        asked = error.retry_after if isinstance(error, errors.Unavailable) else None
        return float(asked if asked is not None else min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE))


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """Reads a body into a model of pydantic."""

    model: type[T]

    def __call__(self, answer: httpx.Response) -> T:
        return TypeAdapter(self.model).validate_json(answer.content)
