"""Ends a training that does nothing any more: a hung file system, a lost peer, a driver that does not come back. Used by `arguments`.

The main thread cannot be asked to end where it hangs inside of a library, so a thread of its own does: it leaves the result and ends
the process, to be retried.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from attune_trainer.errors import Stalled

VARIABLE = "ATTUNE_STALL_SECONDS"
DEFAULT_SECONDS = 1800.0
End = Callable[[Stalled], None]


def limit_seconds() -> float:
    """After how many seconds without progress a training is ended; 0: never."""
    try:
        return max(0.0, float(os.environ.get(VARIABLE, "") or DEFAULT_SECONDS))
    except ValueError:
        return DEFAULT_SECONDS


@dataclass
class StallGuard:
    """`beat` is called with every sign of life; `end` once, when there was none for `limit` seconds."""

    end: End
    limit: float = field(default_factory=limit_seconds)
    clock: Callable[[], float] = time.monotonic
    doing: str = "before the first step"
    _last: float = field(init=False, default=0.0)

    def beat(self, doing: str) -> None:
        self.doing, self._last = doing, self.clock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look for the duration."""
        if self.limit <= 0:
            yield
            return
        self._last = self.clock()
        over = threading.Event()
        thread = threading.Thread(target=self._look, args=(over,), name="stall-guard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()

    def _look(self, over: threading.Event) -> None:
        while not over.wait(min(5.0, self.limit / 4)):
            silent = self.clock() - self._last
            if silent > self.limit:
                self.end(
                    Stalled(
                        f"no progress for {silent:.0f} s, {self.doing}; the process was ended and the next attempt goes on from the "
                        f"last checkpoint. Where steps really take that long, set {VARIABLE} (0: never end)."
                    )
                )
                return
