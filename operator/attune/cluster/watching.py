"""All objects of a kind, and every change of them: list, then watch, and again after whatever ends that. Used by `rest`.

Not the operator's way of watching (kopf's): a process that only reads needs no handlers, no peering and no finalizers.
"""

import asyncio
import json
import random
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import structlog

from attune.api.kinds import Kind
from attune.cluster.transport import Transport
from attune.errors import ClusterError, Invalid, Unavailable
from attune.objects import Manifest

log = structlog.get_logger(__name__)

PAGE = "500"
WATCH_SECONDS = "240"
SILENCE_SECONDS = 90.0
"""Bookmarks come about once a minute: a stream that is quiet for longer is dead."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_HASTY_SECONDS = 1.0
"""A stream that ends sooner is opened again only after a pause."""
_GONE = 410


class Sink(Protocol):
    """Who keeps what is there."""

    def replace(self, scope: str | None, things: list[Manifest]) -> None:
        """All objects of this namespace (None: of all) as they are now."""
        ...

    def change(self, kind: str, thing: Manifest) -> None:
        """One object was ADDED, MODIFIED or DELETED."""
        ...

    def connected(self, scope: str | None, *, yes: bool) -> None:
        """The stream is open, or it is not."""
        ...


def collection(kind: Kind, namespace: str | None) -> str:
    """Path of all objects of one of our kinds."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{kind.api_version}{scope}/{kind.plural}"


async def follow(transport: Transport, kind: Kind, namespace: str | None, sink: Sink) -> None:
    """Never ends. What the API server does not answer is tried again, with a growing pause."""
    path, pause, version = collection(kind, namespace), _FIRST_PAUSE, ""
    while True:
        began = monotonic()
        try:
            if not version:
                version = await _list(transport, path, namespace, sink)
            version = await _watch(transport, path, version, lambda: sink.connected(namespace, yes=True), sink.change)
            if monotonic() - began > _HASTY_SECONDS:
                pause = _FIRST_PAUSE
                continue
        except ClusterError as error:
            sink.connected(namespace, yes=False)
            version = version if isinstance(error, Unavailable) else ""
            if error.status != _GONE:
                log.warning("watch", kind=kind.kind, namespace=namespace, problem=str(error), again_in=round(pause, 1))
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  only so that replicas do not ask at once
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _list(transport: Transport, path: str, namespace: str | None, sink: Sink) -> str:
    """Everything, page by page; the resourceVersion to watch from. An expired page begins anew."""
    things: list[Manifest] = []
    query = {"limit": PAGE}
    while True:
        page = (await transport.request("GET", path, query=query)).json()
        things.extend(page.get("items") or [])
        metadata = page.get("metadata") or {}
        token = metadata.get("continue")
        if not token:
            sink.replace(namespace, things)
            return str(metadata.get("resourceVersion") or "0")
        query = {"limit": PAGE, "continue": str(token)}


async def _watch(
    transport: Transport,
    path: str,
    version: str,
    opened: Callable[[], None],
    change: Callable[[str, Manifest], None],
) -> str:
    """Changes since `version`, until the server ends the stream; the version that was reached."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": WATCH_SECONDS,
    }
    async for line in transport.lines(path, query=query, silence=SILENCE_SECONDS, opened=opened):
        event, thing = _event(line)
        if event == "ERROR":
            raise Invalid(f"watch {path}: {thing.get('message')}", status=int(thing.get("code") or _GONE))
        version = str(thing["metadata"]["resourceVersion"])
        if event != "BOOKMARK":
            change(event, thing)
    return version


def _event(line: str) -> tuple[str, Manifest]:
    try:
        event = json.loads(line)
        return str(event["type"]), dict(event["object"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the watch has a line that is no event: {line[:120]!r}") from error
