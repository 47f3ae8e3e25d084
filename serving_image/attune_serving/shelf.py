"""Versions in memory: what is on its way in, what may answer, what is on its way out. One task for each version that is wanted.

A version that cannot be loaded is tried again, for ever, with growing pauses: whatever is repaired, it recovers without help.
One that is not wanted any more leaves when its last request is answered.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from attune.contract import (
    IndexSpec,
    ServedUpstream,
    ServedVersion,
    ServingConfig,
    VersionReport,
    VersionState,
)
from attune_retrieval.artifact import WantedPrecision
from attune_retrieval.priority import gently
from attune_serving.batching import Batcher, BatchLimits
from attune_serving.cache import Cache
from attune_serving.loading import Model, NotServable, load
from attune_serving.metrics import Metrics

log = structlog.get_logger(__name__)

LONGEST_PAUSE = 60.0
LOADERS = 4
"""Versions that are loaded at once. One alone would let a store that hangs keep back what is in the cache."""
CLOSING_SECONDS = 5.0
Key = tuple[ServedVersion, IndexSpec | None, ServedUpstream | None]


@dataclass(eq=False)
class Loaded:
    """A version that may answer. Requests hold it by `use`; it is closed when nobody does any more."""

    model: Model
    batcher: Batcher
    uses: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def name(self) -> str:
        return self.model.version.name

    @contextmanager
    def use(self) -> Iterator["Loaded"]:
        """Hold it for the duration of a request."""
        self.uses += 1
        self._idle.clear()
        try:
            yield self
        finally:
            self.uses -= 1
            if self.uses == 0:
                self._idle.set()

    async def leave(self) -> None:
        """Wait for the last request, then give everything back."""
        while self.uses:
            await self._idle.wait()
        await self.batcher.close()


@dataclass
class _Slot:
    """One wanted version, and how far it is."""

    version: ServedVersion
    index: IndexSpec | None
    upstream: ServedUpstream | None
    task: asyncio.Task[None] | None = None
    loaded: Loaded | None = None
    problem: NotServable | None = None


class Shelf:
    """All versions of this replica. `on_change` is called, on the loop, whenever one of them became ready or failed."""

    def __init__(
        self,
        cache: Cache,
        metrics: Metrics,
        limits: BatchLimits,
        retry_seconds: float,
        precision: WantedPrecision = "fp32",
    ) -> None:
        self._cache = cache
        self._precision: WantedPrecision = precision
        self._metrics = metrics
        self._limits = limits
        self._retry_seconds = retry_seconds
        self._slots: dict[Key, _Slot] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._loader: Executor = ThreadPoolExecutor(LOADERS, thread_name_prefix="load")
        self._computer: Executor = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self.on_change: Callable[[], None] = lambda: None

    def want(self, told: ServingConfig, acting: ServingConfig | None) -> None:
        """Load what `told` lists; keep what `acting`, which still answers, needs; let go of the rest.

        A version of the same name in another shape (its collection moved) is another entry: both are there until the
        configuration that needs the old one has ended.
        """
        wanted = {key_of(v, told): v for v in told.versions}
        kept = {key_of(v, acting) for v in acting.versions} if acting else set()
        for key in list(self._slots):
            if key not in wanted and key not in kept:
                self._let_go(self._slots.pop(key))
        for key, version in wanted.items():
            if key not in self._slots:
                slot = self._slots[key] = _Slot(version, key[1], key[2])
                slot.task = asyncio.create_task(self._load(slot))

    def ready(self, version: ServedVersion, config: ServingConfig) -> Loaded | None:
        """The version as this configuration describes it, if it may answer."""
        slot = self._slots.get(key_of(version, config))
        return slot.loaded if slot is not None else None

    def reports(self, told: ServingConfig | None = None) -> tuple[VersionReport, ...]:
        """How far each version is; of one that is there in two shapes, the one that `told` describes."""
        shapes = {key_of(v, told) for v in told.versions} if told else set()
        by_name = {slot.version.name: slot for slot in self._slots.values()}
        by_name |= {slot.version.name: slot for key, slot in self._slots.items() if key in shapes}
        return tuple(_report(slot) for _, slot in sorted(by_name.items()))

    def depths(self) -> dict[str, int]:
        """Tokens that wait, by version."""
        loaded = (slot.loaded for slot in self._slots.values() if slot.loaded is not None)
        return {one.name: one.batcher.depth for one in loaded}

    def digests(self) -> set[str]:
        """Of the artifacts that are in use. May be called from any thread."""
        return {slot.version.digest for slot in list(self._slots.values())}

    async def close(self) -> None:
        """Let go of everything, and wait until it is gone, unless a store hangs."""
        for slot in self._slots.values():
            self._let_go(slot)
        self._slots.clear()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=CLOSING_SECONDS)
        for pool in (self._loader, self._computer):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _load(self, slot: _Slot) -> None:
        pause = self._retry_seconds
        while slot.loaded is None:
            try:
                slot.loaded = await self._loaded(slot)
                slot.problem = None
            except NotServable as problem:
                self._failed(slot, problem)
            except Exception as error:
                self._failed(slot, NotServable("LoadFailed", f"{type(error).__name__}: {error}"))
            self.on_change()
            if slot.loaded is None:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        told = slot.version
        log.info("version ready", version=told.name, collection=told.collection, precision=slot.loaded.model.precision)
        slot.task = None

    async def _loaded(self, slot: _Slot) -> Loaded:
        name = slot.version.name
        loading = asyncio.get_running_loop().run_in_executor(
            self._loader, load, slot.version, slot.index, slot.upstream, self._cache, self._precision
        )
        try:
            model = await asyncio.shield(loading)
        except asyncio.CancelledError:  # not wanted any more: what comes out of the thread is closed, not lost
            loading.add_done_callback(self._discard)
            raise

        def saw(texts: int, tokens: int, seconds: float) -> None:
            self._metrics.batch_texts.labels(name).observe(texts)
            self._metrics.tokens.labels(name).inc(tokens)
            self._metrics.batch_seconds.labels(name).inc(seconds)

        return Loaded(model, Batcher(model.run, self._computer, self._limits, saw))

    def _discard(self, loaded: "asyncio.Future[Model]") -> None:
        if not loaded.cancelled() and loaded.exception() is None:
            with suppress(RuntimeError):  # the process ends
                self._loader.submit(gently, partial(_free, loaded.result()))

    def _failed(self, slot: _Slot, problem: NotServable) -> None:
        name = slot.version.name
        self._metrics.failures.labels(name, problem.reason).inc()
        if slot.problem is None or str(slot.problem) != str(problem):
            log.warning("version cannot be served", version=name, reason=problem.reason, problem=str(problem))
        slot.problem = problem

    def _let_go(self, slot: _Slot) -> None:
        if slot.task is not None:
            slot.task.cancel()
        if slot.loaded is not None:
            self._leave(slot.loaded)

    def _leave(self, loaded: Loaded) -> None:
        task = asyncio.create_task(self._left(loaded))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _left(self, loaded: Loaded) -> None:
        await loaded.leave()
        self._metrics.forget(loaded.name)
        await asyncio.get_running_loop().run_in_executor(self._loader, gently, partial(_free, loaded.model))
        log.info("version freed", version=loaded.name)


def _free(model: Model) -> None:
    model.close()
    gc.collect()
    with suppress(OSError, AttributeError):  # glibc keeps what was freed until it is asked to give it back
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def key_of(version: ServedVersion, config: ServingConfig) -> Key:
    """All that decides whether a loaded version is the one that is meant. The count of documents grows, and is no part of it."""
    return (
        version.model_copy(update={"documents": None}),
        config.index if version.collection is not None else None,
        config.upstream if version.path == "upstream" else None,
    )


def _report(slot: _Slot) -> VersionReport:
    version = slot.version
    state = VersionState.READY if slot.loaded else VersionState.FAILED if slot.problem else VersionState.LOADING
    problem = slot.problem if state is VersionState.FAILED else None
    return VersionReport(
        name=version.name,
        type=version.type,
        digest=version.digest,
        state=state,
        reason=problem.reason if problem else None,
        message=str(problem)[:1024] if problem else None,
        collection=version.collection if slot.loaded and slot.loaded.model.collection is not None else None,
    )
