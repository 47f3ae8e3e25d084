"""Alerts on their way from the webhook to a decision. In memory: whoever sent one is told only after it was dealt with, or sends it again.

Filled by `telemetry.webhook`, read by `observe_retriever`, emptied by `reconcile` after the status was written.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from attune.observation import Alert

MOST_OF_ONE, MOST = 64, 2048
"""Alerts that wait, of one Retriever and in all. More are refused: Alertmanager tries again."""
Place = tuple[str, str]
"""Namespace and name of a Retriever."""


DEPOSED = "deposed"
"""The answer where this process does not lead any more."""


class InboxFull(Exception):
    """More alerts wait than is sensible."""


@dataclass(slots=True)
class _Box:
    """What waits for one Retriever: each alert once, with all who wait for the answer."""

    waiting: dict[Alert, list[asyncio.Future[str]]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Inbox:
    """Used on one event loop."""

    def __init__(self) -> None:
        self._boxes: dict[Place, _Box] = {}

    def put(self, place: Place, alert: Alert) -> asyncio.Future[str]:
        """Resolved with what came of it. The same alert twice is one. Raises InboxFull."""
        box = self._boxes.setdefault(place, _Box())
        if alert not in box.waiting and (len(box.waiting) >= MOST_OF_ONE or self.waiting >= MOST):
            raise InboxFull(f"{len(box.waiting)} alerts about {place[0]}/{place[1]} wait, {self.waiting} in all")
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        box.waiting.setdefault(alert, []).append(answer)
        box.changed.set()
        return answer

    def alerts(self, place: Place) -> tuple[Alert, ...]:
        """Those that wait, in the order in which they came."""
        box = self._boxes.get(place)
        return tuple(box.waiting) if box is not None else ()

    async def until(self, place: Place, wanted: Callable[[Alert], bool]) -> None:
        """Returns when an alert waits that is wanted; for ever otherwise. Nothing may wait when it is called first."""
        box = self._boxes.setdefault(place, _Box())
        while not any(map(wanted, box.waiting)):
            box.changed.clear()
            await box.changed.wait()

    def settle(self, place: Place, alerts: Iterable[Alert], outcome: Callable[[Alert], str]) -> None:
        """These were dealt with: whoever waits is told."""
        box = self._boxes.get(place)
        for alert in alerts if box is not None else ():
            for answer in box.waiting.pop(alert, ()) if box is not None else ():
                if not answer.done():
                    answer.set_result(outcome(alert))
        if box is not None and not box.waiting:
            self._boxes.pop(place)

    def clear(self) -> None:
        """This process does not lead any more: whoever waits is refused, and asks another one."""
        for box in self._boxes.values():
            for answers in box.waiting.values():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(DEPOSED)
        self._boxes.clear()

    @property
    def waiting(self) -> int:
        """How many alerts wait, in all."""
        return sum(len(box.waiting) for box in self._boxes.values())
