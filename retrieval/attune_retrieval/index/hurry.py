"""How often a store is tried again: patiently where a Job works, hardly at all where somebody waits for an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict

_HURRIED: ContextVar[bool] = ContextVar("hurried", default=False)


class Tries(TypedDict):
    """As stamina takes them: seconds, and a number of attempts."""

    attempts: int
    timeout: float
    wait_initial: float
    wait_max: float


HURRIED = Tries(attempts=2, timeout=1.0, wait_initial=0.02, wait_max=0.1)
"""A blip is passed over; what is down is said at once, so that another version, or another try, can answer."""


@contextmanager
def hurried() -> Iterator[None]:
    """Whatever is asked inside, somebody waits for."""
    token = _HURRIED.set(True)
    try:
        yield
    finally:
        _HURRIED.reset(token)


def tries(attempts: int, wait_initial: float, wait_max: float) -> Tries:
    """These, unless somebody waits."""
    if _HURRIED.get():
        return HURRIED
    return Tries(attempts=attempts, timeout=60.0, wait_initial=wait_initial, wait_max=wait_max)
