"""The inline guard: a request that fails in a new version is answered by the previous one, within the same request. Used by `answering`.

The whole request is asked again, of the model and the collection of the previous version, so that a vector is never compared with
documents of another space (invariant 5). What counts, and where:

    both versions      an attempt each, of those that were asked
    the new version    a failure with its reason, a fallback, and a mark in its breaker (`guard`)
    both failed        a failure of the new version with the reason `shared`, and no mark: going back would mend nothing

The client's mistakes (4xx) and full queues (429) say nothing of a version: they are no attempts, and nobody else is asked.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeVar

import structlog

from attune.contract import GuardReport, ModelType, ServedModel, ServingConfig
from attune.contract.health import SHARED
from attune_serving.asking import Patience
from attune_serving.assign import Assignment
from attune_serving.attempts import INTERNAL, Attempts, Series, failure_of
from attune_serving.guard import Breaker, Failure, Pass
from attune_serving.racing import Answered, Failed, race
from attune_serving.refusals import blamed
from attune_serving.shelf import Loaded

log = structlog.get_logger(__name__)
T = TypeVar("T")
Ask = Callable[[Loaded, Patience], Awaitable[T]]
"""All of a request that is one version's part, from the texts to its answer."""


@dataclass(eq=False, slots=True)
class Guard:
    """Of one active version with a previous one."""

    type: ModelType
    version: str
    digest: str
    series: Series
    clock: Callable[[], float]
    breaker: Breaker = field(default_factory=Breaker)

    def ask(self) -> Pass | None:
        return self.breaker.ask(self.clock())

    def succeeded(self, held: Pass) -> None:
        was = self.breaker.open
        self.breaker.succeeded(held)
        if was and not self.breaker.open:
            self.series.open.set(0)
            log.info("the version is asked again", version=self.version, type=self.type.value)

    def failed(self, held: Pass, failure: Failure) -> None:
        was, breaker = self.breaker.open, self.breaker
        breaker.failed(held, failure, self.clock())
        if breaker.open and not was:
            self.series.open.set(1)
            log.warning(
                "the version is not asked any more, the previous one answers",
                version=self.version,
                type=self.type.value,
                failures=breaker.failures,
                attempts=len(breaker.last),
                reason=breaker.commonest,
                problem=failure.message,
            )

    def report(self) -> GuardReport:
        """For GET /v1/versions."""
        newest = self.breaker.newest
        return GuardReport(
            version=self.version,
            type=self.type,
            open=self.breaker.open,
            failures=self.breaker.failures,
            attempts=len(self.breaker.last),
            reason=self.breaker.commonest,
            message=newest.message[:256] if newest is not None else "",
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """One version's part of one request: who is asked, and who takes over. `spare` only where the answer may be of that version."""

    type: ModelType
    by: Assignment
    loaded: Loaded
    guard: Guard | None = None
    spare: Loaded | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Both stay in memory meanwhile, whatever is configured."""
        with self.loaded.use(), self.spare.use() if self.spare is not None else nullcontext():
            yield


class Guards:
    """The guard of each type that has one, as it is configured now."""

    def __init__(self, attempts: Attempts, clock: Callable[[], float] = monotonic) -> None:
        self._attempts = attempts
        self._clock = clock
        self._known: dict[ModelType, Guard] = {}

    def configured(self, config: ServingConfig) -> None:
        """This is served from now on. What is known of an active version is kept as long as it is the active one."""
        self._attempts.configured(config)
        for model_type in ModelType:
            model, known = config.of(model_type), self._known.get(model_type)
            version = config.version(model.active) if model is not None else None
            if model is None or version is None or not is_guarded(config, model):
                self._forget(model_type)
            elif known is None or (known.version, known.digest) != (version.name, version.digest):
                self._forget(model_type)
                series = self._attempts.of(model_type, version.name)
                self._known[model_type] = Guard(model_type, version.name, version.digest, series, self._clock)

    def of(self, model_type: ModelType, version: str) -> Guard | None:
        """Of this version, where it is the active one and another can take over."""
        known = self._known.get(model_type)
        return known if known is not None and known.version == version else None

    def reports(self) -> tuple[GuardReport, ...]:
        return tuple(guard.report() for guard in self._known.values())

    def _forget(self, model_type: ModelType) -> None:
        known = self._known.pop(model_type, None)
        if known is not None:
            known.series.open.set(0)


@dataclass
class Guarding:
    """Has turns answered. `seconds`: how long a short query on an idle server may take before the previous version is asked, too."""

    attempts: Attempts
    seconds: float
    clock: Callable[[], float] = monotonic

    async def answer(self, turn: Turn, ask: Ask[T]) -> tuple[T, Assignment]:
        """The answer, and who gave it. Raises what went wrong, blamed on the version that was to answer."""
        guard, spare = turn.guard, turn.spare
        if guard is None or spare is None:
            with blamed(turn.by):
                return await self._alone(turn, ask), turn.by
        instead = replace(turn.by, version=spare.name, instead_of=turn.by.version)
        held = guard.ask()
        if held is None:
            with blamed(instead):
                answer = await self._attempt(turn.type, spare, ask)
            guard.series.fallbacks.inc()
            return answer, instead
        try:
            return await self._raced(turn, ask, guard, held, instead)
        finally:
            guard.breaker.dropped(held)  # unless something was said of it, which ended the pass

    async def _raced(
        self, turn: Turn, ask: Ask[T], guard: Guard, held: Pass, instead: Assignment
    ) -> tuple[T, Assignment]:
        spare, patience = turn.spare, Patience()
        assert spare is not None
        first, second = await race(
            lambda: ask(turn.loaded, patience),
            lambda: self._attempt(turn.type, spare, ask),
            lambda taken: self._left(taken, patience, hopeless=guard.breaker.open and not held.trial),
            lambda error: failure_of(error) is not None,
        )
        if isinstance(first, Answered):
            guard.series.ended(first.seconds, None)
            guard.succeeded(held)
            return first.answer, turn.by
        if isinstance(second, Answered):
            self._fell_back(guard, held, first)
            return second.answer, instead
        self._failed(guard, held, first, second)
        with blamed(turn.by):
            raise first.problem

    def _left(self, taken: float, patience: Patience, *, hopeless: bool) -> float:
        """Seconds until it is looked at again whether the attempt is late; 0: it is. Seldom enough to cost nothing."""
        if hopeless:
            return 0.0
        return max(0.0, min(self.seconds, self.seconds * patience.factor - taken))

    def _fell_back(self, guard: Guard, held: Pass, first: Failed) -> None:
        failure = failure_of(first.problem)
        if failure is None:
            return
        guard.series.ended(first.seconds, failure.reason)
        guard.series.fallbacks.inc()
        guard.failed(held, failure)
        if failure.reason == INTERNAL:
            log.error("request failed; the previous version answered", version=guard.version, exc_info=first.problem)

    def _failed(self, guard: Guard, held: Pass, first: Failed, second: Failed | None) -> None:
        """Nobody answered. A previous version that was not able to try (its queue was full) clears nobody."""
        failure = failure_of(first.problem)
        if failure is None:
            return
        shared = second is not None and failure_of(second.problem) is not None
        guard.series.ended(first.seconds, SHARED if shared else failure.reason)
        if not shared:
            guard.failed(held, failure)

    async def _alone(self, turn: Turn, ask: Ask[T]) -> T:
        """Nobody may answer in its place. Of the active version, what happens says something to its guard all the same."""
        held = turn.guard.breaker.aside() if turn.guard is not None else None
        try:
            answer = await self._attempt(turn.type, turn.loaded, ask)
        except Exception as error:
            failure = failure_of(error)
            if turn.guard is not None and held is not None and failure is not None:
                turn.guard.failed(held, failure)
            raise
        if turn.guard is not None and held is not None:
            turn.guard.succeeded(held)
        return answer

    async def _attempt(self, model_type: ModelType, loaded: Loaded, ask: Ask[T]) -> T:
        """Counted for the version, unless it was cancelled or is the client's fault."""
        series, began = self.attempts.of(model_type, loaded.name), self.clock()
        try:
            answer = await ask(loaded, Patience())
        except Exception as error:
            if (failure := failure_of(error)) is not None:
                series.ended(self.clock() - began, failure.reason)
            raise
        series.ended(self.clock() - began, None)
        return answer


def is_guarded(config: ServingConfig, model: ServedModel) -> bool:
    """Whether a previous version may answer in place of the active one."""
    return config.inline_guard and model.previous is not None and model.previous != model.active
