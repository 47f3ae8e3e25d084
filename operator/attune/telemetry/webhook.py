"""POST /webhooks/alertmanager: Alertmanager's notifications (version 4). A firing alert about the active version takes it back.

Delivered at least once, so every answer is true: 2xx only after what came of each alert is stored, 503 where this process cannot act now,
so that Alertmanager tries again. A standby hands it over to the leader. Mounted by `telemetry.server`, made in `runtime`.
"""

import asyncio
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Protocol

import aiohttp
import structlog
from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from attune.cluster.inbox import DEPOSED, Inbox, InboxFull, Place
from attune.contract import health
from attune.observation import Alert
from attune.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

PATH = "/webhooks/alertmanager"
HANDED_OVER = "X-Attune-Handed-Over"
MOST_BYTES = 4 << 20
MOST_AT_ONCE = 512
"""Requests that wait for their outcome; a flood beyond that is told to come again."""
SECONDS = 8.0
"""Alertmanager gives up a request after 10 s or so, and sends it again."""
CONNECT_SECONDS = 0.5
SHOWN = 160


class _Alert(BaseModel):
    """The fields that are read; https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    startsAt: AwareDatetime  # noqa: N815  Alertmanager's name
    fingerprint: Annotated[str, Field(min_length=1, max_length=64)]


class _Message(BaseModel):
    version: Literal["4"]
    alerts: list[_Alert]


class Answers(Protocol):
    """Who leads, and what is there; `runtime` knows."""

    def leads(self) -> bool: ...
    def leader_url(self) -> str | None: ...
    def places(self) -> set[Place]: ...
    def wake(self, place: Place) -> None: ...


@dataclass
class Webhook:
    """One instance a process."""

    inbox: Inbox
    metrics: Metrics
    answers: Answers
    token_file: Path | None
    seconds: float = SECONDS
    _waiting: int = field(default=0, init=False)

    async def post(self, request: web.Request) -> web.Response:
        """One notification."""
        if (refused := self._unauthorized(request)) is not None:
            return refused
        if self._waiting >= MOST_AT_ONCE:
            return self._refuse(503, f"{self._waiting} notifications wait already; try again")
        self._waiting += 1
        log.info("notification", bytes=request.content_length, handed_over=HANDED_OVER in request.headers)
        try:
            return await self._answered(request)
        finally:
            self._waiting -= 1

    async def _answered(self, request: web.Request) -> web.Response:
        try:
            body = await _all_of(request)
            if len(body) > MOST_BYTES:
                return self._refuse(
                    413, f"more than {MOST_BYTES >> 20} MiB; set max_alerts in the receiver's webhook_configs"
                )
            message = _Message.model_validate_json(body)
        except ValidationError as error:
            return self._refuse(400, f"no notification of Alertmanager, version 4: {_first(error)}")
        if self.answers.leads():
            return await self._acted(message.alerts)
        if HANDED_OVER in request.headers:
            return self._refuse(503, "this replica does not lead any more; try again")
        return await self._handed_over(request, body)

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        """The file is read at each request: a Secret that is mounted is renewed without a restart. Each of its lines is a token."""
        if self.token_file is None:
            return self._refuse(503, "this operator takes no alerts; set ATTUNE_WEBHOOK_TOKEN_FILE")
        try:
            tokens = self.token_file.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("no token", file=str(self.token_file), problem=str(error))
            tokens = []
        if not tokens:
            return self._refuse(
                503, "this operator has no token yet; create the Secret that ATTUNE_WEBHOOK_TOKEN_FILE names"
            )
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        right = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
        if kind.lower() != "bearer" or not any(right):
            return self._refuse(
                401, "a wrong token; give the one of the Secret as http_config.authorization.credentials_file"
            )
        return None

    # ---- the leader

    async def _acted(self, alerts: Sequence[_Alert]) -> web.Response:
        outcomes: Counter[str] = Counter()
        waiting: list[asyncio.Future[str]] = []
        places = self.answers.places()
        try:
            for alert in alerts:
                place = _place(alert, places)
                if place is None:
                    outcomes["unknown"] += 1
                    continue
                waiting.append(self.inbox.put(place, _alert(alert)))
                self.answers.wake(place)
        except InboxFull as full:
            return self._refuse(503, f"{full}; try again")
        if waiting:
            done, late = await asyncio.wait(waiting, timeout=self.seconds)
            outcomes.update(answer.result() for answer in done)
            if late:
                return self._refuse(503, f"{len(late)} alerts are not dealt with after {self.seconds:g} s; try again")
        if outcomes[DEPOSED]:
            return self._refuse(503, "this replica does not lead any more; try again")
        for outcome, count in outcomes.items():
            self.metrics.alert(outcome, count)
        if outcomes["unknown"]:
            log.warning("alerts about nothing that is here", count=outcomes["unknown"], first=_shown(alerts[0]))
        log.info("alerts", **outcomes)
        return web.json_response({"outcomes": dict(outcomes)})

    # ---- a standby

    async def _handed_over(self, request: web.Request, body: bytes) -> web.Response:
        url = self.answers.leader_url()
        if url is None:
            return self._refuse(503, "this replica does not lead, and does not know who does; try again")
        headers = {
            "Authorization": request.headers["Authorization"],
            "Content-Type": "application/json",
            HANDED_OVER: "1",
        }
        timeout = aiohttp.ClientTimeout(total=self.seconds + 1, sock_connect=CONNECT_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(url + PATH, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return self._refuse(503, f"the leader does not answer: {type(error).__name__}; try again")

    def _refuse(self, status: int, words: str) -> web.Response:
        """In words, and the connection is closed: the next try may reach another replica."""
        self.metrics.alert("refused")
        log.warning("notification refused", status=status, problem=words)
        response = web.Response(text=words + "\n", status=status)
        response.force_close()
        return response


async def _all_of(request: web.Request) -> bytes:
    """The body, or as much of it as is already too much."""
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MOST_BYTES:
            break
    return bytes(body)


def _alert(alert: _Alert) -> Alert:
    return Alert(
        fingerprint=alert.fingerprint,
        starts_at=_whole_second(alert.startsAt),
        firing=alert.status == "firing",
        version=alert.labels[health.VERSION],
        name=alert.labels.get("alertname", "without a name")[:SHOWN],
        summary=(alert.annotations.get("summary") or alert.annotations.get("description") or "")[:SHOWN],
    )


def _whole_second(at: datetime) -> datetime:
    """As it is stored: times of the API have no fractions."""
    return at.replace(microsecond=0)


def _place(alert: _Alert, places: set[Place]) -> Place | None:
    """The Retriever it is about. Without a namespace it is the only one of that name."""
    name, version = alert.labels.get(health.RETRIEVER), alert.labels.get(health.VERSION)
    if not name or not version:
        return None
    namespace = alert.labels.get(health.NAMESPACE) or alert.labels.get("namespace")
    if namespace:
        return (namespace, name) if (namespace, name) in places else None
    found = [place for place in places if place[1] == name]
    return found[0] if len(found) == 1 else None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"


def _shown(alert: _Alert) -> str:
    return str({k: alert.labels[k] for k in sorted(alert.labels) if k.startswith("attune") or k == "alertname"})[:SHOWN]
