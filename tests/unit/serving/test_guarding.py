"""What a turn counts for, whatever its two versions do: slow, overloaded, cancelled, broken. The versions answer as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from attune.contract import ModelType, ServedModel, ServedVersion, ServingConfig, health
from attune_serving.asking import PATIENT_TOKENS, Patience
from attune_serving.assign import Assignment
from attune_serving.attempts import Attempts
from attune_serving.batching import Batcher
from attune_serving.guard import MOST_FAILED
from attune_serving.guarding import Guarding, Guards, Turn
from attune_serving.loading import Model
from attune_serving.refusals import Broken, Refused
from attune_serving.shelf import Loaded

POOL = ThreadPoolExecutor(1)
NEW, OLD = "emb-v2", "emb-v1"
Way = Callable[[Patience], Awaitable[str]]


def version(name: str) -> ServedVersion:
    return ServedVersion(name=name, type=ModelType.EMBEDDING, uri="file:///x", digest=f"sha256:{name}")


def loaded(name: str) -> Loaded:
    return Loaded(Model(version(name), None, None, None, None), Batcher(lambda _: pytest.fail("not asked"), POOL))


def config(active: str = NEW, previous: str | None = OLD, **more: object) -> ServingConfig:
    model = ServedModel(active=active, previous=previous)
    known = {"embedding": model, "versions": (version(NEW), version(OLD))}
    return ServingConfig.model_validate({"namespace": "n", "retriever": "r", "generation": 1, **known, **more})


class World:
    """One guard, and two versions that do what `does` says."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.registry = CollectorRegistry()
        self.attempts = Attempts(self.registry, "p1")
        self.clock = [100.0]
        self.guards = Guards(self.attempts, lambda: self.clock[0])
        self.guards.configured(config())
        self.guarding = Guarding(self.attempts, seconds)
        self.new, self.old = loaded(NEW), loaded(OLD)
        self.does: dict[str, Way] = {NEW: answers(NEW), OLD: answers(OLD)}

    async def ask(self, *, spare: bool = True) -> tuple[str, Assignment]:
        guard = self.guards.of(ModelType.EMBEDDING, NEW)
        turn = Turn(ModelType.EMBEDDING, Assignment(NEW), self.new, guard, self.old if spare else None)
        with turn.held():
            return await self.guarding.answer(turn, lambda one, patience: self.does[one.name](patience))

    def count(self, name: str, version: str, **labels: str) -> float:
        given = {
            "attune_version": version,
            "attune_namespace": "n",
            "attune_retriever": "r",
            "attune_type": "embedding",
        }
        return self.registry.get_sample_value(name, given | {"process": "p1"} | labels) or 0

    def failed(self, version: str) -> dict[str, float]:
        reasons = ("model_failed", "timed_out", "internal", "index_unavailable", health.SHARED)
        found = {reason: self.count(health.FAILURES, version, reason=reason) for reason in reasons}
        return {reason: count for reason, count in found.items() if count}

    @property
    def marks(self) -> list[str | None]:
        """The last attempts, as the breaker has them."""
        guard = self.guards.of(ModelType.EMBEDDING, NEW)
        assert guard is not None
        return [one.reason if one is not None else None for one in guard.breaker.last]


def answers(name: str, seconds: float = 0.0) -> Way:
    async def way(_: Patience) -> str:
        await asyncio.sleep(seconds)
        return f"answer of {name}"

    return way


def raises(error: Exception, seconds: float = 0.0) -> Way:
    async def way(_: Patience) -> str:
        await asyncio.sleep(seconds)
        raise error

    return way


FULL = Refused(429, "queue_full", "many wait")
NAN = Refused(500, "model_failed", "NaN")
AWAY = Refused(503, "index_unavailable", "the volume is gone")


async def test_a_sound_version_answers_and_nobody_else_is_asked() -> None:
    world = World()
    assert await world.ask() == (f"answer of {NEW}", Assignment(NEW))
    assert world.count(health.ATTEMPTS, NEW) == 1
    assert world.count(health.ATTEMPTS, OLD) == 0
    assert world.marks == [None]


@pytest.mark.parametrize(
    ("error", "reason"), [(NAN, "model_failed"), (AWAY, "index_unavailable"), (ZeroDivisionError("x"), "internal")]
)
async def test_a_failure_is_answered_by_the_previous_version(error: Exception, reason: str) -> None:
    world = World()
    world.does[NEW] = raises(error)
    assert await world.ask() == (f"answer of {OLD}", Assignment(OLD, instead_of=NEW))
    assert (world.failed(NEW), world.failed(OLD)) == ({reason: 1}, {})
    assert (world.count(health.ATTEMPTS, NEW), world.count(health.ATTEMPTS, OLD)) == (1, 1)
    assert world.count(health.FALLBACKS, NEW) == 1
    assert world.marks == [reason]


async def test_one_that_is_late_is_given_up_once_the_previous_one_has_answered() -> None:
    world = World()
    world.does[NEW] = answers(NEW, 30)
    assert (await world.ask())[0] == f"answer of {OLD}"
    assert world.failed(NEW) == {"timed_out": 1}


async def test_where_both_are_slow_nobody_is_worse_off_and_nobody_has_failed() -> None:
    """A store that is overloaded, say: the active version had the head start."""
    world = World()
    world.does = {NEW: answers(NEW, 0.2), OLD: answers(OLD, 0.3)}
    assert (await world.ask())[0] == f"answer of {NEW}"
    assert world.failed(NEW) == {}
    assert world.marks == [None]


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_what_both_fail_at_is_shared_and_leaves_no_mark(seconds: float) -> None:
    world = World()
    world.does = {NEW: raises(AWAY, 0.1), OLD: raises(AWAY, seconds)}
    with pytest.raises(Refused) as refused:
        await world.ask()
    assert refused.value.by == Assignment(NEW)
    assert (world.failed(NEW), world.failed(OLD)) == ({health.SHARED: 1}, {"index_unavailable": 1})
    assert world.count(health.FALLBACKS, NEW) == 0
    assert world.marks == []


async def test_a_previous_version_that_has_no_room_to_try_clears_nobody() -> None:
    world = World()
    world.does = {NEW: raises(NAN), OLD: raises(FULL)}
    with pytest.raises(Refused, match="NaN"):
        await world.ask()
    assert (world.failed(NEW), world.count(health.ATTEMPTS, OLD)) == ({"model_failed": 1}, 0)
    assert world.marks == ["model_failed"]


async def test_full_queues_and_what_clients_do_wrong_are_no_attempts() -> None:
    world = World()
    for error in (FULL, Refused(413, "too_large", "much"), Refused(409, "no_index", "none")):
        world.does[NEW] = raises(error)
        with pytest.raises(Refused, match=str(error)):
            await world.ask()
    assert (world.count(health.ATTEMPTS, NEW), world.count(health.ATTEMPTS, OLD)) == (0, 0)
    assert world.marks == []


async def test_work_that_is_long_or_has_to_wait_is_given_its_time() -> None:
    """Else a full queue, which the previous version does not have, would look like a failure of the new one."""

    async def long(patience: Patience) -> str:
        patience.tokens(PATIENT_TOKENS * 10)
        await asyncio.sleep(0.3)
        return "long"

    async def queued(patience: Patience) -> str:
        patience.crowd(10.0)
        await asyncio.sleep(0.3)
        return "queued"

    world = World()
    for way in (long, queued):
        world.does[NEW] = way
        assert (await world.ask())[1] == Assignment(NEW)
    assert world.count(health.ATTEMPTS, OLD) == 0


async def test_once_it_is_asked_no_more_those_that_still_wait_for_it_are_answered_at_once() -> None:
    world = World()

    async def hangs(patience: Patience) -> str:
        patience.crowd(1000.0)
        await asyncio.sleep(30)
        return "late"

    world.does[NEW] = hangs
    waiting = [asyncio.create_task(world.ask()) for _ in range(20)]
    await asyncio.sleep(0.12)
    assert not any(task.done() for task in waiting)
    world.does[NEW] = raises(NAN)
    for _ in range(MOST_FAILED):
        await world.ask()
    assert {(await task)[1].version for task in waiting} == {OLD}


async def test_an_open_guard_sends_everything_to_the_previous_version_and_blames_it_for_its_own_failures() -> None:
    world = World()
    world.does[NEW] = raises(NAN)
    for _ in range(MOST_FAILED):
        await world.ask()
    assert world.count(health.GUARD_OPEN, NEW) == 1
    world.does = {NEW: raises(AssertionError("asked")), OLD: answers(OLD)}
    assert (await world.ask())[1] == Assignment(OLD, instead_of=NEW)
    world.does[OLD] = raises(ZeroDivisionError("bug"))
    with pytest.raises(Broken) as broken:
        await world.ask()
    assert broken.value.by == Assignment(OLD, instead_of=NEW)
    assert world.failed(NEW) == {"model_failed": MOST_FAILED}
    assert world.failed(OLD) == {"internal": 1}
    assert world.count(health.FALLBACKS, NEW) == MOST_FAILED + 1


async def test_a_request_that_is_cancelled_leaves_no_trace_and_no_trial_behind() -> None:
    world = World()
    world.does[NEW] = raises(NAN)
    for _ in range(MOST_FAILED):
        await world.ask()
    world.clock[0] += 10
    world.does[NEW] = answers(NEW, 30)
    trial = asyncio.create_task(world.ask())
    await asyncio.sleep(0.01)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    world.does[NEW] = answers(NEW)
    for _ in range(3):
        assert (await world.ask())[1] == Assignment(NEW)
    assert world.count(health.GUARD_OPEN, NEW) == 0
    assert world.failed(NEW) == {"model_failed": MOST_FAILED}
    assert (world.new.uses, world.old.uses) == (0, 0)


async def test_the_previous_version_stays_in_memory_for_the_whole_of_a_request() -> None:
    world = World()
    world.does[NEW] = raises(NAN, 0.1)
    asked = asyncio.create_task(world.ask())
    await asyncio.sleep(0.01)
    leaving = asyncio.create_task(world.old.leave())
    assert (await asked)[1].version == OLD
    await leaving


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (config(generation=2), True),
        (config(index={"uri": "file:///elsewhere"}), True),
        (config(active=OLD, previous=NEW), False),
        (config(previous=None), False),
        (config(inline_guard=False), False),
        (config(embedding=None), False),
        (config(versions=(version(NEW).model_copy(update={"digest": "sha256:other"}), version(OLD))), False),
    ],
)
async def test_what_is_known_of_an_active_version_is_kept_as_long_as_it_is_one(told: ServingConfig, kept: bool) -> None:
    world = World()
    world.does[NEW] = raises(NAN)
    for _ in range(MOST_FAILED):
        await world.ask()
    world.guards.configured(told)
    assert world.count(health.GUARD_OPEN, NEW) == float(kept)
    world.guards.configured(config(generation=9))
    (guard,) = world.guards.reports()
    assert (guard.version, guard.open, guard.failures) == (NEW, kept, MOST_FAILED if kept else 0)


async def test_a_request_that_only_this_version_may_answer_fails_and_is_marked() -> None:
    world = World()
    world.does[NEW] = raises(NAN)
    for number in range(MOST_FAILED + 3):
        with pytest.raises(Refused, match="NaN"):
            await world.ask(spare=False)
        assert len(world.marks) == min(number + 1, MOST_FAILED)
    assert world.count(health.GUARD_OPEN, NEW) == 1
    assert world.failed(NEW) == {"model_failed": MOST_FAILED + 3}
    assert world.count(health.ATTEMPTS, OLD) == 0
