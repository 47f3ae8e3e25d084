"""Years of schedules in simulated time, with an operator that is away now and then and killed at any write."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.api import TrainingSchedule, names
from cron_oracle import Fields, instants
from schedules import MADE, Simulation, a_schedule, prepared

END = datetime(2029, 3, 15, 12, tzinfo=UTC)
SUNDAY = Fields("30 2 * * 0", frozenset({30}), frozenset({2}), weekdays=frozenset({0}))
FIRST = Fields("30 2 1 * *", frozenset({30}), frozenset({2}), days=frozenset({1}))
LAST_SUNDAYS = Fields(
    "15 2 25-31 3,10 *",
    frozenset({15}),
    frozenset({2}),
    days=frozenset(range(25, 32)),
    months=frozenset({3, 10}),
)
"""02:15 on every day on which the clocks of Berlin may change."""
Outages = list[tuple[datetime, datetime]]


def schedule(preparation: Fields, training: Fields, zone: str, deadline: int | None = None) -> TrainingSchedule:
    late = {} if deadline is None else {"startingDeadlineSeconds": deadline}
    return a_schedule(
        dataPreparation={"schedule": preparation.text}, training={"schedule": training.text}, timeZone=zone, **late
    )


def live(world: Simulation, end: datetime, outages: Outages, kills: random.Random | None = None) -> None:
    """Look when asked to, as the work queue does; not at all during an outage, and at once after it."""
    while world.now < end:
        killed = world.lost = kills is not None and kills.random() < 0.2
        wait = world.look().requeue_after
        world.work()
        assert wait is not None, "there is always a next time"
        asked = world.now + timedelta(seconds=1)  # one that was killed starts anew
        if not killed:
            asked = _next_time(world, end) if wait > timedelta(minutes=1) else max(asked, world.now + wait)
        world.now = next((until for since, until in outages if since <= asked < until), asked)


def _next_time(world: Simulation, end: datetime) -> datetime:
    """The hourly looks in between find nothing (`test_training_schedules` has one); years of them would take minutes."""
    status = world.schedule.status
    coming = [t for t in (status.next_preparation, status.next_training) if t is not None]
    return min([*coming, end]) + timedelta(seconds=1)


def runs(ticks: list[datetime]) -> list[str]:
    return [str(names.scheduled_run(tick)) for tick in ticks]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_three_years_without_an_outage_have_each_time_once(zone: str) -> None:
    world = Simulation(schedule(SUNDAY, FIRST, zone))
    live(world, END, [])
    trainings = instants(FIRST, zone, MADE, END)
    assert len(trainings) == 36
    assert world.trainings == runs(trainings)
    assert set(runs(instants(SUNDAY, zone, MADE, END))) <= set(world.preparations)
    assert set(world.preparations) <= set(runs(instants(SUNDAY, zone, MADE, END) + trainings))
    assert len(world.jobs) == 3
    assert len(world.made) == len(set(world.made))


def test_every_change_of_clocks_of_three_years_has_its_time_once() -> None:
    world = Simulation(schedule(SUNDAY, LAST_SUNDAYS, "Europe/Berlin"))
    live(world, END, [])
    assert world.trainings == runs(instants(LAST_SUNDAYS, "Europe/Berlin", MADE, END))
    assert "202603290100" in world.trainings, "02:15 did not exist: it was 03:00"
    assert "202610250015" in world.trainings, "02:15 came twice: it was the first"
    assert "202610250115" not in world.trainings


@pytest.mark.parametrize("deadline", [None, 3600, 5 * 86_400])
@pytest.mark.parametrize("seed", range(3))
def test_two_years_with_outages_and_kills_lose_no_time_that_may_be_late_and_repeat_none(
    deadline: int | None, seed: int
) -> None:
    chance, zone = random.Random(seed), "Europe/Berlin"
    end = MADE + timedelta(days=730)
    outages: Outages = []
    at = MADE
    while at < end:
        at += timedelta(hours=chance.randrange(1, 24 * 30))
        until = at + timedelta(minutes=chance.choice([5, 90, 60 * 24 * 2, 60 * 24 * 20, 60 * 24 * 70]))
        outages.append((at, until))
        at = until
    weekly = Fields("15 2 * * 0", frozenset({15}), frozenset({2}), weekdays=frozenset({0}))
    world = Simulation(schedule(SUNDAY, weekly, zone, deadline))
    live(world, end, outages, chance)
    assert len(world.made) == len(set(world.made))
    assert world.trainings == sorted(set(world.trainings))
    expected = instants(weekly, zone, MADE, world.now)
    assert set(world.trainings) <= set(runs(expected))
    for tick in expected:
        back = next((until for since, until in outages if since <= tick + timedelta(seconds=1) < until), tick)
        newest = max(t for t in expected if t <= back)
        in_time = deadline is None or back - newest < timedelta(seconds=deadline - 60)
        if in_time and back + timedelta(hours=1) < end:
            assert names.scheduled_run(newest) in map(int, world.trainings), (tick, back)


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["*/20 * * * *", "7 */2 * * *", "30 2 * * *", "0 0 * * 1-5", "45 1,2,3 * * 0"]),
    st.sampled_from(["*/30 * * * *", "30 2 * * *", "15 1-3 * * *", "0 6 * * 1"]),
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=6),
    st.integers(0, 10_000),
    st.sampled_from([0, 100, 5000]),
)
@settings(max_examples=60)
def test_any_schedules_and_outages_around_a_change_of_clocks_make_each_run_once_and_in_order(
    zone: str, preparation: str, training: str, pauses: list[tuple[int, int]], seed: int, wanted: int
) -> None:
    start = datetime(2026, 10, 23, tzinfo=UTC) if seed % 2 else datetime(2026, 3, 27, tzinfo=UTC)
    spec: dict[str, Any] = {"schedule": training, "minNewPairs": wanted}
    made = a_schedule(dataPreparation={"schedule": preparation}, training=spec, timeZone=zone)
    metadata = made.metadata.model_copy(update={"creation_timestamp": start})
    world = Simulation(made.model_copy(update={"metadata": metadata}), now=start, result=lambda: prepared(800))
    outages: Outages = []
    at = start
    for up, down in pauses:
        outages.append((at + timedelta(minutes=up), at + timedelta(minutes=up + down)))
        at = outages[-1][1]
    live(world, start + timedelta(days=4), outages, random.Random(seed))
    assert len(world.made) == len(set(world.made))
    assert world.trainings == sorted(set(world.trainings))
    assert all(int(run) > names.scheduled_run(start) for run in (*world.preparations, *world.trainings))
    if wanted > 800:
        assert world.trainings == []
