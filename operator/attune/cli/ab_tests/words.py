"""The numbers of an A/B test in words, the same on the screen and on the page. Pure; the values come from `view`."""

import math
from collections.abc import Callable
from datetime import datetime

from attune.api.display import percent, span
from attune.contract.counting import ERROR, LATENCY
from attune.decide.experiment.statistics.sample_ratio import MISMATCH
from attune.views import ab_tests as views
from attune.views.retrievers import View

MEANINGS = {
    views.BETTER: "better",
    views.WORSE: "worse",
    views.OPEN: "open",
    views.WITHIN: "within margin",
    views.HARMED: "harmed",
    views.NO_VALUES: "no values",
    views.NOT_TESTED: "not tested",
}
NOTHING = "-"
INSTALL = "pip install 'attune[operator,report]'"
"""What brings the libraries of the plot and of the page."""
_MOST_DECIMALS = 6
_SECONDS = (("days", 86400.0, 48 * 3600.0), ("hours", 3600.0, 2 * 3600.0), ("minutes", 60.0, 0.0))
"""Unit of the time axis, its seconds, and from how long a test on."""


def arm(metric: View, which: str) -> str:
    """Mean of arm `a` or `b`: `21.3 ms`, `0.310`."""
    found = metric[which]
    if found is None:
        return NOTHING
    if metric["name"] == LATENCY:
        return f"{found['value']:.1f} ms" if found["value"] < 1000 else f"{found['value']:,.0f} ms"
    return f"{100 * found['value']:.2f}%" if metric["name"] == ERROR else f"{found['value']:.{decimals(metric)}f}"


def tail(metric: View, which: str) -> str | None:
    """`p99 58.2`, in the unit of `arm`, where it is known."""
    found = metric[which]
    return None if found is None or "p99" not in found else f"p99 {found['p99']:.1f}"


def changes(metric: View) -> list[tuple[str, str]]:
    """Change and its interval, `+0.021` and `(-0.035 to +0.077)`: absolute, and relative to A; one where the other says nothing."""
    found, absolute = [], [metric[k] for k in ("difference", "low", "high")]
    if metric["difference"] is not None and metric["name"] == ERROR:
        value, low, high = (_form(None if v is None else 100 * v, "+.2f") for v in absolute)
        found.append(_interval(f"{value} points", low, high))
    elif metric["difference"] is not None and metric["name"] != LATENCY:
        found.append(_interval(*(_form(v, f"+.{decimals(metric)}f") for v in absolute)))
    if metric["percent"] is not None:
        found.append(_interval(*(_form(metric[k], "+.1f", "%") for k in ("percent", "lowPercent", "highPercent"))))
    return found or [(NOTHING, "")]


def _form(value: float | None, form: str, unit: str = "") -> str | None:
    return None if value is None else f"{value:{form}}{unit}"


def _interval(value: str | None, low: str | None, high: str | None) -> tuple[str, str]:
    return str(value), f"({low} to {high})" if low is not None and high is not None else ""


def decimals(metric: View) -> int:
    """So many that half the interval has two digits; 3 where there is none."""
    low, high = metric["low"], metric["high"]
    if low is None or high is None or not math.isfinite(high - low) or high <= low:
        return 3
    return max(0, min(_MOST_DECIMALS, 1 - math.floor(math.log10((high - low) / 2))))


def p_value(value: float | None) -> str:
    """`0.034`, `<0.001`."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def meaning(metric: View) -> str:
    """In words, with the margin of a guardrail."""
    words = MEANINGS[metric["meaning"]]
    if metric["margin"] is None or metric["meaning"] == views.NO_VALUES:
        return words
    margin = percent(round(100 * metric["margin"], 6))
    return words + {views.WITHIN: f" of {margin}", views.HARMED: f" beyond {margin}"}.get(
        metric["meaning"], f", margin {margin}"
    )


def wanted(metric: View) -> str:
    """Which change is good."""
    return "higher is better" if metric["direction"] == "increase" else "lower is better"


def phase(view: View, now: datetime) -> str:
    """`Running 3h20m, ends in 6d20h at the latest`."""
    words = str(view["phase"])
    if view["since"] is not None:
        words += (
            f" {_span(now, view['since'])}" if view["phase"] in {"Running", "Pending"} else _ago(now, view["since"])
        )
    if view["endsAt"] is not None:
        left = (datetime.fromisoformat(view["endsAt"]) - now).total_seconds()
        words += f", ends in {span(left)} at the latest" if left > 0 else ", its time is over"
    return words + (f": winner {view['winner']}" if view["winner"] else "")


def _span(now: datetime, since: str) -> str:
    return span((now - datetime.fromisoformat(since)).total_seconds()) or ""


def _ago(now: datetime, since: str) -> str:
    return f" {_span(now, since)} ago"


def shares(view: View) -> tuple[str, str]:
    """Shares of the queries of A and of B."""
    return percent(round(100 * (1 - view["split"]), 6)) or "", percent(round(100 * view["split"], 6)) or ""


def count(samples: int | None) -> str:
    """`1,204 distinct queries`."""
    return f"{samples or 0:,} distinct {'query' if samples == 1 else 'queries'}"


def version(view: View, which: str) -> str:
    """Name of an arm's version."""
    return str(view[which] or "the active version")


def sample_ratio(view: View) -> str | None:
    """Whether the arms get the shares that they should."""
    p = view["sampleRatioPValue"]
    if p is None:
        return None
    if p < MISMATCH:
        return f"p {p_value(p)}: the arms do not get the shares that they should; nothing is decided"
    return f"p {p_value(p)}: the arms get the shares that they should"


def rules(view: View) -> str:
    """How it is decided."""
    given = view["rules"]
    words = f"{given['method']}, alpha {given['alpha']:g}, {given['correction']}"
    if given.get("samples"):
        words += f", one look at {given['samples']:,} distinct queries per arm"
    return f"{words}; at least {given['minSamples']:,} distinct queries per arm, at most {given['maxDuration']}"


def plot_title(view: View) -> str:
    """Of the plot of the primary metric."""
    metric = views.primary(view)
    unit = " in percent" if views.in_percent(view) else ""
    return f"{metric['name']}: B minus A{unit}, with its {level(metric)} interval at each look ({wanted(metric)})"


def level(metric: View) -> str:
    """How sure its interval is: `97.5%`."""
    return f"{100 * metric['level']:.3g}%"


def promotion(view: View) -> str | None:
    """What became of B after it won."""
    found = view["promotion"]
    if found is None:
        return None
    return f"{found['result']}: {found['message']}" if found.get("message") else str(found["result"])


# ---- axes


def unit_of(seconds: float) -> tuple[str, float]:
    """In what the time of a test is best said."""
    return next((name, size) for name, size, least in _SECONDS if seconds >= least)


def axis_label(view: View) -> Callable[[float], str]:
    """Numbers beside the vertical axis."""
    unit = "%" if views.in_percent(view) else ""
    return lambda value: f"{value:+.3g}{unit}" if value else f"0{unit}"


def ticks_between(low: float, high: float, most: int = 6) -> list[float]:
    """At most so many round numbers between two others."""
    if high <= low:
        return [low]
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
