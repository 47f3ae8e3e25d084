"""Texts by Jinja templates of users. Called by `announce`, to say early what fails, and by `payloads`. Pure.

A template runs in the operator, and its author may be anybody who can write a Retriever. Jinja's sandbox keeps it from what is not its
own, but not from using up time and memory. So only what cannot grow is allowed: values, conditions, arithmetic, a few filters; no loops, no
assignments, no calls. A template takes time and memory in proportion to its length.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from attune.api import NotificationEvent, NotificationTarget
from attune.decide.notifications.facts import Facts

NAMES = (
    *("cause", "job", "metric", "modelA", "modelB", "previous", "recommendation", "requestID", "test", "type"),
    *("version", "winner"),
)
"""Those of `facts`, whatever the event; absent is empty."""
VARIABLES = frozenset(
    {*NAMES, "at", "event", "id", "message", "namespace", "numbers", "reason", "retriever", "text", "title"}
)
FILTERS = frozenset({"abs", "default", "float", "int", "lower", "round", "title", "trim", "truncate", "upper"})
TESTS = frozenset({"defined", "none", "number", "string", "true", "false"})
ALLOWED = (
    *(
        nodes.Template,
        nodes.Output,
        nodes.TemplateData,
        nodes.If,
        nodes.CondExpr,
        nodes.Name,
        nodes.Const,
        nodes.Getattr,
    ),
    *(nodes.Getitem, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Concat, nodes.Keyword),
)
MOST_DIGITS = 10
LONGEST = 3000
"""Characters of a text; what is longer is cut."""


class TemplateProblem(Exception):
    """What is wrong with a template, in a sentence."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """`*` is for numbers: a text times a billion is a billion texts."""

    intercepted_binops = frozenset({"*"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        for operand in (left, right):
            if not isinstance(operand, int | float):
                raise TemplateProblem(f"{operator} takes numbers, not {type(operand).__name__}")
        return super().call_binop(context, operator, left, right)


@lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    """Raises TemplateProblem."""
    environment = _Sandbox(autoescape=False, finalize=_shown)
    environment.globals.clear()
    environment.filters["round"] = _rounded
    try:
        tree = environment.parse(source)
        for problem in _problems(tree):
            raise TemplateProblem(problem)
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateProblem(f"line {error.lineno}: {error.message}") from error
    except (RecursionError, SyntaxError, MemoryError) as error:
        raise TemplateProblem("it is nested too deeply") from error


def _rounded(value: float, precision: int = 0) -> float:
    """As Jinja's, which would compute ten to the power of anything."""
    if not isinstance(precision, int) or not 0 <= precision <= MOST_DIGITS:
        raise TemplateProblem(f"round takes 0 to {MOST_DIGITS} digits")
    return round(value, precision)


def _shown(value: Any) -> Any:
    return "" if value is None or isinstance(value, Undefined) else value


def _problems(tree: nodes.Template) -> Iterator[str]:
    for node in tree.find_all(nodes.Node):
        line = f"line {node.lineno}: "
        if not isinstance(node, ALLOWED):
            yield f"{line}{type(node).__name__} is not allowed; use values, if, and the filters {', '.join(sorted(FILTERS))}"
        elif isinstance(node, nodes.Filter) and node.name not in FILTERS:
            yield f"{line}the filter {node.name} is not allowed; there are {', '.join(sorted(FILTERS))}"
        elif isinstance(node, nodes.Test) and node.name not in TESTS:
            yield f"{line}the test {node.name} is not allowed; there are {', '.join(sorted(TESTS))}"
    unknown = sorted(find_undeclared_variables(tree) - VARIABLES)
    if unknown:
        yield f"there is no {unknown[0]}; there are {', '.join(sorted(VARIABLES))}"


def rendered(source: str, values: Mapping[str, Any]) -> str:
    """The text; raises TemplateProblem where it cannot be made, or is empty."""
    template = _compiled(source)
    try:
        text = template.render(values).strip()
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError) as error:
        raise TemplateProblem(f"{type(error).__name__}: {error}"[:160]) from error
    if not text:
        raise TemplateProblem("it makes an empty text")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def problem_of(target: NotificationTarget) -> str | None:
    """Why the target's template would fail; tried on every event that the target wants, with and without what may be absent."""
    return _problem(target.template, tuple(filter(target.wants, NotificationEvent))) if target.template else None


@lru_cache(maxsize=256)
def _problem(source: str, events: tuple[NotificationEvent, ...]) -> str | None:
    for event in events:
        for facts in (FULL, BARE):
            try:
                rendered(source, {**SAMPLE, **values(facts), "event": event.value})
            except TemplateProblem as problem:
                return f"the template fails for {event.value}: {problem}"
    return None


def values(facts: Facts) -> dict[str, Any]:
    """What a template finds of what happened."""
    told = {name: facts.names.get(name, "") for name in NAMES}
    return {
        **told,
        "title": facts.title,
        "message": facts.message,
        "reason": facts.reason,
        "text": facts.text,
        "numbers": dict(facts.numbers),
    }


SAMPLE = {"id": "0123456789abcdef", "at": "2026-03-15T12:00:00Z", "namespace": "team", "retriever": "docs"}
BARE = Facts("Something happened", "a sentence", "Reason")
FULL = Facts(
    "Something happened",
    "a sentence",
    "Reason",
    dict.fromkeys(NAMES, "a-name"),
    dict.fromkeys(
        (
            *("evalThreshold", "score", "ndcgAt10", "baselineNdcgAt10", "improvementPercent", "queries"),
            *("trainingExamples", "trainingDurationSeconds", "failures"),
            *("samplesA", "samplesB", "meanA", "meanB", "difference", "low", "high", "pValue", "confidence"),
        ),
        0.5,
    ),
)
