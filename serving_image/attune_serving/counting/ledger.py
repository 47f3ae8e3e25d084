"""Which queries of one test were counted, and in which arm: the rule that every unit counts once. Pure: no I/O, no clock.

A unit is a distinct query, known by its 64-bit hash; a metric has at most one value of each. What comes first waits: every other
replica is asked whether it counted, or wants to count, the same. The earlier claim wins, by (time, name of the replica), on both sides
alike; only then it counts. So a kill at any moment may lose a unit, and never counts one twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from attune_serving.assign import Arm

EXPOSURE = ""
"""In place of a metric's name: the first request of a query."""
SETTLING_SECONDS = 2.0
"""How old a claim is at least when it counts, where there may be other replicas: so long it may take to hear of a new one."""
LONGEST_WAIT = 60.0
"""After so long a replica that cannot be asked is not waited for any more, nor a value whose query was never seen."""
FIRST = "first"
"""Name of the ledger that began with its test. One that began later, knowing nothing, is named after its start."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a unit counts: its arm, and B's share when it was first seen."""

    arm: Arm
    split: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One replica's word that it wants to count something, since a time (seconds of the wall clock)."""

    metric: str
    unit: int
    cell: Cell
    since: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Why a claim is not granted: whose it is, since when that one claims it, and the cell in which it counts."""

    cell: Cell
    owner: str
    since: float


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that counts now."""

    unit: int
    metric: str
    cell: Cell
    values: Mapping[str, float]


@dataclass(slots=True)
class _Waiting:
    """Something that is about to count. `cell` is None for a value whose query is not known yet."""

    arm: Arm
    cell: Cell | None
    values: Mapping[str, float]
    since: float
    asked: set[str] = field(default_factory=set)


class Ledger:
    """One test in one replica. At most `most` entries: beyond, nothing new is taken, and `full` says so."""

    def __init__(self, replica: str, most: int, name: str = FIRST) -> None:
        self.name = name
        self.full = False
        self.unconfirmed = 0
        self.ignored: dict[str, int] = {}
        """Values that do not count, by reason: unexposed, moved."""
        self._replica = replica
        self._most = most
        self._cells: list[Cell] = []
        self._known: dict[int, int] = {}
        self._valued: dict[str, set[int]] = {}
        self._size = 0
        self._waiting: dict[Key, _Waiting] = {}
        self._promised: dict[Key, tuple[str, float]] = {}
        self._now = 0.0
        self._news: list[tuple[Key, Cell | None]] = []

    # ---- what this replica sees

    def expose(self, unit: int, cell: Cell, values: Mapping[str, float], now: float) -> None:
        """A request of the test was answered; only the first one of a query matters."""
        if unit in self._known or (EXPOSURE, unit) in self._waiting or self._is_full():
            return
        self._waiting[EXPOSURE, unit] = _Waiting(cell.arm, cell, values, now)

    def value(self, unit: int, arm: Arm, metric: str, value: float, now: float) -> None:
        """A value of a metric came in for an answer of this arm; only the first one of a query matters."""
        if unit in self._valued.get(metric, ()) or (metric, unit) in self._waiting or self._is_full():
            return
        self._waiting[metric, unit] = _Waiting(arm, None, {metric: value}, now)

    # ---- the conversation with the other replicas

    def claims(self, peer: str, most: int) -> list[Claim]:
        """What this peer has not been asked yet, oldest first."""
        found: list[Claim] = []
        for (metric, unit), waiting in self._waiting.items():
            if waiting.cell is not None and peer not in waiting.asked:
                found.append(Claim(metric, unit, waiting.cell, waiting.since))
                if len(found) == most:
                    break
        return found

    def answered(self, peer: str, claims: Iterable[Claim], had: Mapping[Key, Kept]) -> None:
        """What the peer said: what is in `had` is somebody else's; the rest is ours as far as it is concerned."""
        for claim in claims:
            key = (claim.metric, claim.unit)
            waiting = self._waiting.get(key)
            if key in had:
                self._waiting.pop(key, None)
                self._promised[key] = (had[key].owner, had[key].since)
                self._learn(key, had[key].cell)
            elif waiting is not None and waiting.since == claim.since:
                waiting.asked.add(peer)

    def claimed(self, peer: str, claims: Iterable[Claim]) -> dict[Key, Kept]:
        """Another replica's claims: those that it must not count, and whose they are. The rest is granted."""
        had: dict[Key, Kept] = {}
        for claim in claims:
            key = (claim.metric, claim.unit)
            kept = self._kept(key, claim, peer)
            if kept is not None:
                had[key] = kept
                continue
            self._waiting.pop(key, None)
            self._promised[key] = (peer, claim.since)
            self._learn(key, claim.cell)
        return had

    def _kept(self, key: Key, claim: Claim, peer: str) -> Kept | None:
        """Whose it is, if not that peer's; None: it may have it.

        What was promised to one claim goes over to an earlier one: who made the later claim must ask the earlier one, too, and is refused.
        """
        promised = self._promised.get(key)
        if promised is not None:
            owner, since = promised
            return None if owner == peer or (claim.since, peer) < (since, owner) else Kept(claim.cell, owner, since)
        metric, unit = key
        if metric == EXPOSURE and unit in self._known:
            return Kept(self._cells[self._known[unit]], self._replica, 0.0)
        if metric != EXPOSURE and unit in self._valued.get(metric, ()):
            return Kept(claim.cell, self._replica, 0.0)
        mine = self._waiting.get(key)
        if mine is not None and mine.cell is not None and (mine.since, self._replica) < (claim.since, peer):
            return Kept(mine.cell, self._replica, mine.since)
        return None

    # ---- counting

    def settle(self, now: float, peers: frozenset[str] | None, settling: float = SETTLING_SECONDS) -> list[Counted]:
        """What counts from now on. `peers` None: nobody knows yet who they are."""
        if now < self._now:  # the clock was set back: what was to come is now
            for waiting in self._waiting.values():
                waiting.since = min(waiting.since, now)
        self._now = now
        self._find_cells(now)
        done = [
            (key, w) for key, w in self._waiting.items() if w.cell is not None and self._is_due(w, now, peers, settling)
        ]
        counted = []
        for key, waiting in done:
            del self._waiting[key]
            assert waiting.cell is not None
            self.unconfirmed += peers is None or not peers <= waiting.asked
            self._learn(key, waiting.cell)
            counted.append(Counted(key[1], key[0], waiting.cell, waiting.values))
        if self._promised:
            self._promised = {k: p for k, p in self._promised.items() if now - p[1] < 2 * LONGEST_WAIT}
        return counted

    def _is_due(self, waiting: _Waiting, now: float, peers: frozenset[str] | None, settling: float) -> bool:
        age = now - waiting.since
        return age >= LONGEST_WAIT or (age >= settling and peers is not None and peers <= waiting.asked)

    def _find_cells(self, now: float) -> None:
        """Values follow their query's first request; those of another arm, or without a request, are dropped in time."""
        for key, waiting in list(self._waiting.items()):
            if waiting.cell is not None:
                continue
            number = self._known.get(key[1])
            if number is None:
                if now - waiting.since >= 2 * LONGEST_WAIT:
                    self._ignore(key, "unexposed")
            elif self._cells[number].arm != waiting.arm:
                self._ignore(key, "moved")  # answered by B after the split was raised, and counted in A before
            else:
                waiting.cell = self._cells[number]

    def _ignore(self, key: Key, reason: str) -> None:
        del self._waiting[key]
        self.ignored[reason] = self.ignored.get(reason, 0) + 1

    # ---- what is known

    @property
    def is_empty(self) -> bool:
        return not self._size

    def dump(self) -> dict[str, Any]:
        """Everything that is known, for a replica that knows nothing yet."""
        by_cell: dict[int, list[int]] = {}
        for unit, number in self._known.items():
            by_cell.setdefault(number, []).append(unit)
        units = [
            {"arm": self._cells[n].arm, "split": self._cells[n].split, "units": found} for n, found in by_cell.items()
        ]
        return {"ledger": self.name, "exposed": units, "valued": {m: list(found) for m, found in self._valued.items()}}

    def load(self, dump: Mapping[str, Any]) -> None:
        """Learn what another replica, or this one before its start, knew. What waits here and is known there is dropped."""
        for part in dump["exposed"]:
            cell = Cell(part["arm"], part["split"])
            for unit in part["units"]:
                self._waiting.pop((EXPOSURE, unit), None)
                self._learn((EXPOSURE, unit), cell)
        for metric, found in dump["valued"].items():
            for unit in found:
                self._waiting.pop((metric, unit), None)
                self._learn((metric, unit), None)

    def news(self) -> list[tuple[Key, Cell | None]]:
        """What was learnt since the last call, for the journal."""
        found, self._news = self._news, []
        return found

    def __len__(self) -> int:
        """Distinct queries that are known to count."""
        return len(self._known)

    def waiting(self) -> Iterator[Key]:
        """What has not been counted yet."""
        return iter(self._waiting)

    def _is_full(self) -> bool:
        if self._size + len(self._waiting) >= self._most:
            self.full = True
        return self.full

    def _learn(self, key: Key, cell: Cell | None) -> None:
        metric, unit = key
        if metric != EXPOSURE:
            found = self._valued.setdefault(metric, set())
            if unit in found:
                return
            found.add(unit)
        elif cell is None or unit in self._known:
            return
        else:
            if cell not in self._cells:
                self._cells.append(cell)
            self._known[unit] = self._cells.index(cell)
        self._size += 1
        self._news.append((key, cell))


def parts(dump: Mapping[str, Any], most: int = 20_000) -> Iterator[dict[str, Any]]:
    """A dump in pieces, each of which is learnt in some hundredths of a second."""
    for part in dump["exposed"]:
        for start in range(0, len(part["units"]), most):
            yield {"exposed": [part | {"units": part["units"][start : start + most]}], "valued": {}}
    for metric, units in dump["valued"].items():
        for start in range(0, len(units), most):
            yield {"exposed": [], "valued": {metric: units[start : start + most]}}
