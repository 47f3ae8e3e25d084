"""ABTests as the API server has them, in one line, and what is drawn of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

from rich.console import Console

from attune.views import ab_tests as views

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


def at(hours_ago: float) -> str:
    return (NOW - timedelta(hours=hours_ago)).isoformat().replace("+00:00", "Z")


def metric(name: str, role: str = "primary", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role} | more


def mean(value: float, samples: int = 500, error: float = 0.01, **more: Any) -> dict[str, Any]:
    return {"mean": value, "samples": samples, "standardError": error, **more}


def an_ab_test(*metrics: dict[str, Any], spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    given = {"retriever": "news", "modelB": "emb-v7", "metrics": list(metrics or [metric("clicks")])}
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ABTest",
        "metadata": {"name": "news-v7", "namespace": "team", "creationTimestamp": at(77)},
        "spec": given | (spec or {}),
        "status": status,
    }


def running(*metrics: dict[str, Any], **status: Any) -> dict[str, Any]:
    known = {"phase": "Running", "modelA": "emb-v6", "startedAt": at(3), "samplesA": 1204, "samplesB": 301}
    return an_ab_test(*metrics, **(known | status))


def shown(test: dict[str, Any]) -> dict[str, Any]:
    return views.show_view(test)


def drawn(what: Any, width: int = 120) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
