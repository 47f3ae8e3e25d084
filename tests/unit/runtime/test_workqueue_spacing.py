"""A key that ran just now: what asks for it again is one more run after a while, unless it is in a hurry."""

import asyncio

import pytest

from virtual_time import Worker, key, queue_of, settled, virtually


def runs_when_asked(*asked: tuple[float, bool], takes: float = 1.0) -> list[float]:
    """When a key runs that may do so every 4 s, and is asked for at these times (first of all: True)."""

    async def scenario():
        worker = Worker(takes=takes)
        queue = queue_of(worker, spacing=4)
        queue.start()
        for at, first in asked:
            asyncio.get_running_loop().call_at(at, lambda first=first: queue.add(key("a"), first=first))
        await asyncio.sleep(max(at for at, _ in asked) + 0.1)
        await settled(queue)
        await queue.drain()
        return worker.runs[key("a")]

    return virtually(scenario())


def test_what_comes_right_after_a_run_waits_and_is_one_more_run():
    assert runs_when_asked((0, False), (0.5, False), (1.5, False), (3, False), (9, False)) == [0, 4, 9]


def test_a_run_that_takes_longer_than_the_spacing_is_followed_at_once():
    assert runs_when_asked((0, False), (2, False), takes=6) == [0, 6]


@pytest.mark.parametrize(("asked", "runs"), [(2, [0, 2]), (0.5, [0, 1])])
def test_who_is_first_waits_for_no_spacing_though_others_asked_before(asked, runs):
    """Also while the key runs: right after that."""
    assert runs_when_asked((0, False), (0.3, False), (asked, True)) == runs


def test_a_requeue_keeps_the_spacing_and_other_keys_do_not_wait():
    async def scenario():
        worker = Worker(takes=0, requeue=0)
        queue = queue_of(worker, spacing=4)
        queue.start()
        queue.add(key("a"))
        await asyncio.sleep(1)
        queue.add(key("b"))
        await settled(queue)
        await queue.drain()
        return worker.runs

    assert virtually(scenario()) == {key("a"): [0, 4], key("b"): [1]}
