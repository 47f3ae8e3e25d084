"""Short texts for `kubectl get`: a column shows one stored field, and numbers as they are stored are too long.

`summary` in a status is made from the other fields whenever a status is written; nothing reads it.
"""

from collections.abc import Callable
from typing import Any

from pydantic import computed_field


def shown(method: Callable[[Any], Any]) -> property:
    """A field of status that is made from the others when it is written; what is read is ignored."""
    return computed_field(description=(method.__doc__ or "").strip())(property(method))


def percent(value: float | None) -> str | None:
    """`43%`; below 10 with one decimal."""
    if value is None:
        return None
    return f"{value:.0f}%" if value >= 10 or value == round(value) else f"{value:.1f}%"


def change(value: float | None) -> str | None:
    """`+12.5%`."""
    return None if value is None else f"{value:+.1f}%"


def score(value: float | None) -> str | None:
    """`0.871`."""
    return None if value is None else f"{value:.3f}"


def span(seconds: float | None) -> str | None:
    """`45s`, `12m`, `3h20m`, `2d5h`: two units at most, as kubectl's AGE."""
    if seconds is None:
        return None
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole}s"
    if whole < 2 * 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}m{rest}s" if minutes < 10 and rest else f"{minutes}m"
    if whole < 48 * 3600:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours}h{rest}m" if rest else f"{hours}h"
    days, rest = divmod(whole // 3600, 24)
    return f"{days}d{rest}h" if rest else f"{days}d"
