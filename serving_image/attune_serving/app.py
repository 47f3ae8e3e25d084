"""The HTTP side: routes, bodies in, answers and headers out, one place where errors become answers. Made by `__main__`."""

import base64
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import orjson
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from attune_serving import forms
from attune_serving.answering import Answering, Found
from attune_serving.assign import Assignment, unit_of
from attune_serving.counting import Counter, run_of, wall_clock
from attune_serving.judging import Sampler
from attune_serving.metrics import Metrics
from attune_serving.refusals import Broken, Refused, too_large
from attune_serving.replica import Replica
from attune_serving.traffic import Traffic

log = structlog.get_logger(__name__)

JSON = "application/json"
MOST_METRICS = 64
OPTIONS = orjson.OPT_SERIALIZE_NUMPY

ENDPOINTS = (
    "there are POST /v1/embeddings, /v1/rerank, /v1/search, /v1/feedback and GET /v1/versions, /v1/traffic, /healthz, /readyz, "
    "/metrics"
)

Headers = dict[str, str]
Everyone = tuple[Assignment, ...]
"""The version that answered, and behind it a reranker that took part."""
NOBODY: Everyone = (Assignment(""),)
Endpoint = Callable[[Any], Awaitable[tuple[Any, Headers, Everyone]]]


class App:
    """Answers requests of one replica. `asgi` is the application."""

    def __init__(self, replica: Replica, answering: Answering, metrics: Metrics, counter: Counter) -> None:
        self._traffic = Traffic(wall_clock())
        self._replica = replica
        self._answering = answering
        self._metrics = metrics
        self._counter = counter
        self.sampler = Sampler(counter.judged, metrics)
        self._metric_names: set[str] = set()
        posts: dict[str, Endpoint] = {
            "embeddings": self._embeddings,
            "rerank": self._rerank,
            "search": self._search,
            "feedback": self._feedback,
        }
        routes = [Route(f"/v1/{name}", self._post(name, run), methods=["POST"]) for name, run in posts.items()]
        routes += [
            Route("/v1/versions", self._versions),
            Route("/v1/traffic", self._traffic_report),
            Route("/v1/peer/claims", self._peer_claims, methods=["POST"]),
            Route("/v1/peer/units", self._peer_units),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._prometheus),
        ]
        self.asgi = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})

    # ---- every POST

    def _post(self, name: str, run: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        read = forms.READERS[name]

        async def answer(request: Request) -> Response:
            began, everyone, status = perf_counter(), NOBODY, 500
            try:
                form = read(await self._body(request), self._answering.settings)
                self._saw(form)
                body, headers, everyone = await run(form)
                status = 200
                return Response(orjson.dumps(body, option=OPTIONS), 200, headers, JSON)
            except Refused as refused:
                status, everyone = refused.status, (refused.by,) if refused.by is not None else NOBODY
                return refusal(refused)
            except ClientDisconnect:
                status = 499
                return Response(status_code=499)
            except Exception as error:
                cause = error.__cause__ if isinstance(error, Broken) else error
                everyone = (error.by,) if isinstance(error, Broken) else NOBODY
                log.exception("request failed", endpoint=name, version=everyone[0].version)
                broken = Refused(500, "internal", f"{type(cause).__name__}: see the log of {self._replica.name}")
                broken.by = everyone[0]
                return refusal(broken)
            finally:
                self._count(name, everyone, status, perf_counter() - began)

        return answer

    def _saw(self, form: Any) -> None:
        """What could take part in a test, for the planning of tests."""
        if getattr(form, "model", None) != forms.ACTIVE:
            return
        query = getattr(form, "query", None)
        if isinstance(form, forms.EmbeddingsForm) and form.role == "query" and len(form.texts) == 1:
            query = form.texts[0]
        if query is not None:
            self._traffic.saw(unit_of("", query), wall_clock())

    async def _body(self, request: Request) -> dict[str, Any]:
        limit = self._answering.settings.max_body_bytes
        if int(request.headers.get("content-length") or 0) > limit:
            raise _body_too_large(limit)
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _body_too_large(limit)
            parts.append(part)
        try:
            body = orjson.loads(b"".join(parts))
        except orjson.JSONDecodeError as error:
            raise Refused(400, "invalid_json", f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise Refused(400, "invalid_json", f"the body is {type(body).__name__}, not an object")
        return body

    def _count(self, endpoint: str, everyone: Everyone, status: int, seconds: float) -> None:
        by = everyone[0]
        labels = (endpoint, by.version, by.arm or "", run_of(by.split) if by.split is not None else "")
        self._metrics.requests.labels(*labels, str(status)).inc()
        if status == 200:
            self._metrics.seconds.labels(*labels).observe(seconds)
        elif status >= 500:
            self._metrics.errors.labels(*labels).inc()
        for one in everyone:
            if one.split is not None:
                self._counter.exposed(one, seconds, status)
                if status == 200:
                    self._metrics.tested.labels(one.version, one.split.test, one.arm or "").inc()

    # ---- endpoints

    async def _embeddings(self, form: forms.EmbeddingsForm) -> tuple[Any, Headers, Everyone]:
        done = await self._answering.embed(form)
        rows: list[Any] = list(done.vectors)
        if form.encoding == "base64":
            rows = [base64.b64encode(row.tobytes()).decode() for row in rows]
        body = {
            "object": "list",
            "data": [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)],
            "model": done.by.version,
            "usage": {"prompt_tokens": done.tokens, "total_tokens": done.tokens},
        }
        return body, _headers(done.by, done.collection), (done.by,)

    async def _rerank(self, form: forms.RerankForm) -> tuple[Any, Headers, Everyone]:
        done = await self._answering.rerank(form)
        results = [
            {
                "index": n,
                "relevance_score": score,
                **({"document": {"text": form.documents[n]}} if form.return_documents else {}),
            }
            for n, score in done.order
        ]
        body = {
            "model": done.by.version,
            "results": results,
            "usage": {"total_tokens": done.tokens},
            "meta": {"billed_units": {"search_units": 1}},
        }
        return body, _headers(done.by, None), (done.by,)

    async def _search(self, form: forms.SearchForm) -> tuple[Any, Headers, Everyone]:
        done = await self._answering.search(form)
        headers = _headers(done.by, done.collection)
        everyone: Everyone = (done.by,)
        if done.reranked_by is not None:
            headers |= _headers(done.reranked_by, None, "x-attune-reranker")
            everyone = (*everyone, done.reranked_by)
        if all(by.instead_of is None for by in everyone):  # else nothing of this answer says anything of an arm
            self.sampler.offer(self._replica.judge, everyone, form.query, done.hits)
        return _search_body(done), headers, everyone

    async def _feedback(self, form: forms.FeedbackForm) -> tuple[Any, Headers, Everyone]:
        """Counted for the version that answered. Names of metrics become labels, so there is a bound on them."""
        if form.metric not in self._metric_names and len(self._metric_names) >= MOST_METRICS:
            raise Refused(
                422, "too_many_metrics", f"{MOST_METRICS} metrics are known already; use one of them", param="metric"
            )
        by = self._answering.named(form.version) if form.version else self._answering.assigned(form.query)
        self._metric_names.add(form.metric)
        self._metrics.feedback.labels(by.version, form.metric).inc()
        self._metrics.feedback_sum.labels(by.version, form.metric).inc(form.value)
        self._counter.valued(form.query, form.metric, form.value, form.version)
        return {"accepted": True, "version": by.version}, _headers(by, None), (Assignment(by.version),)

    # ---- what other replicas ask

    async def _peer_claims(self, request: Request) -> Response:
        try:
            answer = self._counter.claimed(await self._body(request))
        except Refused as refused:
            return refusal(refused)
        except (KeyError, TypeError, ValueError) as error:
            return refusal(Refused(400, "invalid_value", f"no claims of a replica: {error!r}"))
        return Response(orjson.dumps(answer), 200, media_type=JSON)

    async def _peer_units(self, request: Request) -> Response:
        return Response(orjson.dumps(self._counter.units(request.query_params.get("run", ""))), 200, media_type=JSON)

    # ---- how it is

    async def _versions(self, _: Request) -> Response:
        return Response(self._replica.report().to_json(), 200, media_type=JSON)

    async def _traffic_report(self, _: Request) -> Response:
        return Response(self._traffic.report(wall_clock()).to_json(), 200, media_type=JSON)

    async def _healthz(self, _: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def _readyz(self, _: Request) -> Response:
        if self._replica.ready:
            return Response("ready\n", media_type="text/plain")
        problem = self._replica.problem
        why = "draining" if self._replica.draining else problem.message if problem else "no configuration yet"
        return Response(why + "\n", 503, media_type="text/plain")

    async def _prometheus(self, _: Request) -> Response:
        body, kind = self._metrics.text()
        return Response(body, media_type=kind)


async def _http_error(_: Request, error: Exception) -> Response:
    """Paths and methods that are not there, in the form of all other errors."""
    assert isinstance(error, HTTPException)
    code = {404: "path_not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    answer = refusal(Refused(error.status_code, code, f"{error.detail}; {ENDPOINTS}"))
    answer.headers.update(error.headers or {})
    return answer


def refusal(refused: Refused) -> Response:
    """As an answer. It names the version that failed, as an answer would."""
    headers = _headers(refused.by, None) if refused.by is not None and refused.by.version else {}
    if refused.retry_after is not None:
        headers["retry-after"] = str(max(1, round(refused.retry_after)))
    return Response(orjson.dumps(refused.body()), refused.status, headers, JSON)


def _headers(by: Assignment, collection: str | None, version: str = "x-attune-version") -> Headers:
    """`version` names the header; those of a reranker's test and guard follow its name, as each type has its own."""
    headers = {version: by.version}
    prefix = "x-attune" if version == "x-attune-version" else version
    if collection is not None:
        headers["x-attune-index"] = collection
    if by.instead_of is not None:
        headers[f"{prefix}-fallback"] = by.instead_of
    if by.test is not None:
        headers |= {f"{prefix}-test": by.test, f"{prefix}-arm": by.arm or ""}
    return headers


def _search_body(done: Found) -> dict[str, Any]:
    return {
        "object": "list",
        "model": done.by.version,
        "index": done.collection,
        "data": [
            {
                "id": hit.id,
                "score": hit.score,
                "title": hit.title,
                "content": hit.content,
                "publishedAt": hit.published_at,
            }
            for hit in done.hits
        ],
    }


def _body_too_large(limit: int) -> Refused:
    return too_large("body", f"larger than {limit} bytes (ATTUNE_MAX_BODY_BYTES); send fewer texts at once")
