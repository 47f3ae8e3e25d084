"""Two ways to one answer: no request ends worse than with the first alone, and the second is begun only where it may help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from attune_serving.racing import Answered, Failed, LateError, race


class Way:
    """Answers, or raises, after `seconds`; says whether it was begun and whether it was given up."""

    def __init__(self, seconds: float, answer: str | Exception) -> None:
        self.seconds = seconds
        self.answer = answer
        self.begun = 0
        self.left = False

    async def __call__(self) -> str:
        self.begun += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.left = True
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def after(seconds: float) -> Callable[[float], float]:
    return lambda taken: max(0.0, seconds - taken)


def always(_: Exception) -> bool:
    return True


def told(ended: Answered[str] | Failed | None) -> str | type[Exception] | None:
    if isinstance(ended, Failed):
        return type(ended.problem)
    return ended.answer if ended is not None else None


async def test_the_second_is_not_begun_where_the_first_answers_in_time() -> None:
    first, second = Way(0.01, "first"), Way(0, "second")
    assert list(map(told, await race(first, second, after(0.2), always))) == ["first", None]
    assert second.begun == 0


async def test_a_failure_of_the_first_begins_the_second_at_once() -> None:
    first, second = Way(0, ValueError()), Way(0, "second")
    assert list(map(told, await race(first, second, after(30), always))) == [ValueError, "second"]


async def test_a_failure_that_the_second_cannot_help_with_is_the_end() -> None:
    first, second = Way(0, ValueError()), Way(0, "second")
    assert list(map(told, await race(first, second, after(30), lambda _: False))) == [ValueError, None]
    assert second.begun == 0


async def test_where_the_first_is_late_the_second_answers_and_the_first_is_given_up() -> None:
    first, second = Way(30, "first"), Way(0.01, "second")
    began = asyncio.get_running_loop().time()
    ended = await race(first, second, after(0.05), always)
    assert list(map(told, ended)) == [LateError, "second"]
    assert first.left
    assert 0.05 <= ended[0].seconds < asyncio.get_running_loop().time() - began < 5


async def test_where_both_are_slow_the_one_that_is_there_first_answers() -> None:
    first, second = Way(0.15, "first"), Way(30, "second")
    assert list(map(told, await race(first, second, after(0.05), always))) == ["first", None]
    await asyncio.sleep(0)
    assert second.left


async def test_a_second_that_fails_leaves_the_first_its_time() -> None:
    first, second = Way(0.15, "first"), Way(0, ValueError())
    assert list(map(told, await race(first, second, after(0.05), always))) == ["first", None]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.2])
async def test_where_both_fail_both_problems_are_told(seconds: float) -> None:
    first, second = Way(0.1, ValueError()), Way(seconds, KeyError())
    assert list(map(told, await race(first, second, after(0.05), always))) == [ValueError, KeyError]
    assert second.begun == 1


async def test_the_time_that_is_left_is_asked_for_again_and_again() -> None:
    looks: list[float] = []

    def left(taken: float) -> float:
        looks.append(taken)
        return 0.02 if len(looks) < 4 else 0.0

    first, second = Way(30, "first"), Way(0, "second")
    assert list(map(told, await race(first, second, left, always))) == [LateError, "second"]
    assert len(looks) == 4
    assert looks == sorted(looks)


@pytest.mark.parametrize("late", [0.0, 30.0])
async def test_who_is_cancelled_from_outside_gives_up_both(late: float) -> None:
    first, second = Way(30, "first"), Way(30, "second")
    running = asyncio.create_task(race(first, second, after(late), always))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert first.left
    assert second.left == bool(second.begun) == (late == 0)


async def test_a_timeout_of_its_own_is_a_failure_like_others() -> None:
    first, second = Way(0, TimeoutError()), Way(0, "second")
    assert list(map(told, await race(first, second, after(30), always))) == [TimeoutError, "second"]


async def test_at_the_very_same_time_there_is_one_answer_and_nothing_is_left_behind() -> None:
    async def at_once(value: str, gate: asyncio.Event) -> str:
        await gate.wait()
        return value

    for order in (0, 1):
        gates = [asyncio.Event(), asyncio.Event()]
        ways: list[Callable[[], Awaitable[str]]] = [
            lambda gates=gates: at_once("first", gates[0]),  # type: ignore[misc]
            lambda gates=gates: at_once("second", gates[1]),  # type: ignore[misc]
        ]
        running = asyncio.create_task(race(ways[0], ways[1], after(0), always))
        await asyncio.sleep(0.02)
        for number in (order, 1 - order):
            gates[number].set()
        first, second = await running
        assert (told(first), told(second)) in {("first", None), (LateError, "second")}
        assert len(asyncio.all_tasks()) <= 2
