"""The tests that run now, and the loop that counts for them: learn from the others, claim, write down, count. Made by `__main__`."""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from attune.contract import ModelType, ServedSplit, ServingConfig
from attune.contract.counting import ERROR, LATENCY
from attune_serving.assign import BUCKETS, Arm, Assignment, assign
from attune_serving.counting.journal import Journal
from attune_serving.counting.ledger import FIRST, LONGEST_WAIT, SETTLING_SECONDS, Cell, Ledger, parts
from attune_serving.counting.peers import Peers, claims_of, rows_of
from attune_serving.counting.totals import Run, Totals

log = structlog.get_logger(__name__)

TICK = 0.5
MOST_CLAIMS = 2000
"""Claims in one request to another replica."""
REPLICAS_A_TICK = 20
"""With more replicas than this a tick is longer: each asks every other."""
AFTERGLOW = 600.0
"""Seconds that the sums of a test are still shown after its end, for the last scrapes."""


def wall_clock() -> float:
    """Seconds of the wall clock, which replicas share: the earlier of two claims wins."""
    return datetime.now(UTC).timestamp()


@dataclass(slots=True)
class _Open:
    """A test, and how far its ledger is."""

    shown: Run
    opened: float
    learnt_from: set[str] = field(default_factory=set)
    ready: bool = False
    ended: float | None = None


class Counter:
    """Counts for the tests of one replica. All methods are called on the event loop."""

    def __init__(
        self, peers: Peers, journal: Journal, process: str, most: int, clock: Callable[[], float] = wall_clock
    ) -> None:
        self._peers = peers
        self._journal = journal
        self._process = process
        self._most = most
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._config: ServingConfig | None = None
        self._wake = asyncio.Event()

    def runs(self) -> Iterator[Run]:
        """For the metrics."""
        return (known.shown for known in self._open.values())

    def configured(self, config: ServingConfig) -> None:
        """This is served from now on. A test that is there at the first call began before this process."""
        first, self._config = self._config is None, config
        splits = {run_of(split): split for split in _splits(config)}
        for run, split in splits.items():
            if run not in self._open:
                name = f"{self._clock():012.0f}-{self._process}" if first else FIRST
                ledger = Ledger(self._peers.replica, self._most, name)
                self._open[run] = _Open(Run(split.test, run, ledger, Totals()), self._clock())
        for run, known in self._open.items():
            if run in splits:
                known.ended = None  # the split was away for a moment, and is back
            elif known.ended is None:
                known.ended = self._clock()
        self._wake.set()

    # ---- what the app tells

    def exposed(self, by: Assignment, seconds: float, status: int) -> None:
        """A request was answered in a test. What the client did wrong says nothing of a version; a full queue (429) does.

        Where the previous version answered in place of arm A's, A could not: an error, with the time that the user waited. Left
        out, the queries of A would be fewer than its share, and those that it answered better than they are.
        """
        if by.split is None or by.arm is None or by.unit is None or not (status in {200, 429} or status >= 500):
            return
        known = self._running(run_of(by.split))
        if known is None:
            return
        values = {ERROR: 0.0 if status == 200 and by.instead_of is None else 1.0}
        if status == 200:
            values[LATENCY] = math.log(max(seconds, 1e-6) * 1000)
        cell = Cell(by.arm, share_of(by.split))
        known.shown.ledger.expose(by.unit, cell, values, self._clock())

    def valued(self, query: str, metric: str, value: float, version: str | None) -> None:
        """An application's word on an answer, for every test that the answer took part in.

        The arm is that of the version that answered; where it is not named, that to which the query belongs now.
        """
        config = self._config
        for model_type in ModelType:
            model = config.of(model_type) if config is not None else None
            if config is None or model is None or model.split is None:
                continue
            by = assign(model, query)
            arm: Arm | None = by.arm
            named = config.version(version) if version is not None else None
            if named is not None and named.type is model_type:
                arm = "B" if named.name == model.split.challenger else "A" if named.name == model.active else None
            self._value(model.split, by.unit, arm, metric, value)

    def judged(self, by: Assignment, metric: str, value: float) -> None:
        """The judge's word on the very answer that `by` gave."""
        if by.split is not None:
            self._value(by.split, by.unit, by.arm, metric, value)

    def _value(self, split: ServedSplit, unit: int | None, arm: Arm | None, metric: str, value: float) -> None:
        known = self._running(run_of(split))
        if known is not None and unit is not None and arm is not None:
            known.shown.ledger.value(unit, arm, metric, value, self._clock())

    def _running(self, run: str) -> _Open | None:
        known = self._open.get(run)
        return known if known is not None and known.ended is None else None

    # ---- what other replicas ask

    def claimed(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/peer/claims. ValueError, TypeError or KeyError for what is no such thing."""
        claims, peer = claims_of(body["claims"]), str(body["replica"])
        known = self._open.get(str(body["run"]))
        if known is None:
            return {"known": False, "had": []}
        return {"known": True, "had": rows_of(known.shown.ledger.claimed(peer, claims))}

    def units(self, run: str) -> dict[str, Any]:
        """GET /v1/peer/units."""
        known = self._open.get(run)
        return known.shown.ledger.dump() if known is not None else {"ledger": None}

    # ---- the loop

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if not self._open:
                self._wake.clear()
                await self._wake.wait()
            pause = TICK
            try:
                pause = await self.tick()
            except Exception:
                log.exception("counting failed; it goes on")
            await asyncio.sleep(pause)

    async def tick(self) -> float:
        """One round for every test; returns the pause until the next one, in seconds."""
        peers = self._peers.known()
        now = self._clock()
        for run, known in list(self._open.items()):
            if known.ended is not None and now - known.ended > AFTERGLOW:
                del self._open[run]
                await asyncio.to_thread(self._journal.sweep, list(self._open))
                continue
            await self._learn(known, peers)
            if known.ready:
                await self._count(known, peers)
        return TICK * max(1.0, len(peers or ()) / REPLICAS_A_TICK)

    async def _learn(self, known: _Open, peers: dict[str, str] | None) -> None:
        """First from the disk, then from every replica, each once. Nothing is counted before, unless one stays silent for long."""
        run, ledger = known.shown.run, known.shown.ledger
        if not known.learnt_from:
            known.learnt_from.add(self._peers.replica)
            written = await asyncio.to_thread(self._journal.read, run)
            if written is not None:
                await _load(ledger, written)
                ledger.news()  # it is written already
                self._adopt(ledger, written["ledger"])
            await asyncio.to_thread(self._journal.name, run, ledger.name)
        strangers = {name: address for name, address in (peers or {}).items() if name not in known.learnt_from}
        await asyncio.gather(*(self._ask_all(known, name, address) for name, address in strangers.items()))
        heard = peers is not None and known.learnt_from >= set(peers)
        known.ready = known.ready or heard or self._clock() - known.opened >= LONGEST_WAIT

    async def _ask_all(self, known: _Open, name: str, address: str) -> None:
        """Learn what one replica knows. It is asked again at the next tick if it is silent, and never if it has answered."""
        run, ledger = known.shown.run, known.shown.ledger
        told = await self._peers.units(address, run)
        if told is None:
            return
        known.learnt_from.add(name)
        if told.get("ledger") is not None:
            with suppress(KeyError, TypeError, ValueError):
                await _load(ledger, told)
                if self._adopt(ledger, str(told["ledger"])):
                    await asyncio.to_thread(self._journal.name, run, ledger.name)

    def _adopt(self, ledger: Ledger, name: str) -> bool:
        """The elder name holds: the one the test began with, else the one of the earlier start, on both sides alike."""
        elder = min(ledger.name, name, key=lambda one: (one != FIRST, one))
        changed, ledger.name = elder != ledger.name, elder
        return changed

    async def _count(self, known: _Open, peers: dict[str, str] | None) -> None:
        run, ledger = known.shown.run, known.shown.ledger
        await asyncio.gather(*(self._claim(known, name, address) for name, address in (peers or {}).items()))
        settling = 0.0 if self._peers.alone else SETTLING_SECONDS
        counted = ledger.settle(self._clock(), None if peers is None else frozenset(peers), settling)
        news = ledger.news()
        await asyncio.to_thread(self._journal.append, run, news)
        known.shown.totals.add(ledger.name, counted)

    async def _claim(self, known: _Open, name: str, address: str) -> None:
        ledger = known.shown.ledger
        while claims := ledger.claims(name, MOST_CLAIMS):
            had = await self._peers.claim(address, known.shown.run, claims)
            if had is None:
                return
            ledger.answered(name, claims, had)


async def _load(ledger: Ledger, dump: Mapping[str, Any]) -> None:
    """Requests are answered in between."""
    for part in parts(dump):
        ledger.load(part)
        await asyncio.sleep(0)


def run_of(split: ServedSplit) -> str:
    """What tells this test from all others: the uid of its ABTest, or its name where it has none."""
    return split.run or split.test


def share_of(split: ServedSplit) -> str:
    """B's share as it is served, in whole buckets, as the text of a label."""
    return f"{math.ceil(split.fraction * BUCKETS) / BUCKETS:g}"


def _splits(config: ServingConfig) -> Sequence[ServedSplit]:
    models = [config.of(model_type) for model_type in ModelType]
    return [model.split for model in models if model is not None and model.split is not None]
