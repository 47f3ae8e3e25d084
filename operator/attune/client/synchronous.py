"""The clients that wait. Every method is a function of `calls` or `serving_calls`; what is special here is only how it is sent."""

import time
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import httpx
import stamina
from httpx_sse import EventSource

from attune.client import calls, errors, serving_calls
from attune.client.core import Call, Events, Follower, M, Pages
from attune.client.setup import Connection, Token

P = ParamSpec("P")
T = TypeVar("T")


class _Client:
    """A connection, and how calls go over it."""

    def __init__(self, url: str, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx.Client(base_url=url, auth=connection.auth, timeout=connection.timeout, **connection.options)

    def send(self, call: Call[T]) -> T:
        """One operation, tried again where that is safe."""
        limits = self._connection
        for attempt in stamina.retry_context(call.pause, attempts=limits.attempts, timeout=limits.patience):
            with attempt:
                try:
                    answer = self._http.send(call.request(self._http, limits.params))
                except httpx.TransportError as error:
                    raise errors.of_transport(error, f"{call.method} {call.path}") from error
                return call.answered(answer)
        raise AssertionError("stamina ends by raising")

    def pages(self, pages: Pages[T]) -> Iterator[T]:
        """All items of a list, a page at a time."""
        cursor: str | None = None
        while True:
            items, cursor = self.send(pages.page(cursor))
            yield from items
            if cursor is None:
                return

    def events(self, events: Events[M]) -> Iterator[M]:
        """States until the last one; a connection that is lost is made anew, where it left off."""
        follower = Follower(events, self._connection.attempts)
        while not follower.over:
            problem: errors.ClientError | None = None
            try:
                yield from self._connected(follower, events)
            except httpx.TransportError as error:
                problem = errors.of_transport(error, events.path)
            except errors.ApiError as error:
                problem = error
            if not follower.over:
                time.sleep(follower.lost(problem))

    def _connected(self, follower: Follower[M], events: Events[M]) -> Iterator[M]:
        params = self._connection.params
        with self._http.stream(
            "GET", events.path, params=params, headers=follower.headers, timeout=self._connection.streaming
        ) as answer:
            if answer.status_code not in {200, 204}:
                answer.read()
            follower.opened(answer)
            if follower.over:
                return
            for event in EventSource(answer).iter_sse():
                state = follower.state(event)
                if state is not None:
                    yield state
                if follower.over:
                    return

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sends(make: Callable[P, Call[T]]) -> Callable[Concatenate[Any, P], T]:
    @wraps(make)
    def method(client: _Client, /, *args: P.args, **named: P.kwargs) -> T:
        return client.send(make(*args, **named))

    return cast("Callable[Concatenate[Any, P], T]", method)


def _lists(make: Callable[P, Pages[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    @wraps(make)
    def method(client: _Client, /, *args: P.args, **named: P.kwargs) -> Iterator[T]:
        return client.pages(make(*args, **named))

    return cast("Callable[Concatenate[Any, P], Iterator[T]]", method)


def _follows(make: Callable[P, Events[M]]) -> Callable[Concatenate[Any, P], Iterator[M]]:
    @wraps(make)
    def method(client: _Client, /, *args: P.args, **named: P.kwargs) -> Iterator[M]:
        return client.events(make(*args, **named))

    return cast("Callable[Concatenate[Any, P], Iterator[M]]", method)


class Attune(_Client):
    """The REST API."""

    def __init__(
        self,
        url: str,
        *,
        token: Token = None,
        namespace: str | None = None,
        timeout: float = 30.0,
        attempts: int = 5,
        **options: Any,
    ) -> None:
        """`token`: a string, or a function that gives the newest one. `options` are httpx's: verify, proxy, transport, …"""
        params = {"namespace": namespace} if namespace else {}
        super().__init__(url, Connection(token, params, timeout, attempts, options=options))

    versions = _lists(calls.versions)
    version = _sends(calls.version)
    timeline = _sends(calls.timeline)
    version_events = _follows(calls.version_events)
    promote = _sends(calls.promote)
    rollback = _sends(calls.rollback)
    train = _sends(calls.train)
    runs = _lists(calls.runs)
    run = _sends(calls.run)
    cancel_run = _sends(calls.cancel_run)
    run_events = _follows(calls.run_events)
    start_ab_test = _sends(calls.start_ab_test)
    ab_tests = _lists(calls.ab_tests)
    ab_test = _sends(calls.ab_test)
    cancel_ab_test = _sends(calls.cancel_ab_test)
    retrievers = _lists(calls.retrievers)
    retriever = _sends(calls.retriever)
    schedules = _lists(calls.schedules)
    whoami = _sends(calls.whoami)


class Serving(_Client):
    """The serving Pods of one Retriever."""

    def __init__(
        self, url: str, *, token: Token = None, timeout: float = 30.0, attempts: int = 5, **options: Any
    ) -> None:
        """`token` for a gateway in between; serving itself takes none."""
        super().__init__(url, Connection(token, {}, timeout, attempts, options=options))

    search = _sends(serving_calls.search)
    embed = _sends(serving_calls.embed)
    rerank = _sends(serving_calls.rerank)
    feedback = _sends(serving_calls.feedback)
