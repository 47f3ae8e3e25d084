"""What is still to be told, as a part of the status that tells of it. Called by `reconcile` after every decision. Pure.

A transition and the list of those who are to hear of it are one write: who is killed after it finds the list. A name leaves the list
by another write, after the delivery. So everything is delivered at least once, nothing after it was recorded, and nothing at all of what
happened before somebody wanted to hear of it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from attune.api import Condition, NotificationEvent, NotificationTarget, NotifyingStatus, Retriever, conditions
from attune.api.notifications import MOST_PENDING
from attune.decide.conditions import Said, said
from attune.decide.decision import Decision, Event
from attune.decide.notifications import templates
from attune.decide.notifications.happenings import Happening, happenings
from attune.decide.pointer import cut
from attune.observation import (
    Delivery,
    Fate,
    News,
    Notification,
    SeenABTest,
    SeenModelVersion,
    SeenRetriever,
    SeenTrainingJob,
    Subject,
    TargetProblem,
)

CONDITION = "Notified"
FAILED, RETRYING, DELIVERED, READY = "NotificationFailed", "Retrying", "Delivered", "Ready"
NOT_READY = frozenset({"TemplateInvalid", "SecretMissing", "SecretUnreadable"})
LONGEST_WAIT = timedelta(hours=24)
"""What could not be delivered for so long is not news any more."""
LOOK_AGAIN = timedelta(minutes=1)
"""At a Secret that is missing."""
WORDS = 160
"""Characters of the condition."""

Seen = SeenTrainingJob | SeenABTest | SeenRetriever | SeenModelVersion


def subject_of(seen: Seen) -> Subject | None:
    """The object, if it is of a kind that people are told about."""
    if isinstance(seen, SeenTrainingJob):
        return seen.job
    if isinstance(seen, SeenABTest):
        return seen.test
    return seen.retriever if isinstance(seen, SeenRetriever) else None


def announce(decision: Decision, seen: Seen, news: News, now: datetime) -> Decision:
    """The decision, with the notifications that are due now and what is to be noted of those before."""
    subject = subject_of(seen)
    if subject is None or subject.metadata.deletion_timestamp is not None:
        return decision
    after = subject.status if decision.status is None else decision.status
    assert isinstance(after, NotifyingStatus)
    ledger = _Ledger(subject, after, news, now)
    status = after.model_copy(update={"pending_notifications": ledger.pending or None})
    for delivery in ledger.told:
        what = _said(delivery, conditions.get(status.conditions, CONDITION))
        status = said(status, what, subject.metadata.generation, now)
    events, requeue = tuple(map(_event, ledger.failed)), decision.requeue_after
    if isinstance(subject, Retriever):
        status, told = _ready(status, subject, news, now)
        events = (*events, *told)
        if news.problems:
            requeue = min(requeue, LOOK_AGAIN) if requeue is not None else LOOK_AGAIN
    return replace(
        decision,
        status=decision.status if status == after else status,
        events=(*decision.events, *events),
        requeue_after=requeue,
        notify=tuple(ledger.due()),
    )


class _Ledger:
    """What was pending, what joins it, and what leaves it."""

    def __init__(self, subject: Subject, after: NotifyingStatus, news: News, now: datetime) -> None:
        uid = subject.metadata.uid
        owner = subject if isinstance(subject, Retriever) else news.retriever
        self._subject = subject.model_copy(update={"status": after})
        self._targets = {t.name: t for t in owner.spec.notifications or ()} if owner is not None else {}
        self._known = {h.id: h for h in happenings(uid, after)}
        was = subject.status.pending_notifications or ()
        self._deliveries = {d.key: d for d in news.deliveries if d.key in was}
        self._given_up: list[Delivery] = []
        before = {h.id for h in happenings(uid, subject.status)}
        kept = [key for key in was if self._is_kept(key, now)]
        fresh = [f"{t.name}/{h.id}" for h in self._known.values() if h.id not in before for t in self._who(h.event)]
        listed = [*kept, *fresh]
        for key in listed[:-MOST_PENDING]:
            self._give_up(key, f"given up, as {MOST_PENDING} newer ones wait")
        self.pending = tuple(listed[-MOST_PENDING:])

    @property
    def told(self) -> tuple[Delivery, ...]:
        """What became of those that were under way."""
        return (*self._deliveries.values(), *self._given_up)

    @property
    def failed(self) -> tuple[Delivery, ...]:
        return tuple(d for d in self.told if d.fate is Fate.FAILED)

    def due(self) -> Iterator[Notification]:
        """Everything that is pending; what is under way already is not sent twice."""
        for key in self.pending:
            name, _, number = key.partition("/")
            what = self._known[number]
            yield Notification(number, what.event, what.at, self._targets[name], self._subject, what.change)

    def _who(self, event: NotificationEvent) -> Iterator[NotificationTarget]:
        return (t for t in self._targets.values() if t.wants(event))

    def _is_kept(self, key: str, now: datetime) -> bool:
        name, _, number = key.partition("/")
        delivery, happening = self._deliveries.get(key), self._known.get(number)
        if happening is None or (delivery is not None and delivery.fate is not Fate.RETRYING):
            return False  # the move has left the history, or it is over
        if name not in self._targets:
            self._give_up(key, "its target was taken away")
            return False
        if now - happening.at > LONGEST_WAIT:
            self._give_up(key, f"not delivered within {LONGEST_WAIT // timedelta(hours=1)} h")
            return False
        return True

    def _give_up(self, key: str, words: str) -> None:
        happening: Happening = self._known[key.partition("/")[2]]
        self._given_up.append(Delivery(key, happening.event, Fate.FAILED, words))


# ---- what became of those before


def _event(delivery: Delivery) -> Event:
    text = f"{delivery.event.value} {delivery.id}: {delivery.target}: {delivery.words}"
    return Event(FAILED, text, warning=True)


def _said(told: Delivery, known: Condition | None) -> Said:
    """How the newest notification went. What failed for one target stays, whatever the others do."""
    about = f"{told.event.value} {told.id}: "
    before = known if known is not None and known.message.startswith(about) else None
    failed = before is not None and before.reason == FAILED
    if before is not None and failed and told.fate is not Fate.FAILED:
        return Said(CONDITION, False, FAILED, before.message)
    if told.fate is Fate.DELIVERED:
        more = f"{before.message}, " if before is not None and before.reason == DELIVERED else f"{about}told "
        return Said(CONDITION, True, DELIVERED, cut(more + told.target, WORDS))
    if told.fate is Fate.RETRYING:
        return Said(CONDITION, False, RETRYING, cut(f"{about}{told.target}: {told.words}; tries again", WORDS))
    more = f"{before.message}; " if before is not None and failed else about
    return Said(CONDITION, False, FAILED, cut(f"{more}{told.target}: {told.words}", WORDS))


# ---- whether the targets of a Retriever can be told at all


def is_to_be_checked(retriever: Retriever) -> bool:
    """Whether the Secrets of the targets are to be looked at: after every change of the spec, and until all is well."""
    known = conditions.get(retriever.status.conditions, CONDITION)
    if not retriever.spec.notifications:
        return False
    is_new = known is None or known.observed_generation != retriever.metadata.generation
    return is_new or (known is not None and known.reason in NOT_READY)


def _ready(
    status: NotifyingStatus, retriever: Retriever, news: News, now: datetime
) -> tuple[NotifyingStatus, tuple[Event, ...]]:
    """Before anything happens it is said whether it could be told."""
    before, known = retriever.status.conditions, conditions.get(status.conditions, CONDITION)
    if not retriever.spec.notifications:
        left = tuple(c for c in status.conditions or () if c.type != CONDITION)
        return (status.model_copy(update={"conditions": left or None}) if known else status), ()
    generation = retriever.metadata.generation
    if problems := (*_templates(retriever), *(news.problems or ())):
        what = Said(CONDITION, False, problems[0].reason, cut("; ".join(p.message for p in problems), 2 * WORDS))
        stored = conditions.get(before, CONDITION)
        is_new = stored is None or stored.reason != what.reason
        events = (Event("NotificationsNotReady", what.message, warning=True),) if is_new else ()
        return said(status, what, generation, now), events
    if news.problems is None:
        return status, ()
    if known is not None and known.reason not in {*NOT_READY, READY}:
        same = Said(CONDITION, known.status == "True", known.reason, known.message)
        return said(status, same, generation, now), ()
    names = ", ".join(t.name for t in retriever.spec.notifications)
    return said(status, Said(CONDITION, True, READY, f"to be told: {names}"), generation, now), ()


def _templates(retriever: Retriever) -> tuple[TargetProblem, ...]:
    """Templates that fail. They are tried on every event that their target wants, before one is needed."""
    found = ((t, templates.problem_of(t)) for t in retriever.spec.notifications or ())
    return tuple(TargetProblem("TemplateInvalid", f"{t.name}: {problem}") for t, problem in found if problem)
