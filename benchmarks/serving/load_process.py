"""`Load` in a process of its own: its answers are not held up by what else the measuring process does. Needs tests/support on the path."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from load import Answer, Load  # type: ignore[import-not-found]


@dataclass
class LoadProcess:
    """`rate` requests a second, round robin over `addresses` and `bodies`, until `stop`. Moments are of `time.monotonic`."""

    addresses: Sequence[str]
    path: str
    bodies: Sequence[dict[str, Any]]
    rate: float

    def start(self) -> "LoadProcess":
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(
            target=_run, args=(there, list(self.addresses), self.path, list(self.bodies), self.rate)
        )
        self._process.start()
        self._here.recv()
        return self

    def stop(self) -> list[Answer]:
        """All answers, in the order they were asked for."""
        self._here.send("stop")
        answers: list[Answer] = self._here.recv()
        self._process.join()
        return answers


def _run(pipe: Connection, addresses: list[str], path: str, bodies: list[dict[str, Any]], rate: float) -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # also where the measuring process steps back
    load = Load(lambda: addresses, lambda n: (path, bodies[n % len(bodies)]), rate, keep_bodies=False).start()
    pipe.send("started")
    pipe.recv()
    pipe.send(load.stop())
