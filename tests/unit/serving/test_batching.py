"""The batcher: every text answered once, in its place, whatever was computed together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune_retrieval.graph import Floats, Tokens
from attune_serving.batching import Batcher, BatchLimits, QueueFull

POOL = ThreadPoolExecutor(1)


class Echo:
    """Gives each text its first token; remembers the batches. `gate` holds the computation back."""

    def __init__(self) -> None:
        self.batches: list[list[Tokens]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Sequence[Tokens]) -> Floats:
        self.gate.wait(10)
        self.batches.append(list(batch))
        if any(t.ids[0] == 666 for t in batch):
            raise ValueError("the model broke")
        return np.array([[t.ids[0]] for t in batch], dtype=np.float32)


def text(value: int, length: int = 4) -> Tokens:
    return Tokens([value] * length)


def padded(batch: list[Tokens]) -> int:
    return max(map(len, batch)) * len(batch)


@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=12), min_size=1, max_size=12))
@settings(max_examples=40)
def test_every_text_is_answered_once_in_the_order_of_its_request(requests: list[list[int]]) -> None:
    echo = Echo()
    limits = BatchLimits(max_tokens=512, max_texts=8)

    async def run() -> list[Floats]:
        batcher = Batcher(echo, POOL, limits)
        asked = [
            batcher.submit([text(100 * r + n, length) for n, length in enumerate(lengths)])
            for r, lengths in enumerate(requests)
        ]
        answers = await asyncio.gather(*asked)
        assert batcher.depth == 0
        await batcher.close()
        return answers

    answers = asyncio.run(run())
    for r, (lengths, answer) in enumerate(zip(requests, answers, strict=True)):
        assert answer[:, 0].tolist() == [100 * r + n for n in range(len(lengths))]
    assert sum(map(len, echo.batches)) == sum(map(len, requests))
    for batch in echo.batches:
        assert len(batch) == 1 or (padded(batch) <= limits.max_tokens and len(batch) <= limits.max_texts)


async def test_texts_of_similar_length_are_computed_together() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = Batcher(echo, POOL)
    first = asyncio.create_task(batcher.submit([text(1)]))
    await asyncio.sleep(0.02)
    rest = [asyncio.create_task(batcher.submit([text(2 + n, 10 if n % 2 else 200)])) for n in range(8)]
    await asyncio.sleep(0.02)
    echo.gate.set()
    await asyncio.gather(first, *rest)
    for batch in echo.batches:
        assert max(map(len, batch)) - min(map(len, batch)) < 60
    assert len(echo.batches) == 3


async def test_a_query_overtakes_a_long_request_of_documents() -> None:
    order: list[int] = []

    def run(batch: Sequence[Tokens]) -> Floats:
        time.sleep(0.002)
        order.extend(int(t.ids[0]) for t in batch)
        return np.zeros((len(batch), 1), dtype=np.float32)

    batcher = Batcher(run, POOL, BatchLimits(max_tokens=1024))

    async def late_query() -> None:
        await asyncio.sleep(0.005)
        await batcher.submit([text(7, 8)])

    await asyncio.gather(batcher.submit([text(1, 256) for _ in range(200)]), late_query())
    assert order.index(7) < len(order) - 1 - order[::-1].index(1)
    assert order.index(7) < 100


async def test_a_long_text_does_not_wait_for_ever_behind_short_ones() -> None:
    slow = Echo()
    real = slow.__call__

    def run(batch: Sequence[Tokens]) -> Floats:
        time.sleep(0.01)
        return real(batch)

    batcher = Batcher(run, POOL, BatchLimits(max_texts=1))
    first = asyncio.create_task(batcher.submit([text(1, 4)]))
    await asyncio.sleep(0.001)
    long = asyncio.create_task(batcher.submit([text(2, 100)]))
    stop = asyncio.Event()

    async def flood() -> None:
        while not stop.is_set():
            await asyncio.gather(*(batcher.submit([text(3, 4)]) for _ in range(4)))

    flooding = [asyncio.create_task(flood()) for _ in range(2)]
    answer = await asyncio.wait_for(long, 5)
    still_flooded = not stop.is_set() and not any(task.done() for task in flooding)
    stop.set()
    await asyncio.gather(first, *flooding)
    assert answer[0, 0] == 2
    assert still_flooded


async def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = Batcher(echo, POOL, BatchLimits(max_queue_tokens=100))
    accepted = [asyncio.create_task(batcher.submit([text(1, 40)]))]
    await asyncio.sleep(0.02)
    accepted += [asyncio.create_task(batcher.submit([text(1, 40)])) for _ in range(2)]
    await asyncio.sleep(0.02)
    with pytest.raises(QueueFull) as refused:
        await batcher.submit([text(2, 90)])
    assert refused.value.retry_after >= 1
    assert "limit of 100" in str(refused.value)
    echo.gate.set()
    await asyncio.gather(*accepted)
    assert (await batcher.submit([text(3)]))[0, 0] == 3


async def test_an_error_reaches_only_the_requests_of_that_batch() -> None:
    echo = Echo()
    batcher = Batcher(echo, POOL, BatchLimits(max_texts=1))
    results = await asyncio.gather(
        batcher.submit([text(1)]), batcher.submit([text(666)]), batcher.submit([text(2)]), return_exceptions=True
    )
    assert isinstance(results[1], ValueError)
    assert [float(r[0, 0]) for r in (results[0], results[2])] == [1, 2]  # type: ignore[index]


async def test_the_texts_of_a_client_that_left_are_not_computed() -> None:
    echo = Echo()
    echo.gate.clear()
    batcher = Batcher(echo, POOL)
    first = asyncio.create_task(batcher.submit([text(1)]))
    await asyncio.sleep(0.02)
    gone = asyncio.create_task(batcher.submit([text(9)] * 5))
    await asyncio.sleep(0.02)
    gone.cancel()
    await asyncio.sleep(0.01)
    echo.gate.set()
    await first
    assert (await batcher.submit([text(2)]))[0, 0] == 2
    assert all(t.ids[0] != 9 for batch in echo.batches for t in batch)
    assert batcher.depth == 0


async def test_closing_finishes_what_was_accepted_and_refuses_what_comes() -> None:
    echo = Echo()
    batcher = Batcher(echo, POOL)
    accepted = [asyncio.create_task(batcher.submit([text(n)])) for n in range(1, 20)]
    await asyncio.sleep(0)
    await batcher.close()
    assert [float((await a)[0, 0]) for a in accepted] == list(range(1, 20))
    with pytest.raises(RuntimeError, match="not served any more"):
        await batcher.submit([text(1)])
