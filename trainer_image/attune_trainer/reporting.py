"""Progress of a stage: throttled, with an estimate of the time left. Every stage reports through one Reporter.

In a pod the lines go to standard output, where the operator reads the tail of the log; by hand a progress bar.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from attune.contract import Progress, Stage, progress_line

Emit = Callable[[Progress], None]


def print_progress(progress: Progress) -> None:
    """One JSON line on standard output, flushed: a pod that is killed has said how far it was."""
    sys.stdout.write(progress_line(progress) + "\n")
    sys.stdout.flush()


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Reporter:
    """Passes on the first and the last progress, and between them at most one every `interval` seconds."""

    stage: Stage
    emit: Emit = print_progress
    interval: float = 3.0
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = _utc_now
    _started: float = field(init=False)
    _emitted_at: float | None = field(init=False, default=None)
    _held: Progress | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def update(self, percent: float, **details: float | None) -> None:
        """Report `percent` of this stage (0..100) and, in training, epoch, step, loss and examples_per_second.

        The time left is extrapolated from the time spent, unless `estimated_remaining_seconds` is given.
        """
        percent = min(100.0, max(0.0, percent))
        details.setdefault("estimated_remaining_seconds", self._remaining(percent))
        rounded = {name: None if value is None else round(value, 4) for name, value in details.items()}
        progress = Progress.model_validate(
            {"stage": self.stage.value, "percent": round(percent, 1), "updated_at": self.now(), **rounded}
        )
        due = self._emitted_at is None or self.clock() - self._emitted_at >= self.interval
        self._held = progress
        if due:
            self._flush()

    def part(self, start: float, end: float) -> Callable[[float], None]:
        """A function that takes 0..1 of a sub-task and reports it as `start`..`end` percent of the stage."""
        return lambda share: self.update(start + (end - start) * min(1.0, max(0.0, share)))

    def close(self) -> None:
        """Pass on what throttling held back, so that the last state is always seen."""
        if self._held is not None:
            self._flush()

    def _flush(self) -> None:
        if self._held is not None:
            self.emit(self._held)
        self._held, self._emitted_at = None, self.clock()

    def _remaining(self, percent: float) -> float | None:
        if percent <= 0:
            return None
        return (self.clock() - self._started) * (100.0 - percent) / percent
