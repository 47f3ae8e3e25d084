"""When a version is asked no more, and when again: a circuit breaker over its last attempts. Pure: no I/O, no clock. Used by `guarding`.

    closed     every request may ask it; 8 failures among the last 10 attempts open the breaker
    open       nobody asks it for 10 s, after each trial that fails twice as long, up to a minute
    half-open  that time is over: one request at a time tries it; 3 successes in a row close the breaker, one failure opens it again

It counts and has no rate or time in it, so that it means the same at one request a minute and at 200 a second: a total outage opens
it with the 8th attempt. A version that fails by chance in 5% of requests opens it within 180,000 attempts with a probability of
2.1e-4 (computed exactly in the tests; at 2%: 1.6e-7).
"""

from collections import Counter, deque
from dataclasses import dataclass, field

WINDOW, MOST_FAILED = 10, 8
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 60.0
"""Seconds."""
WINS = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed: one word for metrics, and the words of the error."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Pass:
    """Leave to ask the version once. What comes of it is told with it; one from before the breaker moved is worth nothing."""

    era: int
    trial: bool


@dataclass(slots=True)
class Breaker:
    """Of one version in one replica. `now` is any clock that only goes forward, in seconds."""

    open: bool = False
    """Also while half-open."""
    last: deque[Failure | None] = field(default_factory=lambda: deque(maxlen=WINDOW))
    """The newest attempts, None for those that went well."""
    _era: int = 0
    _until: float = 0.0
    _pause: float = FIRST_PAUSE
    _trying: bool = False
    _wins: int = 0

    @property
    def failures(self) -> int:
        """Failed ones of the newest attempts."""
        return sum(one is not None for one in self.last)

    @property
    def commonest(self) -> str:
        """What went wrong most often in the newest attempts; empty where nothing did."""
        reasons = Counter(one.reason for one in self.last if one is not None)
        return reasons.most_common(1)[0][0] if reasons else ""

    @property
    def newest(self) -> Failure | None:
        """The newest failure among them."""
        return next((one for one in reversed(self.last) if one is not None), None)

    def ask(self, now: float) -> Pass | None:
        """May the version be asked? After a pass `succeeded`, `failed` or `dropped` must follow; `dropped` may follow the others."""
        if not self.open:
            return Pass(self._era, trial=False)
        if now < self._until or self._trying:
            return None
        self._trying = True
        return Pass(self._era, trial=True)

    def aside(self) -> Pass | None:
        """For a request that only this version can answer, and that is sent to it anyway: counted while closed, else no trial."""
        return None if self.open else Pass(self._era, trial=False)

    def succeeded(self, held: Pass) -> None:
        """The version answered."""
        if held.era != self._era:
            return
        if not held.trial:
            self.last.append(None)
            return
        self._trying = False
        self._wins += 1
        if self._wins == WINS:
            self.last.clear()
            self._turn(opened=False)

    def failed(self, held: Pass, failure: Failure, now: float) -> None:
        """The version did not answer, and the previous one did."""
        if held.era != self._era:
            return
        self.last.append(failure)
        if held.trial:
            self._trying, self._wins = False, 0
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            self._until = now + self._pause
        elif self.failures >= MOST_FAILED:
            self._turn(opened=True)
            self._pause = FIRST_PAUSE
            self._until = now + self._pause

    def dropped(self, held: Pass) -> None:
        """Nothing can be said: the client left or was wrong, or the previous version could not answer either."""
        if held.era == self._era and held.trial:
            self._trying = False

    def _turn(self, *, opened: bool) -> None:
        self.open = opened
        self._era += 1
        self._trying, self._wins = False, 0
