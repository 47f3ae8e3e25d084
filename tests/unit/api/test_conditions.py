"""Lists of conditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from attune.api import conditions
from attune.api.base import Condition

T0 = datetime(2026, 3, 15, 12, tzinfo=UTC)
LATER = T0 + timedelta(hours=1)


def ready(
    status: bool, *, at: datetime = T0, before: tuple[Condition, ...] = (), message: str = "m"
) -> tuple[Condition, ...]:
    return conditions.set_condition(before, "Ready", status, reason="Because", message=message, now=at, generation=2)


def test_a_first_condition_is_appended_with_its_time() -> None:
    (made,) = ready(True)
    assert (made.type, made.status, made.last_transition_time, made.observed_generation) == ("Ready", "True", T0, 2)


def test_saying_the_same_again_changes_nothing() -> None:
    assert ready(True, at=LATER, before=ready(True)) == ready(True)


def test_a_new_message_keeps_the_time_of_the_last_transition() -> None:
    (made,) = ready(True, at=LATER, before=ready(True), message="other")
    assert (made.message, made.last_transition_time) == ("other", T0)


def test_a_new_status_is_a_transition() -> None:
    (made,) = ready(False, at=LATER, before=ready(True))
    assert (made.status, made.last_transition_time) == ("False", LATER)


def test_get_and_is_true_know_what_was_never_set() -> None:
    assert conditions.get(None, "Ready") is None
    assert not conditions.is_true((), "Ready")
    assert conditions.is_true(ready(True), "Ready")
    assert not conditions.is_true(ready(False), "Ready")


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.booleans(), st.integers(0, 100)), max_size=20))
def test_types_stay_unique_and_in_order_of_appearance(steps: list[tuple[str, bool, int]]) -> None:
    made: tuple[Condition, ...] = ()
    for kind, status, minute in steps:
        now = T0 + timedelta(minutes=minute)
        made = conditions.set_condition(made, kind, status, reason="R", message="", now=now)
    assert [c.type for c in made] == list(dict.fromkeys(kind for kind, _, _ in steps))
    last = {kind: status for kind, status, _ in steps}
    assert {c.type: c.status == "True" for c in made} == last
