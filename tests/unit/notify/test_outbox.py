"""The outbox: retries, order, bounds, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from attune.api import NotificationEvent
from attune.errors import NotLeader
from attune.notify import outbox as module
from attune.notify.courier import Refused, TryAgain
from attune.notify.outbox import Outbox, Pauses
from attune.observation import Fate, Notification
from attune.telemetry.metrics import Metrics
from attune.workqueue import Key
from fake_cluster import Clock
from notified import a_notification, a_run, a_target

KEY = Key("TrainingJob", "team", "tune")
FAILED = NotificationEvent.TRAINING_FAILED


class Receivers:
    """Deliver at once, unless told otherwise."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.plan: Callable[[Notification], Exception | float | None] = lambda told: None
        self.at_once = self.most_at_once = 0

    async def carry(self, told: Notification) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            planned = self.plan(told)
            if isinstance(planned, Exception):
                raise planned
            await asyncio.sleep(planned or 0)
            self.got.append(told.key)
        finally:
            self.at_once -= 1


class Operator:
    """An outbox with its receivers, a clock, and the keys that it woke."""

    def __init__(self) -> None:
        self.receivers, self.metrics, self.clock = Receivers(), Metrics(), Clock()
        self.woken: list[Key] = []
        self.outbox = Outbox(
            self.receivers.carry,
            metrics=self.metrics,
            wake=self.woken.append,
            now=self.clock,
            pauses=Pauses(0.005, 0.01),
        )

    async def until(self, wanted: Callable[[], Any], seconds: float = 5) -> None:
        end = time.monotonic() + seconds
        while not wanted():
            assert time.monotonic() < end
            await asyncio.sleep(0.002)

    def count(self, result: str) -> float:
        line = f'attune_notifications_total{{result="{result}",type="webhook"}} '
        found = [t for t in self.metrics.render().decode().splitlines() if t.startswith(line)]
        return float(found[0].removeprefix(line)) if found else 0.0


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    made = Operator()
    yield made
    made.outbox.clear()
    await asyncio.sleep(0)


def of(name: str = "chat", uid: str = "u1", **target: Any) -> Notification:
    job = a_run("Failed")
    about = job.model_copy(update={"metadata": job.metadata.model_copy(update={"uid": uid})})
    return a_notification(FAILED, a_target(name, **target), about)


async def test_what_is_delivered_wakes_its_object_and_is_forgotten_when_it_was_recorded(operator: Operator) -> None:
    told = of()
    operator.outbox.offer(KEY, [told])
    await operator.until(lambda: operator.woken)
    (delivery,) = operator.outbox.deliveries(KEY)
    assert (delivery.key, delivery.fate) == (told.key, Fate.DELIVERED)
    operator.outbox.settle(KEY, [delivery])
    assert operator.outbox.waiting == 0
    assert operator.count("Delivered") == 1


async def test_what_is_offered_again_and_again_is_sent_once(operator: Operator) -> None:
    operator.receivers.plan = lambda told: 0.05
    for _ in range(20):
        operator.outbox.offer(KEY, [of()])
        await asyncio.sleep(0.005)
    operator.outbox.offer(KEY, [of()])
    await asyncio.sleep(0.05)
    assert operator.receivers.got == [of().key]


async def test_a_failure_that_may_pass_is_noted_once_and_tried_until_it_passes(operator: Operator) -> None:
    tries = iter([TryAgain("503"), TryAgain("503"), TryAgain("503")])
    operator.receivers.plan = lambda told: next(tries, None)
    operator.outbox.offer(KEY, [of()])
    await operator.until(lambda: operator.woken)
    assert [(d.fate, d.words) for d in operator.outbox.deliveries(KEY)] == [(Fate.RETRYING, "503")]
    await operator.until(lambda: operator.receivers.got)
    await operator.until(lambda: operator.outbox.deliveries(KEY)[0].fate is Fate.DELIVERED)
    assert operator.woken == [KEY, KEY]
    assert operator.count("Retrying") == 3


async def test_a_refusal_is_not_tried_again(operator: Operator) -> None:
    operator.receivers.plan = lambda told: Refused("404: no_service")
    operator.outbox.offer(KEY, [of()])
    await operator.until(lambda: operator.woken)
    assert [(d.fate, d.words) for d in operator.outbox.deliveries(KEY)] == [(Fate.FAILED, "404: no_service")]
    assert operator.count("Failed") == 1
    assert operator.count("Retrying") == 0


async def test_a_mistake_of_our_own_ends_it_and_nothing_else(operator: Operator) -> None:
    operator.receivers.plan = lambda told: KeyError("oops") if told.target.name == "a" else None
    operator.outbox.offer(KEY, [of("a"), of("b")])
    await operator.until(lambda: len(operator.woken) == 2)
    fates = {d.target: (d.fate, d.words) for d in operator.outbox.deliveries(KEY)}
    assert fates == {"a": (Fate.FAILED, "KeyError: see the operator's log"), "b": (Fate.DELIVERED, "")}


async def test_retry_after_is_waited_for(operator: Operator) -> None:
    tries = iter([TryAgain("429", retry_after=0.3)])
    operator.receivers.plan = lambda told: next(tries, None)
    began = time.monotonic()
    operator.outbox.offer(KEY, [of()])
    await operator.until(lambda: operator.receivers.got)
    assert time.monotonic() - began >= 0.3


async def test_after_a_day_it_is_given_up_with_the_last_words(operator: Operator) -> None:
    operator.receivers.plan = lambda told: TryAgain("chat answered 503")
    operator.outbox.offer(KEY, [of()])
    await operator.until(lambda: operator.woken)
    operator.clock.advance(timedelta(hours=25))
    await operator.until(lambda: len(operator.woken) == 2)
    (delivery,) = operator.outbox.deliveries(KEY)
    assert delivery.fate is Fate.FAILED
    assert delivery.words == "not delivered within 24 h; at last chat answered 503"


async def test_one_target_is_told_in_order_and_one_that_hangs_keeps_no_other(operator: Operator) -> None:
    operator.receivers.plan = lambda told: 60.0 if told.target.name == "hangs" else 0.01
    runs = [Key("TrainingJob", "team", f"run-{n}") for n in range(5)]
    for n, key in enumerate(runs):
        operator.outbox.offer(key, [of("hangs", f"u{n}"), of("chat", f"u{n}")])
    await operator.until(lambda: len(operator.receivers.got) == 5)
    assert operator.receivers.got == [of("chat", f"u{n}").key for n in range(5)]
    assert operator.receivers.most_at_once == 2


async def test_offering_never_waits(operator: Operator) -> None:
    operator.receivers.plan = lambda told: 60.0
    began = time.monotonic()
    for n in range(200):
        operator.outbox.offer(Key("TrainingJob", "team", f"run-{n}"), [of(uid=f"u{n}")])
    assert time.monotonic() - began < 1


async def test_of_one_retriever_and_in_all_only_so_many_are_under_way(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_ONE", 3)
    operator.receivers.plan = lambda told: 60.0
    keys = [Key("TrainingJob", "team", f"run-{n}") for n in range(6)]
    for n, key in enumerate(keys):
        operator.outbox.offer(key, [of(uid=f"u{n}")])
    assert operator.outbox.waiting == 3
    operator.outbox.offer(Key("TrainingJob", "other", "run"), [of(uid="x")])
    assert operator.outbox.waiting == 4
    assert operator.woken == []
    operator.outbox.forget(keys[0])
    assert operator.woken == [keys[3]]


async def test_everything_is_delivered_in_the_end_however_little_room_there_is(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    due = {Key("TrainingJob", "team", f"run-{n}"): of(uid=f"u{n}") for n in range(40)}
    for key, told in due.items():
        operator.outbox.offer(key, [told])
    while due:
        await operator.until(lambda: operator.woken)
        key = operator.woken.pop(0)
        deliveries = operator.outbox.deliveries(key)
        if deliveries:
            operator.outbox.settle(key, deliveries)
            due.pop(key)
        elif key in due:
            operator.outbox.offer(key, [due[key]])
    assert len(operator.receivers.got) == len(set(operator.receivers.got)) == 40


async def test_what_is_not_due_any_more_is_stopped(operator: Operator) -> None:
    operator.receivers.plan = lambda told: TryAgain("503")
    operator.outbox.offer(KEY, [of("a"), of("b")])
    await operator.until(lambda: len(operator.outbox.deliveries(KEY)) == 2)
    operator.outbox.offer(KEY, [of("b")])
    assert [d.target for d in operator.outbox.deliveries(KEY)] == ["b"]
    operator.outbox.forget(KEY)
    assert operator.outbox.waiting == 0


async def test_a_target_that_was_changed_is_tried_anew_at_once(operator: Operator) -> None:
    operator.receivers.plan = lambda told: (
        TryAgain("503", retry_after=3600) if told.target.url == "http://old/x" else None
    )
    operator.outbox.offer(KEY, [of(url="http://old/x")])
    await operator.until(lambda: operator.woken)
    operator.outbox.offer(KEY, [of(url="http://new/x")])
    await operator.until(lambda: operator.receivers.got)
    assert len(operator.receivers.got) == 1
    assert operator.outbox.waiting == 1, (
        "delivered and not recorded; nothing waits for the hour that the old address asked for"
    )


async def test_a_leader_that_is_deposed_forgets_everything(operator: Operator) -> None:
    operator.receivers.plan = lambda told: NotLeader("another one leads") if told.target.name == "a" else 60.0
    operator.outbox.offer(KEY, [of("a"), of("b")])
    await operator.until(lambda: operator.outbox.waiting == 1)
    assert operator.outbox.deliveries(KEY) == ()
    operator.outbox.clear()
    assert operator.outbox.waiting == 0
    await asyncio.sleep(0.02)
    assert operator.receivers.at_once == 0
    assert operator.receivers.got == []


async def test_without_somebody_who_carries_nothing_is_kept() -> None:
    outbox = Outbox()
    outbox.offer(KEY, [of()])
    assert outbox.waiting == 0
    assert outbox.deliveries(KEY) == ()


def test_pauses_grow_and_are_spread() -> None:
    from tenacity import RetryCallState

    outbox = Outbox(pauses=Pauses(1, 300))
    found = []
    for attempt in range(1, 15):
        state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]
        state.attempt_number = attempt
        found.append(outbox._pause(state))
    assert found[0] <= 2
    assert all(later >= 2 ** min(n, 8) for n, later in enumerate(found))
    assert max(found) <= 301
