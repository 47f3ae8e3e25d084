"""SIGTERM: at once where nothing would be lost, deferred to the next safe point where a checkpoint is worth writing."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from attune_trainer.errors import Interrupted


@dataclass
class Termination:
    """Whether the pod is asked to end. Training polls `requested`; every other stage is ended by an exception."""

    requested: bool = False
    deferred: bool = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del frame
        self.requested = True
        if not self.deferred:
            raise self.interrupted(signal.Signals(signum).name)

    def interrupted(self, name: str = "SIGTERM", saved: str = "nothing was half-written") -> Interrupted:
        return Interrupted(
            f"{name}: {saved}; the next attempt goes on from the last checkpoint or starts this stage again."
        )

    def check(self) -> None:
        """Raise Interrupted if the end was asked for."""
        if self.requested:
            raise self.interrupted()

    @contextmanager
    def installed(self) -> Iterator["Termination"]:
        """Answer SIGTERM and SIGINT for the duration; the previous handlers come back afterwards."""
        previous = {sig: signal.signal(sig, self.handle) for sig in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for sig, handler in previous.items():
                signal.signal(sig, handler)

    @contextmanager
    def defer(self) -> Iterator["Termination"]:
        """Within this block a signal only sets `requested`."""
        before, self.deferred = self.deferred, True
        try:
            yield self
        finally:
            self.deferred = before
