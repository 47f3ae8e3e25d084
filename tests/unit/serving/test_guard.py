"""The breaker: when a version is asked no more, and when again. Pure, so that every promise is tried or computed."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune_serving.guard import FIRST_PAUSE, LONGEST_PAUSE, MOST_FAILED, WINDOW, WINS, Breaker, Failure, Pass

BAD = Failure("model_failed", "NaN")


def tell(breaker: Breaker, outcomes: str, now: float = 0.0) -> Breaker:
    """`x` failed, `.` answered, `?` nothing to be said; each attempt asks for leave first."""
    for outcome in outcomes:
        held = breaker.ask(now)
        assert held is not None, outcomes
        if outcome == "x":
            breaker.failed(held, BAD, now)
        elif outcome == ".":
            breaker.succeeded(held)
        else:
            breaker.dropped(held)
    return breaker


def opened(now: float = 0.0) -> Breaker:
    return tell(Breaker(), "x" * MOST_FAILED, now)


@pytest.mark.parametrize(
    ("outcomes", "is_open"),
    [
        ("", False),
        ("xxxxxxx", False),
        ("xxxxxxxx", True),
        ("..xxxxxxxx", True),
        (".x.xxxxxxx", True),
        ("x.x.x.x.x.x.x.x.x.x.", False),
        ("xx.xx.xx.xx.xx.xx.", False),
        ("xxx.xxx.xx", True),
        (".........xxxxxxx", False),
        (".........xxxxxxxx", True),
        ("xxxx???????xxxx", True),
        ("xxxxxxx" + "?" * 50, False),
        ("xxxx..........xxxx", False),
    ],
)
def test_it_opens_at_eight_failures_among_the_last_ten(outcomes: str, is_open: bool) -> None:
    assert tell(Breaker(), outcomes).open is is_open


@pytest.mark.parametrize("length", range(1, 13))
def test_every_course_of_attempts_is_judged_by_its_last_ten(length: int) -> None:
    for outcomes in itertools.product("x.", repeat=length):
        breaker, past = Breaker(), ""
        for outcome in outcomes:
            past += outcome
            tell(breaker, outcome)
            if past[-WINDOW:].count("x") >= MOST_FAILED:
                assert breaker.open
                break
            assert not breaker.open


def test_a_total_outage_opens_it_with_the_eighth_attempt() -> None:
    assert not tell(Breaker(), "." * 500 + "x" * 7).open
    assert tell(Breaker(), "." * 500 + "x" * 8).open


def chance(rate: float, attempts: int) -> float:
    """That independent failures at this rate open it within so many attempts: exact, by the chain of the last nine outcomes."""
    states = 1 << (WINDOW - 1)
    step = np.zeros((states, states))
    for state in range(states):
        step[(state << 1) & (states - 1), state] += 1 - rate
        if state.bit_count() < MOST_FAILED - 1:
            step[((state << 1) | 1) & (states - 1), state] += rate
    start = np.zeros(states)
    start[0] = 1
    return float(1 - (np.linalg.matrix_power(step, attempts) @ start).sum())


def test_a_failure_now_and_then_does_not_open_it() -> None:
    """180,000 attempts: 200 a second for a watch of 15 minutes."""
    assert chance(0.05, 180_000) < 1e-3
    assert chance(0.02, 180_000) < 1e-6
    assert chance(1.0, MOST_FAILED) == 1.0
    assert chance(0.9, 100) > 0.999


def test_the_computed_chance_is_that_of_the_breaker_itself() -> None:
    rng = np.random.default_rng(0)
    rounds, attempts, rate = 4000, 40, 0.5
    found = 0
    for row in rng.random((rounds, attempts)) < rate:
        breaker = Breaker()
        for failed in row:
            tell(breaker, "x" if failed else ".")
            if breaker.open:
                found += 1
                break
    expected = chance(rate, attempts)
    assert abs(found / rounds - expected) < 4 * (expected * (1 - expected) / rounds) ** 0.5


def test_while_open_nobody_asks_then_one_at_a_time() -> None:
    breaker = opened(now=100)
    assert breaker.ask(100 + FIRST_PAUSE - 0.01) is None
    trial = breaker.ask(100 + FIRST_PAUSE)
    assert trial is not None
    assert trial.trial
    assert breaker.ask(1000) is None
    breaker.succeeded(trial)
    assert breaker.open
    assert breaker.ask(1000) is not None


def test_three_successes_in_a_row_close_it_and_its_past_is_forgotten() -> None:
    breaker = tell(opened(), "." * (WINS - 1), 50)
    assert breaker.open
    tell(breaker, ".", 50)
    assert not breaker.open
    assert (breaker.failures, len(breaker.last)) == (0, 0)
    assert not tell(breaker, "xxxxxxx").open


def test_each_trial_that_fails_doubles_the_pause_up_to_a_minute_and_a_success_in_between_helps_nothing() -> None:
    breaker, now, pauses = opened(), FIRST_PAUSE, []
    for outcomes in ("x", ".x", "..x", "x", "x"):
        tell(breaker, outcomes, now)
        before = now
        while (held := breaker.ask(now)) is None:
            now += 1
        pauses.append(now - before)
        breaker.dropped(held)
    assert pauses == [20, 40, 60, 60, 60]
    assert max(pauses) == LONGEST_PAUSE


def test_after_it_closed_the_next_pause_is_short_again() -> None:
    breaker = tell(opened(), "x", FIRST_PAUSE)
    tell(breaker, "...", 200)
    tell(breaker, "xxxxxxxx", 300)
    assert breaker.ask(300 + FIRST_PAUSE - 0.01) is None
    assert breaker.ask(300 + FIRST_PAUSE) is not None


def test_a_trial_of_which_nothing_can_be_said_makes_room_for_the_next() -> None:
    breaker = opened()
    for _ in range(5):
        trial = breaker.ask(50)
        assert trial is not None
        breaker.dropped(trial)
    assert breaker.open


def test_what_was_begun_before_it_moved_counts_for_nothing() -> None:
    breaker = Breaker()
    early = [breaker.ask(0) for _ in range(30)]
    tell(breaker, "xxxxxxxx")
    for held in early:
        assert held is not None
        breaker.succeeded(held)
    assert breaker.failures == MOST_FAILED
    tell(breaker, "...", 50)
    for held in early:
        assert held is not None
        breaker.failed(held, BAD, 50)
    assert not breaker.open


def test_a_request_that_only_this_version_can_answer_counts_while_it_is_closed() -> None:
    breaker = Breaker()
    for _ in range(MOST_FAILED):
        held = breaker.aside()
        assert held is not None
        breaker.failed(held, BAD, 0)
    assert breaker.open
    assert breaker.aside() is None


def test_it_says_what_went_wrong_most_often_and_last() -> None:
    breaker = Breaker()
    for reason in ("timed_out", "model_failed", "model_failed", "internal"):
        held = breaker.ask(0)
        assert held is not None
        breaker.failed(held, Failure(reason, f"because of {reason}"), 0)
    tell(breaker, "..")
    assert (breaker.failures, len(breaker.last), breaker.commonest) == (4, 6, "model_failed")
    assert breaker.newest == Failure("internal", "because of internal")
    assert (Breaker().commonest, Breaker().newest) == ("", None)


MOVE = st.tuples(st.sampled_from(["ask", "well", "badly", "dropped", "wait"]), st.integers(0, 40))
OUTAGE = [("ask", 0), ("badly", 0)] * MOST_FAILED
MOVES = st.lists(MOVE, max_size=200) | st.lists(MOVE, max_size=100).map(lambda moves: moves[::2] + OUTAGE + moves[1::2])


class Traffic:
    """Requests that ask for leave, and end in any order."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.now = 0.0
        self.opened = 0.0
        self.out: list[Pass] = []

    def run(self, moves: list[tuple[str, int]]) -> Traffic:
        for move, number in moves:
            if move == "ask":
                self.ask()
            elif move == "wait":
                self.now += number
            elif self.out:
                self.end(number, move)
            self.is_sound()
        return self

    def ask(self) -> None:
        held = self.breaker.ask(self.now)
        if held is None:
            assert self.breaker.open
            return
        self.out.append(held)
        assert held.trial == self.breaker.open
        assert not held.trial or self.now >= self.opened + FIRST_PAUSE

    def end(self, number: int, how: str) -> None:
        held, was = self.out.pop(number % len(self.out)), self.breaker.open
        if how == "well":
            self.breaker.succeeded(held)
        elif how == "badly":
            self.breaker.failed(held, BAD, self.now)
        self.breaker.dropped(held)  # as `guarding` does it: always, at the end
        if self.breaker.open and not was:
            self.opened = self.now

    def is_sound(self) -> None:
        trials = Counter(held.era for held in self.out if held.trial)
        assert trials[self.breaker._era] <= 1
        assert len(self.breaker.last) <= WINDOW


@settings(max_examples=300)
@given(MOVES)
def test_whatever_happens_an_open_version_is_asked_by_trials_only_one_at_a_time_and_again_for_good_once_it_answers(
    moves: list[tuple[str, int]],
) -> None:
    traffic = Traffic().run(moves)
    while traffic.out:
        traffic.end(0, "dropped")
    for _ in range(10):
        traffic.now += LONGEST_PAUSE
        traffic.ask()
        if traffic.out:
            traffic.end(0, "well")
    assert not traffic.breaker.open
