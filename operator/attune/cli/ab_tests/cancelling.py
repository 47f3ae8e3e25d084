"""`attune test cancel`: spec.cancel of an ABTest, and what became of it. As `moving`, it asks, and waits for the operator."""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any

from attune.cli.moving import ASKED, LOOK_SECONDS, TIMEOUT
from attune.cli.session import FAILED, OK, TIMED_OUT, Problem, Say, Session
from attune.errors import ClusterError
from attune.objects import Manifest
from attune.views.ab_tests import TERMINAL
from attune.views.retrievers import phase_of

CANCELLED = "Cancelled"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which test, and how long to wait for its end."""

    test: str
    wait: bool = True
    timeout: float = 60.0


def exit_code(answer: dict[str, Any]) -> int:
    """1 where the test ended otherwise, 3 where no answer came in time."""
    return {CANCELLED: OK, ASKED: OK, TIMEOUT: TIMED_OUT}.get(answer["result"], FAILED)


async def cancel(session: Session, asked: Asked, say: Say) -> dict[str, Any]:
    """Ask, and wait until it has ended: test, before, result (Cancelled, Asked, Timeout, or as it ended meanwhile), message."""
    test = await session.get("ABTest", asked.test)
    before = phase_of(test)
    if before == CANCELLED:
        return _answer(test, before, CANCELLED, f"it is cancelled already: {_said(test)}")
    if before in TERMINAL:
        raise Problem(f"{asked.test} has ended already ({before}: {_said(test)}); there is nothing to cancel")
    await session.merge("ABTest", asked.test, {"spec": {"cancel": True}})
    say(f"{asked.test}: asked for; it is {before}")
    if not asked.wait:
        return _answer(test, before, ASKED, f"`kubectl attune test show {asked.test}` has the answer")
    return await _waited(session, asked, before)


async def _waited(session: Session, asked: Asked, before: str) -> dict[str, Any]:
    until, why = monotonic() + asked.timeout, "the operator has not taken it up; does it run?"
    while True:
        try:
            test = await session.get("ABTest", asked.test)
        except ClusterError as error:
            if not error.transient:
                raise
            test, why = {}, str(error)
        if phase_of(test) in TERMINAL:
            return _answer(test, before, phase_of(test), _said(test))
        if monotonic() > until:
            return {
                "test": asked.test,
                "before": before,
                "result": TIMEOUT,
                "message": f"no answer after {asked.timeout:g} s, the request stands: {why}",
            }
        await asyncio.sleep(LOOK_SECONDS)


def _said(test: Manifest) -> str:
    status = test.get("status") or {}
    winner = f"winner {status['winner']}, " if status.get("winner") else ""
    return winner + str(status.get("message") or status.get("reason") or "no reason was given")


def _answer(test: Manifest, before: str, result: str, message: str) -> dict[str, Any]:
    status = test.get("status") or {}
    return {
        "test": test["metadata"]["name"],
        "before": before,
        "result": result,
        "message": message,
        "samplesA": status.get("samplesA"),
        "samplesB": status.get("samplesB"),
    }
