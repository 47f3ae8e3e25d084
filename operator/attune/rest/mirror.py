"""What the API server has of a kind, as watched: rows of lists, ready to be sent, and who waits for a change. Filled by `cluster.watching`.

Not a store: it can be thrown away at any time. It is read through `desk` only, after the caller's rights were reviewed.
"""

from asyncio import Event
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import orjson
import structlog

from attune.api.kinds import Kind
from attune.objects import Manifest
from attune.rest.problems import unavailable

Fields = dict[str, str]
Key = tuple[str, str]
log = structlog.get_logger(__name__)

MOST_PAGES = 256
_DROPPED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: where it stands in lists, what it is filtered by, its row and itself as JSON."""

    name: str
    created: str
    fields: Fields
    row: bytes
    stored: bytes
    version: int

    @property
    def place(self) -> tuple[str, str]:
        return self.created, self.name

    def manifest(self) -> Manifest:
        found: Manifest = orjson.loads(self.stored)
        return found


@dataclass(frozen=True, slots=True)
class Form:
    """How objects of a kind are shown in lists."""

    kind: Kind
    row: Callable[[Manifest], dict[str, Any]]
    fields: Callable[[Manifest], Fields]


class Mirror:
    """All objects of one kind. A `Sink` of `cluster.watching`."""

    def __init__(self, form: Form, scopes: tuple[str | None, ...], clock: Callable[[], float] = monotonic) -> None:
        self.kind = form.kind
        self._form = form
        self._clock = clock
        self._spaces: dict[str, dict[str, Entry]] = {}
        self._ordered: dict[str, list[Entry]] = {}
        self._changes: dict[str, int] = {}
        self._lost: dict[str | None, float | None] = dict.fromkeys(scopes, clock())
        """By scope of a watch: since when it has no stream; None while it has one."""
        self._unread = set(scopes)
        self._waiting: dict[Key, set[Event]] = {}
        self._pages: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    # ---- the watch

    def replace(self, scope: str | None, things: list[Manifest]) -> None:
        """All objects of a scope, anew."""
        fresh: dict[str, dict[str, Entry]] = {}
        for thing in things:
            entry = self._entry(thing)
            if entry is not None:
                fresh.setdefault(thing["metadata"]["namespace"], {})[entry.name] = entry
        gone = [scope] if scope is not None else list(self._spaces)
        for namespace in {*gone, *fresh}:
            self._spaces[namespace] = fresh.get(namespace, {})
            self._changed(namespace)
        self._unread.discard(scope)
        for event in [event for events in self._waiting.values() for event in events]:
            event.set()

    def change(self, kind: str, thing: Manifest) -> None:
        """One event of the watch."""
        namespace, name = thing["metadata"]["namespace"], thing["metadata"]["name"]
        space = self._spaces.setdefault(namespace, {})
        entry = self._entry(thing) if kind != "DELETED" else None
        if entry is None:
            space.pop(name, None)
        else:
            space[name] = entry
        self._changed(namespace)
        for event in self._waiting.get((namespace, name), ()):
            event.set()

    def connected(self, scope: str | None, *, yes: bool) -> None:
        """Whether the stream of a scope is open."""
        if yes:
            self._lost[scope] = None
        elif self._lost[scope] is None:
            self._lost[scope] = self._clock()

    def wrote(self, thing: Manifest) -> None:
        """We wrote it ourselves: lists show it at once, unless the watch was quicker."""
        known = self._spaces.get(thing["metadata"]["namespace"], {}).get(thing["metadata"]["name"])
        if known is None or known.version < version_of(thing):
            self.change("MODIFIED", thing)

    def _entry(self, thing: Manifest) -> Entry | None:
        """None for one that cannot be shown, as another version of the CRD may have stored it."""
        kept = stripped(thing, self.kind)
        metadata = kept["metadata"]
        try:
            return Entry(
                name=metadata["name"],
                created=str(metadata.get("creationTimestamp") or ""),
                fields=self._form.fields(kept),
                row=orjson.dumps(self._form.row(kept)),
                stored=orjson.dumps(kept),
                version=version_of(thing),
            )
        except (KeyError, TypeError, ValueError) as error:
            log.warning("cannot be shown", kind=self.kind.kind, name=metadata.get("name"), problem=repr(error))
            return None

    def _changed(self, namespace: str) -> None:
        self._changes[namespace] = self._changes.get(namespace, 0) + 1
        self._ordered.pop(namespace, None)

    # ---- readers

    def must_be_fresh(self, stale_seconds: float) -> None:
        """503 where what is here is not what the API server has."""
        if self._unread:
            raise unavailable("NotReadYet", f"the {self.kind.plural} are not read from the API server yet", 1)
        since = [at for at in self._lost.values() if at is not None]
        quiet = self._clock() - min(since) if since else 0.0
        if since and quiet > stale_seconds:
            raise unavailable(
                "Stale",
                f"the watch of {self.kind.plural} was lost {quiet:.0f} s ago; lists are not answered until it is back",
            )

    @property
    def is_read(self) -> bool:
        """Whether everything was read once."""
        return not self._unread

    def room(self, namespace: str) -> "Room":
        """What one namespace has."""
        return Room(self, namespace)

    def changes(self, namespace: str) -> int:
        """Counts changes of a namespace."""
        return self._changes.get(namespace, 0)

    def entry(self, namespace: str, name: str) -> Entry | None:
        """One object."""
        return self._spaces.get(namespace, {}).get(name)

    def entries(self, namespace: str) -> list[Entry]:
        """All of a namespace: the newest first, those of one second by name."""
        ordered = self._ordered.get(namespace)
        if ordered is None:
            by_name = sorted(self._spaces.get(namespace, {}).values(), key=lambda e: e.name)
            ordered = self._ordered[namespace] = sorted(by_name, key=lambda e: e.created, reverse=True)
        return ordered

    def remembered(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """A page, made once for each state of things; `key` has the state in it."""
        if key in self._pages:
            self._pages.move_to_end(key)
            return self._pages[key]
        made = self._pages[key] = make()
        if len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return made

    @contextmanager
    def waiting(self, namespace: str, name: str, event: Event) -> Iterator[None]:
        """`event` is set whenever this object changes."""
        here = self._waiting.setdefault((namespace, name), set())
        here.add(event)
        try:
            yield
        finally:
            here.discard(event)
            if not here:
                self._waiting.pop((namespace, name), None)


@dataclass(frozen=True, slots=True)
class Room:
    """A mirror, as far as one namespace goes: all that a desk hands out."""

    _mirror: Mirror
    namespace: str

    @property
    def changes(self) -> int:
        """Counts changes."""
        return self._mirror.changes(self.namespace)

    def entry(self, name: str) -> Entry | None:
        """One object."""
        return self._mirror.entry(self.namespace, name)

    def entries(self) -> list[Entry]:
        """All: the newest first."""
        return self._mirror.entries(self.namespace)

    def remembered(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What `make` gives, made once until something changes."""
        return self._mirror.remembered((self.namespace, self.changes, *key), make)

    def waiting(self, name: str, event: Event) -> AbstractContextManager[None]:
        """`event` is set whenever this object changes."""
        return self._mirror.waiting(self.namespace, name, event)


def stripped(thing: Manifest, kind: Kind) -> Manifest:
    """Without what only the API server's bookkeeping needs."""
    metadata = {k: v for k, v in thing["metadata"].items() if k != "managedFields"}
    if _DROPPED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _DROPPED}
    return {**thing, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def version_of(thing: Manifest) -> int:
    """Its resourceVersion as a number: they grow with every write; https://kep.k8s.io/5504 lets clients compare them."""
    text = str(thing["metadata"].get("resourceVersion") or "0")
    return int(text) if text.isdigit() else 0
