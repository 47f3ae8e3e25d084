"""What labelled queries say of two versions, and when they are asked. Pure: no I/O, no clock."""

from dataclasses import dataclass, field
from enum import StrEnum

from attune.contract import ModelType, ProbeReport

EVERY = 5
"""Rounds, of which one asks the previous version anew; its collection hardly changes."""


class Outcome(StrEnum):
    """What one version made of one query."""

    HIT = "hit"
    MISS = "miss"
    FAILED = "failed"
    """It gave no answer, by its own fault."""
    UNKNOWN = "unknown"
    """Its queue was full, or it took too long: that may be the replica's fault, and counts for nothing."""


def judged(active: Outcome, previous: Outcome) -> tuple[bool, bool] | None:
    """Whether each found it; None where the query says nothing. What both failed at is the fault of neither."""
    if Outcome.UNKNOWN in {active, previous} or active is previous is Outcome.FAILED:
        return None
    return active is Outcome.HIT, previous is Outcome.HIT


@dataclass(slots=True)
class Tally:
    """Counts of one round."""

    queries: int = 0
    hits: int = 0
    previous_hits: int = 0
    lost: int = 0
    won: int = 0

    def add(self, active: bool, previous: bool) -> None:
        self.queries += 1
        self.hits += active
        self.previous_hits += previous
        self.lost += previous and not active
        self.won += active and not previous


@dataclass(eq=False, slots=True)
class Pair:
    """An active version and its previous one, since they answer. `since` is of any clock that only goes forward, in seconds."""

    type: ModelType
    active: str
    previous: str
    since: float
    rounds: int = 0
    """Begun ones."""
    whole: bool = False
    """Whether one was ever finished."""
    report: ProbeReport | None = None
    _known: dict[str, Outcome] = field(default_factory=dict)

    def is_of(self, active: str, previous: str | None) -> bool:
        return (self.active, self.previous) == (active, previous)

    def probed_at(self, now: float, seconds: float) -> bool:
        """Whether it is still young enough to be probed."""
        return now - self.since < seconds

    def begin(self) -> bool:
        """A round. The first, and each fifth one after it, remembers nothing: whether it is such a one."""
        anew = self.rounds % EVERY == 0
        if anew:
            self.forget()
        self.rounds += 1
        return anew

    def forget(self) -> None:
        """What the previous version answered may not be so any more."""
        self._known.clear()

    def known(self, query: str) -> Outcome | None:
        """What the previous version made of this query."""
        return self._known.get(query)

    def remember(self, query: str, outcome: Outcome) -> None:
        """Only an answer is worth remembering."""
        if outcome in {Outcome.HIT, Outcome.MISS}:
            self._known[query] = outcome

    def counted(self, tally: Tally) -> ProbeReport:
        """The newest report."""
        self.report = ProbeReport(
            version=self.active,
            type=self.type,
            previous=self.previous,
            queries=tally.queries,
            hits=tally.hits,
            previous_hits=tally.previous_hits,
            lost=tally.lost,
            won=tally.won,
        )
        return self.report
