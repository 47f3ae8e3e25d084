"""Reads samples of A/B tests, and how well versions answer, from Prometheus' HTTP API. Made in `runtime`, used through `cluster`.

Nothing that a network or a server can do is an error here: it is a MetricsProblem, which a test or a watch says and waits for.
"""

import asyncio
import json
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from attune.contract import counting
from attune.contract import health as health_names
from attune.observation import Health, HealthQuery, MetricsProblem, Samples, SamplesQuery
from attune.telemetry import health_promql, promql
from attune.telemetry.promql import Point, UnreadableError

SECONDS = 10.0
LONGEST = 16 << 20
"""Bytes of an answer. An ordinary one has a few thousand; only raw samples of a long test whose label process was changed have more."""
HEALTH_SECONDS = 2.0
"""A watch looks every five seconds; a promotion waits for its baseline no longer than this."""
SHOWN = 200
LONGEST_SECRET = 1 << 16
"""Bytes of an answer in which credentials are looked for, before it is cut to what is shown."""


Query = SamplesQuery | HealthQuery


class ProblemError(Exception):
    """Why Prometheus cannot be read."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.problem = MetricsProblem(reason, message)


class Prometheus:
    """One pool of connections to all Prometheus servers. Made lazily, on the event loop that uses it; `close` it at the end."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def samples(self, query: SamplesQuery) -> Samples | MetricsProblem:
        """What was counted of a test until `query.at`; why that cannot be said, instead of an error."""
        try:
            return await self._samples(query)
        except ProblemError as error:
            return error.problem
        except UnreadableError as error:
            return _unreadable(query, error)

    async def health(self, query: HealthQuery) -> Health | MetricsProblem:
        """How well a version answers, over windows that end now; why that cannot be said, instead of an error."""
        try:
            answer = await self._ask(query, health_promql.query(query), min(HEALTH_SECONDS, self._seconds))
            found, age = health_promql.health(query, answer)
        except ProblemError as error:
            return error.problem
        except UnreadableError as error:
            return _unreadable(query, error)
        if age is None:
            return MetricsProblem("NoSamples", _no_health(query))
        if age > query.patience:
            return MetricsProblem(
                "StaleSamples",
                f"{shown(query.url)} has had no sample of {query.version} for more than {query.patience:g} s",
            )
        return found

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _samples(self, query: SamplesQuery) -> Samples:
        asked = promql.queries(query)
        found = await asyncio.gather(*(self._ask(query, text) for text in asked.values()))
        answers = {name: promql.points(answer) for name, answer in zip(asked, found, strict=True)}
        newest = promql.newest(answers)
        if not answers["totals"] and newest is None:
            raise ProblemError("NoSamples", _no_samples(query))
        if newest is None or (query.at - newest).total_seconds() > query.patience:
            raise ProblemError("StaleSamples", _stale(query, newest))
        promql.refuse_nameless(answers)
        answers["totals"] = await self._exact(query, answers)
        return promql.samples(query, answers, newest)

    async def _exact(self, query: SamplesQuery, answers: dict[str, tuple[Point, ...]]) -> tuple[Point, ...]:
        """The totals. Where the label `process` was lost on the way and series fall, their raw samples are summed."""
        fallen = promql.fallen(answers)
        if not fallen:
            return answers["totals"]
        summed = promql.ranges(await self._ask(query, promql.raw(query, fallen)))
        kept = tuple(p for p in answers["totals"] if p.labels.get("process", "") not in fallen)
        return (*kept, *summed)

    async def _ask(self, query: Query, text: str, seconds: float | None = None) -> Any:
        """`data` of the answer to an instant query."""
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        limit = self._seconds if seconds is None else seconds
        form = {"query": text}
        if isinstance(query, SamplesQuery):
            form["time"] = f"{query.at.timestamp():.3f}"
        url = query.url.rstrip("/") + "/api/v1/query"
        try:
            async with self._session.post(
                url,
                data=form,
                headers=_headers(query),
                auth=_auth(query),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=limit),
            ) as answer:
                body = await _body(query, answer)
                status = answer.status
        except aiohttp.ClientPayloadError as error:
            raise ProblemError("PrometheusAnswers", f"{shown(query.url)}: its answer broke off") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ProblemError("PrometheusUnreachable", f"{shown(query.url)}: {_why(error, limit)}") from error
        return _data(query, status, body)


def _why(error: Exception, seconds: float) -> str:
    """What kept a request from its answer, without the address, which may hold a password."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # that of a bad certificate is both
        return "the address, or a credential, is none that can be sent; check rollback.prometheus of the Retriever"
    return f"{type(error).__name__}: {error}"[:SHOWN]


def _unreadable(query: Query, error: UnreadableError) -> MetricsProblem:
    said = str(error)[: 2 * SHOWN]
    return MetricsProblem("PrometheusAnswers", f"{shown(query.url)} answered something else than samples: {said}")


async def _body(query: Query, answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > LONGEST:
            raise ProblemError(
                "PrometheusAnswers",
                f"{shown(query.url)} answered more than {LONGEST >> 20} MiB; if it dropped or changed the label process, keep the label",
            )
    return bytes(body)


def _data(query: Query, status: int, body: bytes) -> Any:
    words = _without_secrets(query, body[:LONGEST_SECRET].decode(errors="replace"))
    if status in {401, 403}:
        raise ProblemError(
            "PrometheusFailed", f"{shown(query.url)} answered {status}: {words}; check rollback.prometheus.secretRef"
        )
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if status == 200 and isinstance(answer, dict) and answer.get("status") == "success" and "data" in answer:
        return answer["data"]
    if isinstance(answer, dict) and answer.get("status") == "error":
        raise ProblemError(
            "PrometheusFailed",
            f"{shown(query.url)} answered {status}: {_without_secrets(query, str(answer.get('error')))}",
        )
    if status != 200:
        raise ProblemError("PrometheusFailed", f"{shown(query.url)} answered {status}: {words}")
    raise ProblemError(
        "PrometheusAnswers", f"{shown(query.url)} answered something else than Prometheus would: {words}"
    )


def _no_health(query: HealthQuery) -> str:
    return (
        f"{shown(query.url)} has no series {health_names.ATTEMPTS} of {query.version}; it must scrape the serving Pods, port 8000, path "
        "/metrics (they carry the annotation prometheus.io/scrape), and keep the labels"
    )


def _no_samples(query: SamplesQuery) -> str:
    return (
        f"{shown(query.url)} has no series of this test (run {query.run}); it must scrape the serving Pods, port 8000, path /metrics "
        "(they carry the annotation prometheus.io/scrape), and keep the labels"
    )


def _stale(query: SamplesQuery, newest: datetime | None) -> str:
    unknown = f"its newest is of no known time ({counting.FULL} is missing, or was there for a moment only)"
    since = f"the newest is of {newest:%Y-%m-%d %H:%M:%S}Z" if newest else unknown
    return (
        f"{shown(query.url)} has no sample of this test from the {query.patience:g} s before {query.at:%Y-%m-%d %H:%M:%S}Z: {since}; "
        "is it scraping the serving Pods, port 8000, path /metrics?"
    )


def _without_secrets(query: Query, words: str) -> str:
    """What a server said, in one line, without what it was told."""
    for secret in filter(None, (query.token, query.password)):
        words = words.replace(secret, "***")
    return " ".join(words.split())[:SHOWN]


def _headers(query: Query) -> dict[str, str]:
    return {"Authorization": f"Bearer {query.token}"} if query.token else {}


def _auth(query: Query) -> aiohttp.BasicAuth | None:
    if query.token or query.username is None:
        return None
    return aiohttp.BasicAuth(query.username, query.password or "", encoding="utf-8")


def shown(url: str) -> str:
    """The address without credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
