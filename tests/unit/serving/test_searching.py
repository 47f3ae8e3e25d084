"""Searches in a store that is slow, away or flooded: bounded in time and number. The store is one that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from artifacts import Made
from attune.contract import IndexSpec, ModelType, ServedVersion
from attune_retrieval.artifact import open_verified
from attune_retrieval.errors import BadData, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index import Condition, Described, Document, Fusion, Hit, Identity
from attune_serving.forms import SearchForm
from attune_serving.loading import Model
from attune_serving.refusals import Refused
from attune_serving.searching import Searcher, SearchSettings

SPEC = IndexSpec(store="lancedb", uri="file:///nowhere", hybrid=False)
SETTINGS = SearchSettings(SPEC)
VECTOR = np.ones(4, np.float32)
FORM = SearchForm(query="red", top_k=1, conditions=(), rerank=None, hybrid=None, model="active")


class Told:
    """A collection whose searches wait for `gate`, and raise `problem` if there is one."""

    name = "c_told"

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.problem: Exception | None = None
        self.searches = 0

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        self.searches += 1
        assert self.gate.wait(20)
        if self.problem is not None:
            raise self.problem
        return [Hit("d1", 1.0)][:k]

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        return []

    def describe(self) -> Described:
        return Described(self.name, Identity("space", 4), 1)

    def count(self, shard: int = 0, shards: int = 1) -> int:
        return 1

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        yield "d1", "digest"

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None: ...

    def delete(self, ids: Sequence[str]) -> None: ...

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        return {}

    def finish(self) -> None: ...


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.gate.set()


async def test_a_store_that_is_too_slow_is_answered_for_and_well_again_later(told: Told) -> None:
    searcher = Searcher(threads=1, queued=4, seconds=0.05)
    told.gate.clear()
    with pytest.raises(Refused, match=r"c_told: the store did not answer within 0\.05 s") as refused:
        await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    assert (refused.value.status, refused.value.code) == (503, "index_unavailable")
    assert refused.value.retry_after
    told.gate.set()
    while True:
        try:
            assert [h.id for h in await searcher.search(told, SETTINGS, VECTOR, FORM, 1)] == ["d1"]
            break
        except Refused:
            await asyncio.sleep(0.01)
    searcher.close()


async def test_more_searches_than_may_wait_are_refused_and_none_of_the_others_is_lost(told: Told) -> None:
    searcher = Searcher(threads=2, queued=3, seconds=20)
    told.gate.clear()
    accepted = [asyncio.create_task(searcher.search(told, SETTINGS, VECTOR, FORM, 1)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="5 searches wait") as refused:
        await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    told.gate.set()
    assert [[h.id for h in await one] for one in accepted] == [["d1"]] * 5
    assert told.searches == 5
    assert [h.id for h in await searcher.search(told, SETTINGS, VECTOR, FORM, 1)] == ["d1"]
    searcher.close()


async def test_searches_that_were_given_up_count_until_their_thread_is_free(told: Told) -> None:
    """Else a store that hangs would gather threads' work without bound."""
    searcher = Searcher(threads=1, queued=1, seconds=0.05)
    told.gate.clear()
    for _ in range(2):
        with pytest.raises(Refused, match="did not answer"):
            await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    with pytest.raises(Refused) as refused:
        await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    assert refused.value.status == 429
    searcher.close()


@pytest.mark.parametrize("problem", [StoreUnavailable("the volume is gone"), BadData("there is no collection c_told")])
async def test_a_store_that_is_away_is_named(told: Told, problem: Exception) -> None:
    searcher = Searcher(threads=1, queued=1, seconds=20)
    told.problem = problem
    with pytest.raises(Refused, match=str(problem)) as refused:
        await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    assert (refused.value.status, refused.value.code) == (503, "index_unavailable")
    searcher.close()


async def test_a_bug_in_a_store_is_no_refusal(told: Told) -> None:
    searcher = Searcher(threads=1, queued=1, seconds=20)
    told.problem = ZeroDivisionError("bug")
    with pytest.raises(ZeroDivisionError):
        await searcher.search(told, SETTINGS, VECTOR, FORM, 1)
    searcher.close()


class TwoSides(Told):
    """Vectors find d1 before d2, words the other settings round."""

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        return [Hit("d1", 0.9), Hit("d2", 0.5)][:k]

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        return [Hit("d2", 7.0), Hit("d1", 3.0)]


@pytest.mark.parametrize(
    ("hybrid", "asked", "weight", "first"),
    [
        (True, None, 0.8, "d1"),
        (True, None, 0.2, "d2"),
        (False, None, 0.2, "d1"),
        (False, True, 0.2, "d2"),
        (True, False, 0.2, "d1"),
    ],
)
async def test_a_version_brings_the_weight_of_its_vectors(
    hybrid: bool, asked: bool | None, weight: float, first: str
) -> None:
    searcher = Searcher(threads=1, queued=1, seconds=20)
    settings = SearchSettings(SPEC.model_copy(update={"hybrid": hybrid}), Fusion(dense_weight=weight))
    form = replace(FORM, hybrid=asked)
    assert [h.id for h in await searcher.search(TwoSides(), settings, VECTOR, form, 1)] == [first]
    searcher.close()


@pytest.mark.parametrize(("own", "used"), [(0.9, 0.9), (None, 0.5)])
def test_the_weight_is_that_of_the_manifest(one: Made, own: float | None, used: float) -> None:
    opened = open_verified(one.folder, None)
    described = replace(opened, manifest=opened.manifest.model_copy(update={"dense_weight": own}))
    version = ServedVersion(name="emb-v1", uri="file:///nowhere", digest="sha256:" + "0" * 64, type=ModelType.EMBEDDING)
    assert Model(version, described, None, None, None).fusion.dense_weight == used
