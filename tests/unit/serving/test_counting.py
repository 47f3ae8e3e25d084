"""Every query of a test counts once: the pure ledger, several of them in conversation, and the journal on disk."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.contract import ModelType, ServedModel, ServedSplit, ServedVersion, ServingConfig
from attune_serving.assign import BUCKETS, assign, is_challenged
from attune_serving.counting.counter import Counter, share_of
from attune_serving.counting.journal import Journal
from attune_serving.counting.ledger import EXPOSURE, LONGEST_WAIT, Cell, Claim, Ledger, parts
from attune_serving.counting.peers import Peers
from attune_serving.counting.totals import Totals

A, B = Cell("A", "0.2"), Cell("B", "0.2")


def counted(
    ledger: Ledger, now: float, peers: frozenset[str] = frozenset(), settling: float = 0.0
) -> list[tuple[str, int]]:
    return [(one.metric, one.unit) for one in ledger.settle(now, peers, settling)]


def test_a_query_counts_by_its_first_request_only() -> None:
    ledger = Ledger("r0", 100)
    ledger.expose(7, A, {"error": 0.0, "latency": 3.0}, 10)
    ledger.expose(7, A, {"error": 1.0}, 11)
    (one,) = ledger.settle(12, frozenset(), 0)
    assert (one.cell, dict(one.values)) == (A, {"error": 0.0, "latency": 3.0})
    ledger.expose(7, A, {"error": 1.0}, 13)
    assert counted(ledger, 14) == []


def test_a_value_counts_once_for_a_query_that_was_seen_and_in_its_cell() -> None:
    ledger = Ledger("r0", 100)
    ledger.value(7, "B", "clicks", 1.0, 9)
    ledger.expose(7, B, {"error": 0.0}, 10)
    assert counted(ledger, 11) == [(EXPOSURE, 7)]
    (one,) = ledger.settle(12, frozenset(), 0)
    assert (one.metric, one.cell, dict(one.values)) == ("clicks", B, {"clicks": 1.0})
    ledger.value(7, "B", "clicks", 5.0, 13)
    assert counted(ledger, 14) == []


def test_a_value_without_a_request_is_dropped_in_the_end_and_said() -> None:
    ledger = Ledger("r0", 100)
    ledger.value(7, "B", "clicks", 1.0, 10)
    assert counted(ledger, 10 + 2 * LONGEST_WAIT - 1) == []
    assert ledger.ignored == {}
    assert counted(ledger, 10 + 2 * LONGEST_WAIT) == []
    assert ledger.ignored == {"unexposed": 1}


def test_a_query_that_moved_to_b_later_says_nothing_of_b() -> None:
    ledger = Ledger("r0", 100)
    ledger.expose(7, A, {"error": 0.0}, 10)
    counted(ledger, 11)
    ledger.value(7, "B", "clicks", 1.0, 12)
    assert counted(ledger, 13) == []
    assert ledger.ignored == {"moved": 1}


def test_nothing_counts_before_every_replica_was_asked() -> None:
    ledger = Ledger("r0", 100)
    ledger.expose(7, A, {}, 10)
    both = frozenset({"r1", "r2"})
    assert counted(ledger, 13, both) == []
    for peer in both:
        ledger.answered(peer, ledger.claims(peer, 10), {})
    assert ledger.claims("r1", 10) == []
    assert counted(ledger, 13, both) == [(EXPOSURE, 7)]


def test_a_silent_replica_is_waited_for_a_minute_and_that_is_said() -> None:
    ledger = Ledger("r0", 100)
    ledger.expose(7, A, {}, 10)
    assert counted(ledger, 9 + LONGEST_WAIT, frozenset({"r1"})) == []
    assert counted(ledger, 10 + LONGEST_WAIT, frozenset({"r1"})) == [(EXPOSURE, 7)]
    assert ledger.unconfirmed == 1


def test_of_two_claims_the_earlier_one_wins_on_both_sides() -> None:
    early, late = Ledger("r0", 100), Ledger("r1", 100)
    early.expose(7, A, {}, 10.0)
    late.expose(7, A, {}, 10.5)
    to_late, to_early = early.claims("r1", 10), late.claims("r0", 10)
    late.answered("r0", to_early, early.claimed("r1", to_early))
    early.answered("r1", to_late, late.claimed("r0", to_late))
    assert counted(early, 12, frozenset({"r1"})) == [(EXPOSURE, 7)]
    assert counted(late, 12, frozenset({"r0"})) == []


def test_an_answer_that_was_lost_costs_no_unit() -> None:
    one, other = Ledger("r0", 100), Ledger("r1", 100)
    one.expose(7, A, {}, 10)
    claims = one.claims("r1", 10)
    other.claimed("r0", claims)
    assert other.claimed("r0", claims) == {}


def test_a_full_ledger_takes_nothing_new_and_says_so() -> None:
    ledger = Ledger("r0", 100)
    for unit in range(150):
        ledger.expose(unit, A, {}, 10)
    assert len(counted(ledger, 11)) == 100
    assert ledger.full
    assert len(ledger) == 100


class World:
    """Replicas whose messages get lost, that are killed, start anew and join; and what was counted by all of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.replicas: dict[str, Ledger] = {}
        self.counts: list[tuple[str, int]] = []
        self.number = 0

    def join(self) -> None:
        """A new replica learns from all others before it counts."""
        ledger = Ledger(f"r{self.number}", 10_000)
        self.number += 1
        for other in self.replicas.values():
            ledger.load(other.dump())
        self.replicas[f"r{self.number - 1}"] = ledger

    def kill(self) -> None:
        if len(self.replicas) > 1:
            del self.replicas[self.rng.choice(sorted(self.replicas))]

    def ask(self) -> None:
        unit, metric = self.rng.randrange(40), self.rng.choice([EXPOSURE, EXPOSURE, "clicks"])
        ledger = self.replicas[self.rng.choice(sorted(self.replicas))]
        cell = B if unit % 5 == 0 else A
        if metric == EXPOSURE:
            ledger.expose(unit, cell, {"error": 0.0}, self.now + self.rng.random())
        else:
            ledger.value(unit, cell.arm, metric, 1.0, self.now)

    def talk(self) -> None:
        for name, ledger in self.replicas.items():
            for peer, other in self.replicas.items():
                if peer == name or self.rng.random() < 0.2:  # the question is lost
                    continue
                claims = ledger.claims(peer, 5)
                had = other.claimed(name, claims)
                if self.rng.random() > 0.2:  # or the answer is
                    ledger.answered(peer, claims, had)

    def settle(self) -> None:
        for name, ledger in self.replicas.items():
            self.counts += counted(ledger, self.now, frozenset(self.replicas) - {name}, settling=2.0)


@settings(max_examples=60)
@given(st.integers(0, 1_000_000))
def test_whatever_is_lost_or_killed_nothing_counts_twice(seed: int) -> None:
    world = World(random.Random(seed))
    world.join()
    for _ in range(200):
        world.now += 0.25  # never a minute in all: a replica that is there answers in the end
        move = world.rng.random()
        if move < 0.03:
            world.join()
        elif move < 0.06:
            world.kill()
        else:
            world.ask()
        world.talk()
        world.settle()
    assert len(world.counts) == len(set(world.counts))
    assert world.counts


def test_sums_keep_their_sign_apart_as_counters_may_not_fall() -> None:
    ledger, totals = Ledger("r0", 100), Totals()
    for unit, value in enumerate((2.0, -0.5, 0.0)):
        ledger.expose(unit, A, {"error": 0.0}, 1)
        ledger.value(unit, "A", "rating", value, 1)
    for now in (2, 3):
        totals.add(ledger.name, ledger.settle(now, frozenset(), 0))
    found = totals.values[("first", A), "rating"]
    assert (found.count, found.plus, found.minus, found.squares) == (3, 2.0, 0.5, 4.25)
    assert totals.units == {("first", A): 3}


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    ledger = Ledger("r0", 100)
    ledger.expose(7, A, {}, 10_000)
    assert counted(ledger, 10_001, settling=2.0) == []
    assert counted(ledger, 100, settling=2.0) == []
    assert counted(ledger, 102, settling=2.0) == [(EXPOSURE, 7)]


def test_a_dump_is_learnt_in_pieces_as_it_is_at_once() -> None:
    ledger, again = Ledger("r0", 100), Ledger("r0", 100)
    for unit in range(50):
        ledger.expose(unit, B if unit % 5 == 0 else A, {}, 1)
        ledger.value(unit, "B" if unit % 5 == 0 else "A", "clicks", 1.0, 1)
    for now in (2, 3):
        counted(ledger, now)
    pieces = list(parts(ledger.dump(), most=7))
    assert len(pieces) > 10
    for piece in pieces:
        again.load(piece)
    assert normal(again.dump()) == normal(ledger.dump())


# ---- on disk


def test_the_journal_brings_everything_back_but_a_line_that_was_cut(tmp_path: Path) -> None:
    ledger, journal = Ledger("r0", 100), Journal(tmp_path / "counting")
    journal.name("uid-1", ledger.name)
    for unit, cell in ((1, A), (2, B), (3, A)):
        ledger.expose(unit, cell, {}, 1)
    ledger.value(2, "B", "clicks", 1.0, 1)
    for now in (2, 3):
        counted(ledger, now)
        journal.append("uid-1", ledger.news())
    with (tmp_path / "counting" / "uid-1.jsonl").open("ab") as file:
        file.write(b'{"arm": "A", "split": "0.2", "un')
    again = Ledger("r0", 100)
    read = journal.read("uid-1")
    assert read is not None
    again.load(read)
    assert normal(again.dump()) == normal(ledger.dump())
    journal.name("uid-1", "later")  # after the cut line
    assert (journal.read("uid-1") or {})["ledger"] == "later"


def normal(dump: dict[str, Any]) -> Any:
    return sorted((p["arm"], u) for p in dump["exposed"] for u in p["units"]), {
        m: sorted(u) for m, u in dump["valued"].items()
    }


def test_a_journal_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "counting")
    journal.name("uid-1", "first")
    (tmp_path / "counting" / "uid-1.jsonl").unlink()
    (tmp_path / "counting" / "uid-1.jsonl").mkdir()
    with pytest.raises(OSError, match="uid-1"):
        journal.append("uid-1", [(("", 1), A)])


def test_tests_that_are_over_leave_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for run in ("uid-1", "../uid/2"):
        journal.name(run, "first")
    journal.sweep(["../uid/2"])
    assert journal.read("uid-1") is None
    assert (journal.read("../uid/2") or {})["ledger"] == "first"


# ---- the counter


def config(fraction: float = 0.5, run: str = "uid-1") -> ServingConfig:
    versions = tuple(
        ServedVersion(name=name, type=ModelType.EMBEDDING, uri="file:///x", digest="sha256:0") for name in ("v1", "v2")
    )
    split = ServedSplit(test="t", challenger="v2", fraction=fraction, salt="s", run=run)
    return ServingConfig(
        namespace="n", retriever="r", generation=1, versions=versions, embedding=ServedModel(active="v1", split=split)
    )


def new_counter(folder: Path, process: str, clock: list[float]) -> Counter:
    return Counter(Peers("r0"), Journal(folder), process, 1000, lambda: clock[0])


def ask(counter: Counter, query: str, told: ServingConfig, status: int = 200) -> None:
    assert told.embedding is not None
    counter.exposed(assign(told.embedding, query), 0.020, status)


async def test_a_process_that_is_killed_and_starts_again_counts_no_query_again(tmp_path: Path) -> None:
    clock = [1000.0]
    before = new_counter(tmp_path, "p1", clock)
    before.configured(config())
    for n in range(50):
        ask(before, f"query {n}", config())
    await before.tick()
    after = new_counter(tmp_path, "p2", clock)
    after.configured(config())
    for n in range(60):
        ask(after, f"query {n}", config())
    await after.tick()
    runs = [next(iter(counter.runs())) for counter in (before, after)]
    assert [sum(run.totals.units.values()) for run in runs] == [50, 10]
    assert runs[0].ledger.name == runs[1].ledger.name


async def test_one_that_starts_in_the_middle_and_knows_nothing_opens_a_ledger_of_its_own(tmp_path: Path) -> None:
    clock = [1000.0]
    with_the_test = new_counter(tmp_path / "one", "p1", clock)
    with_the_test.configured(config().model_copy(update={"embedding": ServedModel(active="v1")}))
    with_the_test.configured(config())
    later = new_counter(tmp_path / "other", "p2", clock)
    later.configured(config())
    await with_the_test.tick()
    await later.tick()
    assert next(iter(with_the_test.runs())).ledger.name == "first"
    assert next(iter(later.runs())).ledger.name == "000000001000-p2"


async def test_errors_and_latency_come_with_the_first_request_and_what_clients_do_wrong_is_none(tmp_path: Path) -> None:
    clock = [1000.0]
    counter = new_counter(tmp_path, "p1", clock)
    counter.configured(config(fraction=0.9999))
    ask(counter, "a", config(0.9999))
    ask(counter, "b", config(0.9999), status=503)
    ask(counter, "c", config(0.9999), status=429)
    ask(counter, "d", config(0.9999), status=400)
    counter.valued("a", "clicks", 1.0, "v2")
    counter.valued("b", "clicks", 1.0, "v1")  # an answer of A, while the query belongs to B
    counter.valued("never asked", "clicks", 1.0, None)
    await counter.tick()
    await counter.tick()
    run = next(iter(counter.runs()))
    values = {metric: (s.count, round(s.plus, 9)) for (_, metric), s in run.totals.values.items()}
    assert sum(run.totals.units.values()) == 3
    assert values == {"error": (3, 2.0), "clicks": (1, 1.0), "latency": (1, round(math.log(20), 9))}


async def test_a_split_that_was_away_for_a_moment_is_counted_on(tmp_path: Path) -> None:
    counter = new_counter(tmp_path, "p1", [1000.0])
    for told in (config(), config().model_copy(update={"embedding": ServedModel(active="v1")}), config()):
        counter.configured(told)
        ask(counter, f"query {told.embedding}", config())
    await counter.tick()
    assert sum(next(iter(counter.runs())).totals.units.values()) == 1
    ask(counter, "another", config())
    await counter.tick()
    assert sum(next(iter(counter.runs())).totals.units.values()) == 2


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.00011, 0.07, 0.9999])
def test_the_share_of_a_label_is_the_one_that_is_served(fraction: float) -> None:
    split = ServedSplit(test="t", challenger="v2", fraction=fraction, salt="s")
    served = sum(is_challenged(split, unit) for unit in range(BUCKETS))
    assert float(share_of(split)) == served / BUCKETS


async def test_garbage_of_a_peer_is_refused_and_an_unknown_test_is_said_to_be_so(tmp_path: Path) -> None:
    counter = new_counter(tmp_path, "p1", [1000.0])
    assert counter.claimed({"run": "uid-9", "replica": "r1", "claims": []}) == {"known": False, "had": []}
    assert counter.units("uid-9") == {"ledger": None}
    counter.configured(config())
    for body in (
        {},
        {"run": "uid-1", "replica": "r1", "claims": [[1, 2]]},
        {"run": "uid-1", "replica": "r1", "claims": 3},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            counter.claimed(body)
    claim = Claim(EXPOSURE, 5, A, 1.0)
    row = [claim.metric, claim.unit, claim.cell.arm, claim.cell.split, claim.since]
    assert counter.claimed({"run": "uid-1", "replica": "r1", "claims": [row]}) == {"known": True, "had": []}
