"""The probe, as it counts and as its loop goes: what is asked, what is remembered, what says nothing. Versions answer as they are told."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from attune.contract import IndexSpec, ModelType, ServedModel, ServedProbe, ServedVersion, ServingConfig, health
from attune_retrieval.index import Collection, open_store
from attune_retrieval.labelled import Labelled
from attune_serving.asking import Asking
from attune_serving.attempts import Attempts
from attune_serving.batching import Batcher, BatchLimits
from attune_serving.cache import Cache
from attune_serving.loading import Model
from attune_serving.metrics import Metrics
from attune_serving.probing import Asker, Prober
from attune_serving.probing.prober import MOST_UNSAID, SOME
from attune_serving.probing.questions import FIRST_PAUSE, Questions
from attune_serving.probing.tally import EVERY, Outcome, Tally, judged
from attune_serving.replica import Replica, Serving
from attune_serving.settings import load_settings
from attune_serving.shelf import Loaded, Shelf
from probe_snapshot import probe_snapshot

HIT, MISS, FAILED, UNKNOWN = Outcome.HIT, Outcome.MISS, Outcome.FAILED, Outcome.UNKNOWN
POOL = ThreadPoolExecutor(1)
NEW, OLD = "emb-v2", "emb-v1"
QUERIES = 12


@pytest.mark.parametrize(
    ("active", "previous", "says"),
    [
        (HIT, HIT, (True, True)),
        (HIT, MISS, (True, False)),
        (MISS, HIT, (False, True)),
        (MISS, MISS, (False, False)),
        (FAILED, HIT, (False, True)),
        (FAILED, MISS, (False, False)),
        (HIT, FAILED, (True, False)),
        (FAILED, FAILED, None),
        (UNKNOWN, HIT, None),
        (HIT, UNKNOWN, None),
        (UNKNOWN, FAILED, None),
    ],
)
def test_a_failure_is_a_miss_unless_both_fail_and_what_is_not_known_says_nothing(
    active: Outcome, previous: Outcome, says: tuple[bool, bool] | None
) -> None:
    assert judged(active, previous) == says


def test_a_tally_counts_what_only_one_of_them_found() -> None:
    tally = Tally()
    for active, previous in [(True, True)] * 3 + [(False, True)] * 4 + [(True, False)] * 2 + [(False, False)]:
        tally.add(active, previous)
    assert tally == Tally(queries=10, hits=5, previous_hits=7, lost=4, won=2)


# ---- the loop


class Scripted(Asker):
    """Outcomes by version; remembers who was asked."""

    def __init__(self) -> None:
        super().__init__(Asking(load_settings({})), pause=0)
        self.outcomes: dict[str, Outcome | Iterator[Outcome]] = {NEW: HIT, OLD: HIT}
        self.asked: list[str] = []
        self.clock = [1000.0]

    async def outcome(self, serving: Serving, model_type: ModelType, version: str, query: Labelled) -> Outcome:
        self.asked.append(version)
        told = self.outcomes[version]
        return told if isinstance(told, Outcome) else next(told)


class World:
    """A replica that serves NEW, with OLD before it, and a prober whose asker is scripted."""

    def __init__(self, folder: Path, collection: Collection, spec: IndexSpec) -> None:
        metrics = Metrics()
        shelf = Shelf(Cache(folder / "cache"), metrics, BatchLimits(), 1.0)
        self.replica = Replica("r0", shelf, Cache(folder / "cache"), metrics)
        self.registry = CollectorRegistry()
        self.attempts = Attempts(self.registry, "p1")
        self.asker = Scripted()
        self.prober = Prober(self.replica, self.asker, self.attempts, 10.0, lambda: self.asker.clock[0])
        self.collection, self.spec = collection, spec
        labels = [(f"query {n}", f"d{n}", 1.0) for n in range(QUERIES)]
        self.probe = probe_snapshot(folder / "datasets", labels, seconds=900.0)

    def serve(self, active: str = NEW, previous: str | None = OLD, probe: ServedProbe | None = None) -> None:
        versions = [
            ServedVersion(name=name, type=ModelType.EMBEDDING, uri="file:///x", digest=f"sha256:{name}", collection="c")
            for name in (NEW, OLD)
        ]
        model = ServedModel(active=active, previous=previous, probe=probe or self.probe)
        config = ServingConfig(
            namespace="n", retriever="r", generation=1, embedding=model, versions=tuple(versions), index=self.spec
        )
        loaded = {
            version.name: Loaded(
                Model(version, None, None, self.collection, self.spec), Batcher(lambda _: pytest.fail("asked"), POOL)
            )
            for version in versions
        }
        self.replica.serving = Serving(config, loaded)
        self.attempts.configured(config)
        self.prober.configured(config)

    async def round(self) -> list[str]:
        """One round of all that is to be probed; who was asked."""
        self.asker.asked.clear()
        for pair in list(self.prober._pairs.values()):
            await self.prober.probe(pair)
        return list(self.asker.asked)

    def gauge(self, name: str, version: str) -> float | None:
        labels = {"attune_version": version, "attune_namespace": "n", "attune_retriever": "r"}
        return self.registry.get_sample_value(name, labels | {"attune_type": "embedding", "process": "p1"})


@pytest.fixture
def world(tmp_path: Path, index: IndexSpec) -> Iterator[World]:
    store = open_store(index)
    yield World(tmp_path, store.open("c_emb_v1"), index)
    store.close()


async def test_a_round_says_what_each_found_in_the_report_and_in_the_gauges(world: World) -> None:
    world.serve()
    assert world.prober.reports() == ()
    world.asker.outcomes = {NEW: itertools.cycle([HIT, MISS, MISS]), OLD: itertools.cycle([HIT, HIT, MISS])}
    assert await world.round() == [NEW, OLD] * QUERIES
    (report,) = world.prober.reports()
    assert (report.version, report.previous, report.type) == (NEW, OLD, ModelType.EMBEDDING)
    assert (report.queries, report.hits, report.previous_hits, report.lost, report.won) == (12, 4, 8, 4, 0)
    assert world.gauge(health.PROBE_QUERIES, NEW) == world.gauge(health.PROBE_QUERIES, OLD) == QUERIES
    assert world.gauge(health.PROBE_RECALL, NEW) == pytest.approx(4 / 12)
    assert world.gauge(health.PROBE_RECALL, OLD) == pytest.approx(8 / 12)


async def test_the_previous_version_is_remembered_and_asked_anew_now_and_then(world: World) -> None:
    world.serve()
    rounds = [await world.round() for _ in range(EVERY + 1)]
    assert rounds[0] == rounds[EVERY] == [NEW, OLD] * QUERIES
    assert rounds[1:EVERY] == [[NEW] * QUERIES] * (EVERY - 1)


async def test_where_the_new_version_fails_the_other_is_asked_at_that_very_time(world: World) -> None:
    """A store that is away for both has been well when the previous version was asked last."""
    world.serve()
    await world.round()
    world.asker.outcomes = {NEW: FAILED, OLD: FAILED}
    assert await world.round() == [NEW, OLD] * MOST_UNSAID
    (report,) = world.prober.reports()
    assert (report.queries, report.hits, report.lost) == (QUERIES, QUERIES, 0)
    world.asker.outcomes[OLD] = HIT
    await world.round()
    (report,) = world.prober.reports()
    assert (report.queries, report.hits, report.previous_hits, report.lost) == (QUERIES, 0, QUERIES, QUERIES)


async def test_queries_that_say_nothing_are_left_out_and_several_of_them_end_the_round(world: World) -> None:
    world.serve()
    world.asker.outcomes[NEW] = itertools.cycle([HIT, UNKNOWN])
    await world.round()
    (report,) = world.prober.reports()
    assert (report.queries, report.hits, report.previous_hits) == (6, 6, 6)
    world.asker.outcomes[NEW] = UNKNOWN
    assert len(await world.round()) < 2 * QUERIES
    assert world.prober.reports() == (report,)


async def test_the_first_round_says_how_far_it_is_and_later_ones_only_what_all_queries_say(
    world: World, tmp_path: Path
) -> None:
    many = probe_snapshot(tmp_path / "many", [(f"query {n}", f"d{n}", 1.0) for n in range(2 * SOME + 5)])
    seen: list[int] = []

    def watch() -> Iterator[Outcome]:
        while True:
            seen.append(sum(report.queries for report in world.prober.reports()))
            yield HIT

    world.serve(probe=many)
    world.asker.outcomes[NEW] = watch()
    await world.round()
    assert seen == [0] * SOME + [SOME] * SOME + [2 * SOME] * 5
    seen.clear()
    await world.round()
    assert seen == [2 * SOME + 5] * (2 * SOME + 5)


async def test_it_ends_after_its_time_and_the_last_report_stays(world: World) -> None:
    world.serve()
    await world.round()
    world.asker.clock[0] += 899
    assert await world.round()
    world.asker.clock[0] += 2
    assert await world.round() == []
    world.serve()  # the same pair, told again: its time goes on
    assert await world.round() == []
    assert len(world.prober.reports()) == 1


async def test_another_pair_begins_anew_and_what_was_said_of_the_old_one_is_gone(world: World) -> None:
    world.serve()
    await world.round()
    world.asker.clock[0] += 1000
    world.serve(active=OLD, previous=NEW)
    assert world.prober.reports() == ()
    assert world.gauge(health.PROBE_RECALL, NEW) is None
    assert await world.round() == [OLD, NEW] * QUERIES
    world.serve(active=OLD, previous=None)
    assert world.prober.reports() == ()
    assert await world.round() == []


async def test_a_pair_that_is_replaced_in_the_middle_of_a_round_is_not_reported(world: World) -> None:
    world.serve()

    def roll_back() -> Iterator[Outcome]:
        yield MISS
        world.serve(active=OLD, previous=NEW)
        yield from itertools.repeat(MISS)

    world.asker.outcomes[NEW] = roll_back()
    assert len(await world.round()) == 2 * 2
    assert world.prober.reports() == ()


async def test_nothing_is_asked_without_a_probe(world: World) -> None:
    world.serve()
    assert world.replica.serving is not None
    config = world.replica.serving.config
    model = ServedModel(active=NEW, previous=OLD)
    world.replica.serving = Serving(config.model_copy(update={"embedding": model}), world.replica.serving.versions)
    assert await world.round() == []


async def test_nothing_is_asked_where_there_is_nothing_to_search(world: World) -> None:
    world.collection = None  # type: ignore[assignment]
    world.serve()
    assert await world.round() == []


async def test_another_snapshot_is_read_and_asked(world: World, tmp_path: Path) -> None:
    world.serve()
    await world.round()
    world.serve(probe=probe_snapshot(tmp_path / "other", [("one", "d1", 1.0), ("two", "d2", 1.0)]))
    assert await world.round() == [NEW, OLD] * 2


# ---- the snapshot


async def test_a_snapshot_that_cannot_be_read_is_said_once_and_tried_again_with_growing_pauses(tmp_path: Path) -> None:
    probe = probe_snapshot(tmp_path / "datasets", [("one", "d1", 1.0)])
    folder = Path(probe.uri)
    shutil.move(folder, tmp_path / "away")
    questions, now, tries = Questions(probe), 0.0, []
    for now in range(1000):
        before = questions._next
        assert await questions.read(float(now)) == ()
        if questions._next != before:
            tries.append(now)
    assert tries[:5] == [0, FIRST_PAUSE, 3 * FIRST_PAUSE, 7 * FIRST_PAUSE, 15 * FIRST_PAUSE]
    assert max(later - earlier for earlier, later in itertools.pairwise(tries)) <= 300
    shutil.move(tmp_path / "away", folder)
    assert len(await questions.read(10_000.0)) == 1
    shutil.rmtree(folder)
    assert len(await questions.read(10_001.0)) == 1
