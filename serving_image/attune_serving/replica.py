"""What answers now. The newest configuration is followed as soon as every version that it points to may answer; until then, and
whatever is away or wrong, the last one goes on. A request holds the `Serving` it began with, from embedding to search.
"""

import asyncio
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import structlog
from pydantic import ValidationError

from attune.contract import (
    GuardReport,
    ModelType,
    ProbeReport,
    ReplicaReport,
    ServedJudge,
    ServedModel,
    ServingConfig,
)
from attune_retrieval.priority import gently
from attune_serving.cache import Cache
from attune_serving.metrics import Metrics
from attune_serving.shelf import Loaded, Shelf

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """A configuration, and all of its versions that may answer. Replaced as a whole, never changed."""

    config: ServingConfig
    versions: Mapping[str, Loaded]

    def of(self, model_type: ModelType) -> ServedModel | None:
        return self.config.of(model_type)


@dataclass
class Problem:
    """Why the newest configuration is not followed."""

    reason: str
    message: str


@dataclass
class Replica:
    """One serving process: what it was told, and what it acts by. `follow` and `read` are called on the event loop."""

    name: str
    shelf: Shelf
    cache: Cache
    metrics: Metrics
    serving: Serving | None = None
    told: ServingConfig | None = None
    problem: Problem | None = None
    draining: bool = False
    process: str = field(default_factory=lambda: uuid4().hex[:12])
    """Another one after each start: the label of what is counted in tests."""
    on_serving: Sequence[Callable[[ServingConfig], None]] = ()
    """Called, in this order, with each configuration that begins to answer."""
    guards: Callable[[], tuple[GuardReport, ...]] = lambda: ()
    probes: Callable[[], tuple[ProbeReport, ...]] = lambda: ()
    """Asked for the report."""
    _unreadable: Problem | None = None
    """What is wrong with the newest configuration; versions that become ready meanwhile do not mend that."""
    _sweeps: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shelf.on_change = self.update
        self.metrics.watch(lambda: self.shelf.reports(self.told), self.shelf.depths)

    @property
    def ready(self) -> bool:
        """Whether requests may be sent here."""
        return self.serving is not None and not self.draining

    @property
    def judge(self) -> ServedJudge | None:
        """Who judges answers; None: nobody."""
        return self.serving.config.judge if self.serving is not None else None

    def read(self, text: str | None, source: str) -> None:
        """A configuration as it was found, or that there is none. What cannot be followed is said, and changes nothing."""
        if text is None:
            self._complain("ConfigMissing", f"{source}: there is none")
            return
        try:
            told = ServingConfig.from_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            self._complain("ConfigInvalid", f"{source}: {where}: {first['msg']}")
            return
        if wrong := wrong_pointers(told):
            self._complain("UnknownVersion", f"{source}: {wrong}")
            return
        self._unreadable = None
        self.follow(told)

    def follow(self, told: ServingConfig) -> None:
        """Act by it as soon as that is possible."""
        if told != self.told:
            log.info("configuration read", generation=told.generation, digest=told.digest())
        self.told = told
        self.shelf.want(told, self.serving.config if self.serving else None)
        self.update()

    def update(self) -> None:
        """Something became ready, or failed: swap, if everything that is pointed to may answer."""
        told = self.told
        if told is None:
            return
        waiting = [
            name
            for name in pointed_to(told)
            if (version := told.version(name)) is None or self.shelf.ready(version, told) is None
        ]
        if waiting:
            self._waits(told, waiting)
            return
        versions = {v.name: loaded for v in told.versions if (loaded := self.shelf.ready(v, told)) is not None}
        before = self.serving
        if before is None or before.config != told or dict(before.versions) != versions:
            self.serving = Serving(told, versions)
            for tell in self.on_serving:
                tell(told)
        if before is None or before.config != told:
            self._swapped(before, told)
        self._say(self._unreadable)

    def report(self) -> ReplicaReport:
        """GET /v1/versions."""
        acting = self.serving.config if self.serving else None
        models = {t: acting.of(t) if acting else None for t in ModelType}
        return ReplicaReport(
            replica=self.name,
            process=self.process,
            namespace=self.told.namespace if self.told else None,
            retriever=self.told.retriever if self.told else None,
            generation=acting.generation if acting else None,
            config_digest=self.told.digest() if self.told else None,
            problem=self.problem.message if self.problem else None,
            active={t.value: model.active for t, model in models.items() if model is not None},
            versions=self.shelf.reports(self.told),
            guards=self.guards(),
            probes=self.probes(),
        )

    def _swapped(self, before: Serving | None, told: ServingConfig) -> None:
        if before is None:
            # What the start left in memory stays: without it, a later collection stops requests for a tenth of it.
            gc.collect()
            gc.freeze()
        self.metrics.swaps.inc()
        self.metrics.generation.set(told.generation)
        active = {t.value: m.active for t in ModelType if (m := told.of(t)) is not None}
        log.info("serves", generation=told.generation, active=active, first=before is None)
        self.shelf.want(told, None)
        task = asyncio.create_task(self._tidy(told))
        self._sweeps.add(task)
        task.add_done_callback(self._sweeps.discard)

    async def _tidy(self, told: ServingConfig) -> None:
        """Keep this configuration and its artifacts on disk, and no others."""
        await asyncio.to_thread(self.cache.remember, told)
        await asyncio.to_thread(gently, lambda: self.cache.sweep(self.shelf.digests))

    def _waits(self, told: ServingConfig, waiting: list[str]) -> None:
        reports = {r.name: r for r in self.shelf.reports(told)}
        words = [
            f"{name} is {reports[name].state.value}" + (f" ({reports[name].reason})" if reports[name].reason else "")
            for name in waiting
            if name in reports
        ]
        failed = next((reports[n].reason for n in waiting if n in reports and reports[n].reason), None)
        since = f"generation {self.serving.config.generation} goes on" if self.serving else "nothing is served yet"
        message = f"generation {told.generation} waits: {', '.join(words)}; {since}"
        self._say(self._unreadable or Problem(failed or "Loading", message))

    def _complain(self, reason: str, what: str) -> None:
        then = "the last one is followed" if self.told is not None else "nothing is served yet"
        problem = Problem(reason, f"{what}; {then}")
        if problem != self._unreadable:
            log.warning("configuration not followed", reason=reason, problem=problem.message)
        self._unreadable = problem
        self._say(problem)

    def _say(self, problem: Problem | None) -> None:
        self.problem = problem
        self.metrics.said(problem.reason if problem else None)


def pointers(model: ServedModel) -> list[str]:
    """Names that one type of model points to."""
    names = (model.active, model.previous, model.split.challenger if model.split else None)
    return [name for name in names if name is not None]


def pointed_to(config: ServingConfig) -> list[str]:
    """Names that must be able to answer before this configuration is followed."""
    models = [model for t in ModelType if (model := config.of(t)) is not None]
    return list(dict.fromkeys(name for model in models for name in pointers(model)))


def wrong_pointers(config: ServingConfig) -> str | None:
    """Pointers to versions that are not listed, or are of the other type."""
    for model_type in ModelType:
        model = config.of(model_type)
        for name in pointers(model) if model is not None else ():
            version = config.version(name)
            if version is None:
                return f"{model_type.value} points to {name}, which is not listed"
            if version.type is not model_type:
                return f"{model_type.value} points to {name}, which is of type {version.type.value}"
    return None
