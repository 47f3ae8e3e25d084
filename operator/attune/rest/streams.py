"""Server-sent events of one object, from the watch that all callers share. Used by `routes`.

Each event is the whole present state and has the resourceVersion as its id: a client that comes back with Last-Event-ID gets the next
state, whatever it missed in between, and one that is slow skips states. Nothing is queued.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any

import orjson
from fastapi import Header
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from attune.api.kinds import Kind
from attune.messages.events import END, STATE
from attune.objects import Manifest
from attune.rest.desk import Desk
from attune.rest.mirror import Room, version_of
from attune.rest.problems import Refused, unavailable

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=128, description="id of the last event that was seen."),
]
SCHEMA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `state`, and `end` with the last state. A comment is a heartbeat.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "Last-Event-ID was the last: nothing is to come."},
}
_RETRY_MILLISECONDS = 2000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is sent: a state, its id, and whether it is the last."""

    state: dict[str, Any]
    id: str
    last: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """What a stream is about: how to look, what to wait for, and which rights it lives on."""

    look: Callable[[], Awaitable[Snapshot]]
    waits: tuple[tuple[Room, str], ...]
    rights: tuple[tuple[str, Kind, str], ...]


class Watched:
    """One object as a stream sees it: asked for once, then followed by the watch that all share."""

    def __init__(self, desk: Desk, kind: Kind, name: str, room: Room) -> None:
        self._desk, self._kind, self._name, self._room = desk, kind, name, room
        self._known: Manifest | None = None

    @classmethod
    async def open(cls, desk: Desk, kind: Kind, name: str) -> "Watched":
        """Raises 404 where it is not there."""
        made = cls(desk, kind, name, await desk.watched(kind, name))
        made._known = await desk.get(kind, name)
        return made

    @property
    def name(self) -> str:
        """Of the object."""
        return self._name

    @property
    def known(self) -> Manifest:
        """As it was last seen."""
        assert self._known is not None
        return self._known

    @property
    def wait(self) -> tuple[Room, str]:
        """What wakes a stream."""
        return self._room, self._name

    async def now(self) -> Manifest | None:
        """As it is; None when it is gone, or another one has its name."""
        entry = self._room.entry(self._name)
        if entry is None:  # gone, or not heard of yet
            found = await self._desk.find(self._kind, self._name)
        else:
            found = entry.manifest() if entry.version >= version_of(self.known) else self.known
        if found is None or found["metadata"]["uid"] != self.known["metadata"]["uid"]:
            return None
        self._known = found
        return found


class Streams:
    """Counts the streams of this process, and ends them when it ends."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self.ending = asyncio.Event()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open

    async def answer(self, desk: Desk, subject: Subject, last_id: str | None) -> Response:
        """The stream; 204 where nothing is to come."""
        first = await subject.look()
        if first.last and last_id == first.id:
            return Response(status_code=204)
        if self._open >= self._most:
            raise unavailable("TooManyStreams", f"{self._most} streams are open already (ATTUNE_API_MAX_STREAMS)", 5)
        events = self._events(desk, subject, first, last_id)
        heartbeat = desk.settings.heartbeat_seconds
        return EventSourceResponse(
            events,
            ping=10 * heartbeat,
            send_timeout=30,
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _events(
        self, desk: Desk, subject: Subject, first: Snapshot, last_id: str | None
    ) -> AsyncIterator[ServerSentEvent]:
        changed, now, sent = asyncio.Event(), first, last_id
        often, reviewed = desk.settings.heartbeat_seconds, monotonic()
        self._open += 1
        try:
            with ExitStack() as stack:
                for room, name in subject.waits:
                    stack.enter_context(room.waiting(name, changed))
                changed.set()  # what happened between the first look and now
                while not self.ending.is_set():
                    if now.id != sent:
                        sent = now.id
                        yield _event(END if now.last else STATE, now)
                    if now.last:
                        return
                    if not await self._woken(changed, often):
                        yield ServerSentEvent(comment="still here")
                    if monotonic() - reviewed >= often:  # however much happens
                        reviewed = monotonic()
                        if not await _still_allowed(desk, subject):
                            yield ServerSentEvent(event="problem", data='{"status":403,"reason":"Forbidden"}')
                            return
                    changed.clear()
                    now = await _looked(subject) or now
        except Refused:  # what it lives on may not be read any more
            return
        finally:
            self._open -= 1

    async def _woken(self, changed: asyncio.Event, seconds: float) -> bool:
        """True where something changed before the heartbeat is due."""
        waits = [asyncio.ensure_future(event.wait()) for event in (changed, self.ending)]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return bool(done)


async def _looked(subject: Subject) -> Snapshot | None:
    """The state now; None while the API server is away."""
    try:
        return await subject.look()
    except Refused as refused:
        if refused.status != 503:
            raise
        return None


async def _still_allowed(desk: Desk, subject: Subject) -> bool:
    """A right that was taken away ends the stream; an API server that is away does not."""
    try:
        return all([await desk.may(verb, kind, name) for verb, kind, name in subject.rights])
    except Refused:
        return True


def _event(name: str, snapshot: Snapshot) -> ServerSentEvent:
    return ServerSentEvent(
        data=orjson.dumps(snapshot.state).decode(), event=name, id=snapshot.id, retry=_RETRY_MILLISECONDS
    )


def of(request: Request) -> Streams:
    """Those of this process."""
    found: Streams = request.app.state.streams
    return found
