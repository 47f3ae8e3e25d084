"""Alerts of Alertmanager: which one acts, what is noted of it in status, what came of it. Pure; used by `triggers` and `watch`."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attune.api import AlertAction, HandledAlert, RetrieverStatus
from attune.observation import Alert

MOST_ALERTS = 5
SKEW = timedelta(seconds=60)
"""Clocks of Prometheus and of the operator may differ by so much."""


def acts(alert: Alert, version: str, promoted_at: datetime | None, handled: Iterable[HandledAlert] | None) -> bool:
    """Whether an alert fires, is a new one, and is about this version as it was promoted (None: it was not)."""
    if not alert.firing or alert.version != version or promoted_at is None:
        return False
    is_of_before = alert.starts_at < promoted_at - SKEW
    return not is_of_before and not is_handled(alert, handled)


def is_handled(alert: Alert, handled: Iterable[HandledAlert] | None) -> bool:
    """Alertmanager delivers again and again; one that was resolved before it arrived is over."""
    return any(_is_of(h, alert) for h in handled or ())


def noted(status: RetrieverStatus, alerts: Iterable[Alert], action: AlertAction) -> RetrieverStatus:
    """With these alerts dealt with; only one that fires can have caused something. The oldest make room."""
    new = tuple(
        HandledAlert(
            fingerprint=a.fingerprint,
            starts_at=a.starts_at,
            action=action if a.firing else AlertAction.IGNORED,
            version=a.version,
        )
        for a in alerts
    )
    if not new:
        return status
    return status.model_copy(update={"handled_alerts": (*(status.handled_alerts or ()), *new)[-MOST_ALERTS:]})


def outcome_of(alert: Alert, before: RetrieverStatus, after: RetrieverStatus) -> str:
    """What came of an alert, in one word, for whoever sent it and for a metric."""
    if is_handled(alert, before.handled_alerts):
        return "duplicate"
    known = next((h for h in after.handled_alerts or () if _is_of(h, alert)), None)
    return "rolled_back" if known is not None and known.action is AlertAction.ROLLED_BACK else "ignored"


def _is_of(handled: HandledAlert, alert: Alert) -> bool:
    return (handled.fingerprint, handled.starts_at) == (alert.fingerprint, alert.starts_at)
