"""Notifications through the whole loop, to a real receiver: each transition is told, with one id, and never after it was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from attune.contract import Stage
from attune.reconcile import reconcile
from attune.workqueue import Key
from failing_versions import alert, promoted
from fake_cluster import flaky
from kills import a_copy, killed_at_each_write
from notified import a_secret, a_told, close_couriers, look_and_tell, pending, telling
from promotions import V1, V2, condition, pointer
from receiver import HANGS, Answer, Receiver
from trials import BETTER, ab_test, trial_of, until, world_to_test
from worlds import World, failing, make_world, retriever, scripted, training_job

MOVES = ["Promoted", "RolledBack"]
NO_SERVICE = Answer(404, "no_service for /services/T0000/B0000/s3cr3tpart")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver().start()
    yield made
    await close_couriers()
    made.stop()


def chat(receiver: Receiver, name: str = "chat", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "webhook", "url": receiver.url, **more}


async def running(receiver: Receiver, trainer: Any = scripted, **target: Any) -> World:
    """A run that is about to begin; version 1 is active."""
    world = telling(make_world(trainer))
    world.cluster.put(retriever(notifications=[chat(receiver, **target)]))
    for _ in range(30):
        await look_and_tell(world)
        world.cluster.clock.advance(timedelta(seconds=10))
    world.cluster.put(training_job())
    return world


async def through(world: World, rounds: int = 40) -> World:
    for _ in range(rounds):
        await look_and_tell(world)
        world.cluster.clock.advance(timedelta(seconds=10))
    return world


def told_once(receiver: Receiver, *events: str) -> None:
    assert Counter(event for event, _ in a_told(receiver)) == Counter(events)


async def test_a_run_that_ends_is_told_with_its_numbers(receiver: Receiver) -> None:
    world = await through(await running(receiver))
    (told,) = receiver.told()
    assert told["event"] == "TrainingSucceeded"
    assert told["object"]["name"] == "tune"
    assert told["numbers"]["score"] == 0.9
    assert told["text"].endswith("nDCG@10 0.800 (active) → 0.900 (+12.5%, 95% CI +0.050 to +0.150) on 200 queries")
    said = condition(world.cluster.find("TrainingJob"), "Notified")
    assert (said["status"], said["reason"]) == ("True", "Delivered")
    assert pending(world) == []


async def test_after_it_was_told_nothing_is_written_or_sent_any_more(receiver: Receiver) -> None:
    world = await through(await running(receiver))
    writes, got = len(world.cluster.writes), len(receiver.got)
    for _ in range(5):
        world.cluster.clock.advance(timedelta(minutes=7))
        await look_and_tell(world)
    assert len(world.cluster.writes) == writes
    assert len(receiver.got) == got


async def test_a_new_operator_tells_nothing_of_old_times(receiver: Receiver) -> None:
    """An upgrade, a new target, and a start anew: no burst."""
    world = await through(telling(make_world()))
    world.cluster.put(retriever())
    world.cluster.put(training_job())
    await through(world)
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Succeeded"
    world.cluster.put(retriever(notifications=[chat(receiver)]))
    await through(telling(world), 10)
    assert receiver.got == []


@pytest.mark.parametrize("fails", [False, True])
async def test_killed_at_any_write_of_a_run_its_end_is_told_with_one_id(receiver: Receiver, fails: bool) -> None:
    trainer = failing(Stage.TRAIN, code=1, reason="OutOfMemory", message="oom") if fails else scripted
    ready = await running(receiver, trainer)
    calm = await through(telling(a_copy(ready)))
    event = "TrainingFailed" if fails else "TrainingSucceeded"
    told_once(receiver, event)
    (name,) = {id_ for _, id_ in a_told(receiver)}
    ended, recorded = [n for n, write in enumerate(calm.cluster.writes) if write == "status TrainingJob tune"][-2:]
    for world, at in killed_at_each_write(ready, calm):
        receiver.got.clear()
        await through(telling(world))
        assert world.restarts == 1, at
        assert {id_ for _, id_ in a_told(receiver)} == {name}, at
        number, _ = at
        unrecorded = ended < number < recorded or at == (recorded, "before")
        assert len(receiver.got) in ({1, 2} if unrecorded else {1}), at  # killed before it was sent, or after it
        assert pending(world) == [], at
        count = len(receiver.got)
        await look_and_tell(world, 5)
        assert len(receiver.got) == count, at


async def test_killed_at_any_write_a_rollback_is_told_and_the_promotion_before_it_is_not_told_again(
    receiver: Receiver,
) -> None:
    ready = telling(await promoted(notifications=[chat(receiver, events=MOVES)]))
    await look_and_tell(ready, 3)
    told_once(receiver, "Promoted")
    assert pending(ready) == []

    async def back(world: World) -> World:
        alert(world)
        for _ in range(8):
            await look_and_tell(world)
            world.cluster.clock.advance(timedelta(seconds=5))
            if world.restarts and pointer(world)["active"] == V2:
                alert(world)  # nobody answered, so Alertmanager sends it again
        return world

    receiver.got.clear()
    calm = await back(telling(a_copy(ready)))
    told_once(receiver, "RolledBack")
    (told,) = receiver.told()
    assert (told["names"]["previous"], told["names"]["version"]) == (V2, V1)
    for world, at in killed_at_each_write(ready, calm):
        receiver.got.clear()
        await back(telling(world))
        assert world.restarts == 1, at
        assert [event for event, _ in set(a_told(receiver))] == ["RolledBack"], at
        assert len(receiver.got) <= 2, at
        assert pending(world) == [], at


async def test_a_receiver_that_hangs_delays_neither_promotion_nor_rollback(receiver: Receiver) -> None:
    receiver.always = HANGS
    world = telling(await promoted(notifications=[chat(receiver, events=MOVES)]))
    alert(world)
    await world.look()  # no time for what is sent
    assert pointer(world)["active"] == V1
    assert len(pending(world)) == 2
    world.context.outbox.clear()


async def test_a_receiver_that_was_away_is_told_when_it_is_back(receiver: Receiver) -> None:
    world = await running(receiver)
    receiver.always = Answer(503, "out of order")
    await through(world, 25)
    job = world.cluster.find("TrainingJob")
    assert condition(job, "Notified")["reason"] == "Retrying"
    assert "127.0.0.1 answered 503: out of order; tries again" in condition(job, "Notified")["message"]
    writes = len(world.cluster.writes)
    await through(world, 5)
    assert len(world.cluster.writes) == writes  # tries are not written down one by one
    receiver.always = Answer()
    receiver.got.clear()
    await through(world, 5)
    while pending(world):
        await look_and_tell(world)
    assert condition(world.cluster.find("TrainingJob"), "Notified")["reason"] == "Delivered"
    assert len(receiver.got) == 1


async def test_a_refusal_is_said_at_the_run_and_stays_one(receiver: Receiver) -> None:
    receiver.always = NO_SERVICE
    world = await through(await running(receiver))
    assert len(receiver.got) == 1
    job = world.cluster.find("TrainingJob")
    said = condition(job, "Notified")
    assert (said["status"], said["reason"]) == ("False", "NotificationFailed")
    assert "chat: 127.0.0.1 answered 404: no_service for ***" in said["message"]
    events = [e for e in world.cluster.events if e["reason"] == "NotificationFailed"]
    assert len(events) == 1
    assert "s3cr3tpart" not in str(events) + str(job)
    await through(telling(world), 5)
    assert len(receiver.got) == 1


async def test_each_target_is_told_by_itself(receiver: Receiver) -> None:
    dead = Receiver().start()
    dead.always = Answer(500)
    world = telling(make_world())
    targets = [chat(receiver), chat(dead, "dead"), chat(receiver, "failures", events=["TrainingFailed"])]
    world.cluster.put(retriever(notifications=targets))
    await through(world, 30)
    world.cluster.put(training_job())
    await through(world)
    told_once(receiver, "TrainingSucceeded")
    assert [key.partition("/")[0] for key in pending(world)] == ["dead"]
    await through(telling(world), 5)  # another operator
    told_once(receiver, "TrainingSucceeded")
    dead.stop()
    world.context.outbox.clear()


async def test_a_secret_that_comes_later_is_used(receiver: Receiver) -> None:
    world = telling(make_world())
    target = {"name": "chat", "type": "slack", "secretRef": {"name": "chat"}}
    world.cluster.put(retriever(notifications=[target]))
    await through(world, 10)
    said = condition(world.cluster.find("Retriever"), "Notified")
    assert (said["status"], said["reason"]) == ("False", "SecretMissing")
    assert said["message"] == "chat: Secret chat (notifications[chat].secretRef): there is none in namespace news"
    world.cluster.put(a_secret(url=receiver.url))
    await through(world, 10)
    assert condition(world.cluster.find("Retriever"), "Notified")["reason"] == "Ready"
    world.cluster.put(training_job())
    await through(world)
    (told,) = receiver.told()
    assert "Training tune succeeded" in told["text"]
    assert told["blocks"][0]["type"] == "section"


async def test_a_run_that_is_to_be_deleted_at_once_waits_until_it_was_told_but_not_for_long(receiver: Receiver) -> None:
    receiver.always = Answer(503)
    world = await running(receiver)
    world.cluster.put(training_job(ttlSecondsAfterFinished=0))
    await through(world, 20)
    for _ in range(200):
        await look_and_tell(world)
        if pending(world):
            break
        world.cluster.clock.advance(timedelta(seconds=1))
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Succeeded"
    receiver.always = Answer()
    while world.cluster.all("TrainingJob"):
        await look_and_tell(world)
    assert len([g for g in receiver.got if g.json["event"] == "TrainingSucceeded"]) >= 1
    await gone(world)


async def test_a_run_does_not_wait_for_a_dead_receiver_longer_than_ten_minutes(receiver: Receiver) -> None:
    receiver.always = Answer(503)
    world = await running(receiver)
    world.cluster.put(training_job(ttlSecondsAfterFinished=0))
    await through(world, 30)
    assert len(world.cluster.all("TrainingJob")) == 1
    world.cluster.clock.advance(timedelta(minutes=10))
    await look_and_tell(world, 2)
    assert world.cluster.all("TrainingJob") == []
    await gone(world)


async def gone(world: World) -> None:
    """Its DELETED event."""
    await reconcile(world.context, Key("TrainingJob", "news", "tune"))
    assert world.context.outbox.waiting == 0


async def test_a_template_that_fails_is_said_before_anything_happens_and_the_built_in_text_is_sent(
    receiver: Receiver,
) -> None:
    world = await running(receiver, template="{{ versoin }}")
    said = condition(world.cluster.find("Retriever"), "Notified")
    assert (said["status"], said["reason"]) == ("False", "TemplateInvalid")
    await through(world)
    (told,) = receiver.told()
    assert "Training tune succeeded" in told["text"]
    assert "(the template of target chat fails: there is no versoin" in told["text"]


async def test_a_rollback_is_told_although_the_one_before_it_never_was(receiver: Receiver) -> None:
    """A pile of what cannot be delivered is bounded, and the newest of it is kept."""
    receiver.always = Answer(503)
    world = telling(await promoted(notifications=[chat(receiver, events=MOVES)]))
    await look_and_tell(world)
    alert(world)
    await look_and_tell(world, 2)
    assert len(pending(world)) == 2
    receiver.always = Answer()
    receiver.got.clear()
    while pending(world):
        await look_and_tell(world)
        world.cluster.clock.advance(timedelta(seconds=1))
    assert Counter(a_told(receiver)).total() == 2
    assert {event for event, _ in a_told(receiver)} == {"Promoted", "RolledBack"}


async def about_to_conclude(receiver: Receiver) -> World:
    """The last look before a test is decided."""
    world, _ = await world_to_test(BETTER)
    known = world.cluster.find("Retriever")
    world.cluster.put({**known, "spec": {**known["spec"], "notifications": [chat(receiver)]}})
    world.cluster.put(ab_test(maxDuration="20m"))
    await until(world, "Running")
    while True:
        before = a_copy(world)
        await world.settle(rounds=1)
        if trial_of(world)["phase"] == "Concluded":
            return before


async def test_killed_at_any_write_the_end_of_a_test_and_the_promotion_it_led_to_are_told(receiver: Receiver) -> None:
    ready = await about_to_conclude(receiver)
    calm = await through(telling(a_copy(ready)), 12)
    told_once(receiver, "TestConcluded", "Promoted")
    concluded = receiver.told()[0]
    assert concluded["title"] == "Test trial concluded: B wins"
    assert concluded["numbers"]["difference"] > 0
    assert concluded["text"].count("queries") >= 1
    for world, at in killed_at_each_write(ready, calm):
        receiver.got.clear()
        await through(telling(world), 14)
        assert world.restarts == 1, at
        assert sorted(event for event, _ in set(a_told(receiver))) == ["Promoted", "TestConcluded"], at
        assert len(receiver.got) <= 4, at
        assert pending(world) == [], at


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_when_writes_fail_and_answers_are_lost_it_is_told_with_one_id_all_the_same(
    receiver: Receiver, every: int
) -> None:
    world = await running(receiver)
    world.cluster.fault = flaky(every)
    await through(world, 60)
    assert world.errors
    assert {event for event, _ in a_told(receiver)} == {"TrainingSucceeded"}
    assert len(set(a_told(receiver))) == len(receiver.got) == 1
    assert pending(world) == []
