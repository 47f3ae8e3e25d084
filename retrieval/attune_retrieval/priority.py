"""Work that others are not to notice, in a process that answers them meanwhile."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")
NICENESS = 10
"""A tenth of what others get while they compute without a pause: not noticed by them, and it still comes to an end."""


def gently(work: Callable[[], T]) -> T:
    """Do it in a thread of its own that steps back for all others. What it starts steps back too, for as long as it lives."""

    def stepping_back() -> T:
        with suppress(AttributeError, OSError):  # only Linux has a priority for each thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        return work()

    with ThreadPoolExecutor(1, thread_name_prefix="gently") as pool:
        return pool.submit(stepping_back).result()
