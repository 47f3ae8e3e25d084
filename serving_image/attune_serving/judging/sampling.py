"""Which answers are judged: a share of the distinct queries, within bounds on calls and tokens. Pure: no clock, no chance."""

from dataclasses import dataclass, field

import xxhash

from attune.contract import ServedJudge

SHARES = 1_000_000
MINUTE, DAY = 60.0, 86_400.0


def is_sampled(unit: int, share: float) -> bool:
    """The same answer for a query in every replica, and independent of its arm: another hash of the unit."""
    return xxhash.xxh3_64_intdigest(unit.to_bytes(8, "little"), seed=1) % SHARES < share * SHARES


@dataclass(slots=True)
class Budget:
    """How much may still be asked: `per_minute` as a bucket that fills evenly, `tokens_per_day` of the last 24 hours' window."""

    judge: ServedJudge
    spent: int = 0
    """Tokens of the day that has begun."""
    _calls: float = 1.0
    _filled: float = field(default=float("-inf"))
    _day: float = field(default=float("-inf"))

    def take(self, now: float) -> str | None:
        """Take one judgement, or say which bound is reached: rate, or tokens. `now` in seconds."""
        if now - self._day >= DAY:
            self._day, self.spent = now, 0
        if self.spent >= self.judge.tokens_per_day:
            return "tokens"
        most = max(1.0, self.judge.per_minute / 6)
        filled = self._calls + (now - self._filled) * self.judge.per_minute / MINUTE
        self._calls, self._filled = min(most, filled), now
        if self._calls < 1:
            return "rate"
        self._calls -= 1
        return None

    def spend(self, tokens: int) -> None:
        """What a judgement cost."""
        self.spent += tokens
