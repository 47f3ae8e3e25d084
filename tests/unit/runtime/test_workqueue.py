"""The work queue in virtual time: its guarantees for chosen cases, and for random schedules."""

import asyncio
import itertools
from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.errors import Conflict, Unavailable
from attune.workqueue import Backoff, Key, WorkQueue
from virtual_time import Worker, key, queue_of, settled, virtually


def test_keys_added_before_the_start_run_after_it_in_order():
    async def scenario():
        seen = []

        async def work(k):
            seen.append(k.name)

        queue = queue_of(work, workers=1)
        for name in "abca":
            queue.add(key(name))
        await asyncio.sleep(5)
        assert seen == []
        queue.start()
        await settled(queue)
        await queue.drain()
        return seen

    assert virtually(scenario()) == ["a", "b", "c"]


def test_many_adds_while_a_key_runs_are_one_more_run():
    async def scenario():
        worker = Worker(takes=10)
        queue = queue_of(worker)
        queue.start()
        queue.add(key("a"))
        await asyncio.sleep(1)
        for _ in range(5):
            queue.add(key("a"))
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    assert virtually(scenario()) == [0, 10]


def test_failures_back_off_exponentially_and_success_forgets_them():
    async def scenario():
        worker = Worker(takes=0, fails=4)
        queue = queue_of(worker)
        queue.start()
        queue.add(key("a"))
        await settled(queue)
        worker.fails = 1
        queue.add(key("a"))
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    runs = virtually(scenario())
    assert [round(b - a) for a, b in itertools.pairwise(runs[:5])] == [1, 2, 4, 8]
    assert round(runs[6] - runs[5]) == 1


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 0.5), (1.0, 1.0)])
def test_jitter_takes_at_most_half_of_the_delay_away(jitter, seconds):
    assert Backoff(timedelta(seconds=1)).delay(1, jitter) == seconds


def test_the_back_off_has_a_ceiling_however_often_it_fails():
    assert Backoff(timedelta(seconds=1), timedelta(minutes=5)).delay(10_000, 1.0) == 300


def test_a_server_that_asks_to_wait_is_obeyed():
    async def scenario():
        worker = Worker(takes=0, fails=1)
        worker.error = Unavailable("later", retry_after=30)
        queue = queue_of(worker)
        queue.start()
        queue.add(key("a"))
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    assert virtually(scenario()) == [0, 30]


def test_a_bug_in_a_reconcile_is_retried_and_hurts_no_other_key():
    async def scenario():
        worker = Worker(takes=0, fails=1)
        worker.error = ZeroDivisionError()
        queue = queue_of(worker, workers=1)
        queue.start()
        queue.add(key("bad"))
        queue.add(key("good"))
        await settled(queue)
        await queue.drain()
        return worker.runs

    runs = virtually(scenario())
    assert len(runs[key("bad")]) == 2
    assert len(runs[key("good")]) == 1


def test_an_event_comes_before_a_later_requeue_and_does_not_double_it():
    async def scenario():
        worker = Worker(takes=0, requeue=60)
        queue = queue_of(worker)
        queue.start()
        queue.add(key("a"))
        await asyncio.sleep(10)
        queue.add(key("a"))
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    assert virtually(scenario()) == [0, 10]


def test_of_two_wake_ups_the_earlier_counts():
    async def scenario():
        worker = Worker(takes=0)
        queue = queue_of(worker)
        queue.start()
        for delay in (30, 5, 20):
            queue.add_after(key("a"), delay)
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    assert virtually(scenario()) == [5]


def test_no_more_keys_run_at_once_than_there_are_workers():
    async def scenario():
        worker = Worker(takes=3)
        queue = queue_of(worker, workers=3)
        queue.start()
        for n in range(20):
            queue.add(key(str(n)))
        await settled(queue)
        await queue.drain()
        return worker

    worker = virtually(scenario())
    assert worker.most == 3
    assert len(worker.runs) == 20


def test_drain_lets_running_keys_finish_and_starts_no_others():
    async def scenario():
        worker = Worker(takes=5)
        queue = queue_of(worker, workers=1)
        queue.start()
        queue.add(key("runs"))
        queue.add(key("waits"))
        await asyncio.sleep(1)
        clean = await queue.drain(grace=10)
        queue.add(key("late"))
        await asyncio.sleep(100)
        return clean, list(worker.runs)

    assert virtually(scenario()) == (True, [key("runs")])


def test_drain_cuts_off_what_does_not_finish_in_time():
    async def scenario():
        queue = queue_of(Worker(takes=1000))
        queue.start()
        queue.add(key("a"))
        await asyncio.sleep(1)
        before = asyncio.get_running_loop().time()
        return await queue.drain(grace=10), asyncio.get_running_loop().time() - before

    assert virtually(scenario()) == (False, 10)


def test_an_idle_key_leaves_nothing_behind():
    async def scenario():
        queue = queue_of(Worker(takes=0, fails=2), spacing=2)
        queue.start()
        for n in range(50):
            queue.add(key(str(n)))
        await settled(queue)
        await asyncio.sleep(2)
        queue.add(key("last"))
        await settled(queue)
        left = len(queue._states), list(queue._started)
        await queue.drain()
        return left

    assert virtually(scenario()) == (0, [key("last")])


def test_the_observer_hears_of_depth_durations_and_errors():
    class Heard:
        def __init__(self) -> None:
            self.depths: list[tuple[int, int]] = []
            self.runs: list[tuple[str, float, str | None]] = []

        def queue_changed(self, depth: int, processing: int) -> None:
            self.depths.append((depth, processing))

        def processed(self, key: Key, seconds: float, error: Exception | None) -> None:
            self.runs.append((key.name, seconds, type(error).__name__ if error else None))

    async def scenario():
        heard = Heard()
        queue = WorkQueue(Worker(takes=2, fails=1), workers=1, observer=heard)
        queue.add(key("a"))
        queue.add(key("b"))
        queue.start()
        await settled(queue)
        await queue.drain()
        return heard

    heard = virtually(scenario())
    assert (2, 0) in heard.depths
    assert (1, 1) in heard.depths
    assert heard.depths[-1] == (0, 0)
    assert heard.runs == [("a", 2, "Conflict"), ("b", 2, None), ("a", 2, None)]


class Random:
    """Work whose duration, failures and requeues come from a list; checks the guarantees as it runs."""

    def __init__(self, script: list[tuple[int, bool, int | None]]) -> None:
        self.script = script
        self.order = itertools.count()
        self.starts: dict[Key, list[int]] = defaultdict(list)
        self.times: dict[Key, list[float]] = defaultdict(list)
        self.running: set[Key] = set()
        self.most = 0

    async def __call__(self, key: Key) -> timedelta | None:
        assert key not in self.running
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.starts[key].append(next(self.order))
        self.times[key].append(asyncio.get_running_loop().time())
        duration, fails, requeue = self.script.pop() if self.script else (0, False, None)
        try:
            await asyncio.sleep(duration)
        finally:
            self.running.discard(key)
        if fails:
            raise Conflict("changed")
        return None if requeue is None else timedelta(seconds=requeue)


ADDS = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20))), max_size=25
)
SCRIPT = st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.one_of(st.none(), st.integers(0, 9))), max_size=25)


@given(adds=ADDS, script=SCRIPT, workers=st.integers(1, 3), spacing=st.sampled_from([0.0, 0.3, 5.0]))
def test_in_any_order_no_wake_up_is_lost_and_no_key_runs_twice_at_once(adds, script, workers, spacing):
    """Whoever asks for a key, by `add` or `add_after`, sees a run of it that began after the asking."""

    async def scenario():
        work = Random(list(script))
        queue = queue_of(work, workers=workers, spacing=spacing)
        queue.start()
        loop = asyncio.get_running_loop()
        asked: list[tuple[Key, int]] = []

        def ask(name: str, delay: int | None) -> None:
            asked.append((key(name), next(work.order)))
            if delay is None:
                queue.add(key(name))
            else:
                queue.add_after(key(name), delay)

        for at, name, delay in adds:
            loop.call_at(at, ask, name, delay)
        await asyncio.sleep(31)
        await settled(queue)
        left = dict(queue._states)
        return work, asked, left, await queue.drain()

    work, asked, left, clean = virtually(scenario())
    assert clean
    assert left == {}
    assert work.most <= workers
    assert all(b - a >= spacing - 1e-6 for times in work.times.values() for a, b in itertools.pairwise(times))
    for wanted, order in asked:
        assert work.starts[wanted][-1] > order, f"{wanted.name} was asked for and never ran again"
