"""Templates of users: what they may say, what is refused early, and that none of them can use up the operator."""

from __future__ import annotations

import time

import pytest

from attune.decide.notifications.facts import facts_of
from attune.decide.notifications.templates import FULL as FULL_SAMPLE
from attune.decide.notifications.templates import (
    LONGEST,
    NAMES,
    SAMPLE,
    TemplateProblem,
    problem_of,
    rendered,
    values,
)
from notified import SUBJECTS, a_notification, a_target

GOOD = [
    "{{ title }}",
    "{{ event }} of {{ namespace }}/{{ retriever }} at {{ at }} ({{ id }})",
    "{% if version %}{{ version }}{% else %}no version{% endif %} x",
    "{{ numbers.score | default(0) | round(3) }}",
    "{{ (100 * numbers.difference) | round(1) if numbers.difference is defined else 'unknown' }} %",
    "{{ reason | upper }}: {{ message | truncate(80) }}",
    "{% if 'nDCG' in message and event == 'TrainingSucceeded' %}{{ job ~ '!' }}{% endif %}.",
    "{% raw %}{{ not a value }}{% endraw %}",
    "<https://grafana/d/attune|dashboard> {{ text }}",
]
BAD = {
    "{{ title": "line 1",
    "{% if version %}x": "line 1",
    "a\nb\n{{ versoin }}": "there is no versoin",
    "{% for n in numbers %}{{ n }}{% endfor %}": "For is not allowed",
    "{% set a = 1 %}{{ a }}": "Assign is not allowed",
    "{% set a %}x{% endset %}": "AssignBlock is not allowed",
    "{% macro m() %}x{% endmacro %}": "Macro is not allowed",
    "{{ title.upper() }}": "Call is not allowed",
    "{{ range(10) }}": "Call is not allowed",
    "{{ ''.__class__.__mro__ }}{{ title.format(x=1) }}": "Call is not allowed",
    "{% include 'x' %}": "Include is not allowed",
    "{% import 'x' as y %}": "Import is not allowed",
    "{% extends 'x' %}": "Extends is not allowed",
    "{{ 9 ** 9 ** 9 }}": "Pow is not allowed",
    "{{ '%999999999d' % 1 }}": "Mod is not allowed",
    "{{ [1] * 10 }}": "List is not allowed",
    "{{ title[:3] }}": "Slice is not allowed",
    "{{ title * 1000000000 }}": "takes numbers, not str",
    "{{ title | center(1000000000) }}": "the filter center is not allowed",
    "{{ title | indent(1000000000) }}": "the filter indent is not allowed",
    "{{ title | replace('a', 'aa') }}": "the filter replace is not allowed",
    "{{ title | random }}": "No filter named 'random'|the filter random is not allowed",
    "{{ title is filter('x') }}": "the test filter is not allowed",
    "{{ 1 | round(-100000000) }}": "round takes 0 to 10 digits",
    "{{ 1 | round(1000000000, 'ceil') }}": "TypeError",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{{ numbers.score | round(2) }}": "fails for Training",  # where it was not measured
    "   ": "empty text",
    "{% if false %}x{% endif %}": "empty text",
}


@pytest.mark.parametrize("source", GOOD)
def test_a_good_template_makes_a_text_of_every_event(source: str) -> None:
    assert problem_of(a_target(template=source)) is None
    for event in SUBJECTS:
        told = a_notification(event)
        assert rendered(source, {**SAMPLE, **values(facts_of(told)), "event": event.value})


@pytest.mark.parametrize(("source", "words"), BAD.items())
def test_a_template_that_would_fail_is_said_to(source: str, words: str) -> None:
    problem = problem_of(a_target(template=source))
    assert problem is not None
    assert any(part in problem for part in words.split("|")), problem


def test_a_template_is_tried_on_the_events_that_its_target_wants_only() -> None:
    only_runs = "{{ numbers.evalThreshold | round(2) }}"
    assert problem_of(a_target(template=only_runs)) is not None
    assert problem_of(a_target(template="{{ numbers.score | default(1) | round(2) }}", events=["RolledBack"])) is None


def test_no_template_has_no_problem() -> None:
    assert problem_of(a_target()) is None


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
        "{{ " + "not " * 900 + "true }}",
        "{{ " + "1 if true else " * 200 + "1 }}",
        "{% if true %}" * 250 + "x" + "{% endif %}" * 200,
        "{{ " + " ~ ".join(["message"] * 400) + " }}",
        "{{ " + " * ".join(["9" * 60] * 60) + " }}",
        "{{ " + "9" * 4000 + " }}",
        "{{ message" + " | upper | lower" * 250 + " }}",
    ],
    ids=["parentheses", "nots", "ifs", "blocks", "joined", "product", "digits", "filters"],
)
def test_whatever_it_says_it_takes_little_time_and_little_room(source: str) -> None:
    assert len(source) <= 4096 + 3000
    began = time.monotonic()
    try:
        text = rendered(source, {**SAMPLE, **values(FULL_SAMPLE), "message": "m" * 4000, "event": "Promoted"})
        assert len(text) <= LONGEST
    except TemplateProblem:
        pass
    assert time.monotonic() - began < 5


def test_a_long_text_is_cut() -> None:
    assert rendered("{{ message ~ message }}", {"message": "m" * 2000}).endswith("…")


def test_what_is_absent_is_empty() -> None:
    assert (
        rendered("[{{ version }}{{ numbers.score }}{{ requestID }}]", values(facts_of(a_notification()))) == "[emb-v1]"
    )


def test_the_names_are_those_that_the_events_have() -> None:
    known = {name for event in SUBJECTS for name in facts_of(a_notification(event)).names}
    assert known <= set(NAMES)
    assert set(NAMES) - known == {"requestID"}
    numbers = {name for event in SUBJECTS for name in facts_of(a_notification(event)).numbers}
    assert numbers <= set(FULL_SAMPLE.numbers)
