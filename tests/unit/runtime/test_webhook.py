"""Alertmanager's webhook over HTTP: who may, what is understood, what is answered, and that a flood does no harm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from attune.cluster.inbox import Inbox, Place
from attune.telemetry import webhook as module
from attune.telemetry.metrics import Metrics
from attune.telemetry.server import TelemetryServer
from attune.telemetry.webhook import HANDED_OVER, PATH, Webhook

TOKEN = "s3cret-token"
NEWS: Place = ("team", "news")


class Operator:
    """Leads or not, and decides at once, unless it is told to hang."""

    def __init__(self, folder: Path) -> None:
        self.inbox, self.metrics = Inbox(), Metrics()
        self.leading, self.hangs, self.leader = True, False, None
        self.known: set[Place] = {NEWS, ("other", "news"), ("team", "only")}
        self.seen: list[tuple[Place, Any]] = []
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN + "\n")

    def leads(self) -> bool:
        return self.leading

    def leader_url(self) -> str | None:
        return self.leader

    def places(self) -> set[Place]:
        return self.known

    def wake(self, place: Place) -> None:
        if not self.hangs:
            asyncio.get_running_loop().call_soon(self.decide, place)

    def decide(self, place: Place) -> None:
        alerts = self.inbox.alerts(place)
        self.seen += [(place, alert) for alert in alerts]
        self.inbox.settle(place, alerts, lambda alert: "rolled_back" if alert.firing else "ignored")

    def outcomes(self) -> dict[str, float]:
        text = self.metrics.render().decode().splitlines()
        found = (line for line in text if line.startswith("attune_webhook_alerts_total{"))
        return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found}


@asynccontextmanager
async def listening(operator: Operator, **more: Any) -> AsyncIterator[str]:
    token_file = more.pop("token_file", operator.token_file)
    hook = Webhook(operator.inbox, operator.metrics, operator, token_file, **more)
    server = TelemetryServer(operator.metrics, live=list, ready=list, webhook=hook)
    port = await server.start("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop()


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


def an_alert(n: int = 1, *, status: str = "firing", **labels: str) -> dict[str, Any]:
    known = {
        "alertname": "AttuneVersionErrors",
        "attune_namespace": "team",
        "attune_retriever": "news",
        "attune_version": "emb-v2",
    }
    return {
        "status": status,
        "labels": {k: v for k, v in (known | labels).items() if v},
        "annotations": {"summary": "31% of requests fail"},
        "startsAt": "2026-03-15T12:00:01.234+02:00",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{n:016x}",
    }


def message(*alerts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": "{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "attune",
        "alerts": list(alerts),
    } | more


async def post(url: str, body: Any, *, token: str | None = TOKEN, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    auth = {"Authorization": f"Bearer {token}"} if token is not None else {}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(url + PATH, content=content, headers=auth | headers)


async def test_a_firing_alert_is_answered_after_it_was_dealt_with(operator: Operator) -> None:
    async with listening(operator) as url:
        answer = await post(url, message(an_alert(), an_alert(2, status="resolved")))
    assert (answer.status_code, answer.json()) == (200, {"outcomes": {"rolled_back": 1, "ignored": 1}})
    place, alert = operator.seen[0]
    assert place == NEWS
    assert (alert.version, alert.name, alert.summary, alert.firing) == (
        "emb-v2",
        "AttuneVersionErrors",
        "31% of requests fail",
        True,
    )
    assert alert.starts_at == datetime(2026, 3, 15, 10, 0, 1, tzinfo=UTC)
    assert operator.outcomes() == {"rolled_back": 1, "ignored": 1}


@pytest.mark.parametrize("token", ["wrong", None, TOKEN + "x"])
async def test_a_wrong_token_is_401_whatever_the_body(operator: Operator, token: str | None) -> None:
    async with listening(operator) as url:
        for body in (message(an_alert()), b"{", b"x" * (module.MOST_BYTES + 1)):
            answer = await post(url, body, token=token)
            assert answer.status_code == 401
            assert "wrong token" in answer.text
    assert operator.seen == []


async def test_the_token_is_changed_without_a_restart_and_two_may_be_valid_meanwhile(operator: Operator) -> None:
    async with listening(operator) as url:
        operator.token_file.write_text(f"{TOKEN}\nnew\n")
        assert (await post(url, message(an_alert()))).status_code == 200
        assert (await post(url, message(an_alert(2)), token="new")).status_code == 200
        operator.token_file.write_text("new")
        assert (await post(url, message(an_alert(3)))).status_code == 401
        operator.token_file.unlink()
        gone = await post(url, message(an_alert(4)), token="new")
        assert (gone.status_code, "no token yet" in gone.text) == (503, True)
    async with listening(operator, token_file=None) as url:
        off = await post(url, message(an_alert()))
        assert (off.status_code, "ATTUNE_WEBHOOK_TOKEN_FILE" in off.text) == (503, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body"),
        (b"{", "the body"),
        (b"[]", "the body"),
        (b"\xff\xfe", "the body"),
        (message(version="3"), "version"),
        ({"version": "4"}, "alerts: Field required"),
        (message({**an_alert(), "status": "maybe"}), "alerts.0.status"),
        (message({**an_alert(), "startsAt": "yesterday"}), "alerts.0.startsAt"),
        (message({**an_alert(), "startsAt": "2026-03-15T12:00:00"}), "alerts.0.startsAt"),
        (message({**an_alert(), "fingerprint": "f" * 65}), "alerts.0.fingerprint"),
        (message({**an_alert(), "labels": {"attune_version": 7}}), "alerts.0.labels"),
    ],
)
async def test_what_is_no_notification_is_400_and_names_the_field(operator: Operator, body: Any, words: str) -> None:
    async with listening(operator) as url:
        answer = await post(url, body)
    assert answer.status_code == 400
    assert words in answer.text
    assert operator.seen == []


async def test_a_body_that_is_too_large_is_413_with_and_without_its_length(operator: Operator) -> None:
    large = json.dumps(message(an_alert(long="x" * module.MOST_BYTES))).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for n in range(0, len(large), 1 << 16):
            yield large[n : n + (1 << 16)]

    async with listening(operator) as url:
        assert (await post(url, large)).status_code == 413
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            chunked = await client.post(url + PATH, content=pieces(), headers=headers)
    assert chunked.status_code == 413
    assert "max_alerts" in chunked.text
    assert operator.seen == []


@pytest.mark.parametrize(
    ("labels", "outcome"),
    [
        ({"attune_namespace": "nowhere"}, "unknown"),
        ({"attune_retriever": "unheard-of"}, "unknown"),
        ({"attune_retriever": ""}, "unknown"),
        ({"attune_version": ""}, "unknown"),
        ({"attune_namespace": "", "namespace": "other"}, "rolled_back"),
        ({"attune_namespace": ""}, "unknown"),  # two Retrievers have that name
        ({"attune_namespace": "", "attune_retriever": "only"}, "rolled_back"),
    ],
)
async def test_who_is_meant_is_found_by_labels_and_what_is_unknown_is_2xx_and_counted(
    operator: Operator, labels: dict[str, str], outcome: str
) -> None:
    async with listening(operator) as url:
        answer = await post(url, message(an_alert(**labels)))
    assert (answer.status_code, answer.json()["outcomes"]) == (200, {outcome: 1})
    assert operator.outcomes() == {outcome: 1}


async def test_what_is_not_dealt_with_in_time_is_503_so_that_it_comes_again(operator: Operator) -> None:
    operator.hangs = True
    async with listening(operator, seconds=0.2) as url:
        late = await post(url, message(an_alert()))
        assert (late.status_code, late.headers["connection"]) == (503, "close")
        operator.hangs = False
        again = await post(url, message(an_alert()))
    assert again.json() == {"outcomes": {"rolled_back": 1}}
    assert len(operator.seen) == 1


async def test_a_standby_hands_over_to_the_leader_and_a_second_standby_does_not(tmp_path: Path) -> None:
    leader, standby, other = (Operator(tmp_path) for _ in range(3))
    standby.leading = other.leading = False
    async with listening(leader) as a, listening(standby) as b, listening(other) as c:
        unknown = await post(b, message(an_alert()))
        assert (unknown.status_code, "does not know who does" in unknown.text) == (503, True)
        standby.leader = a
        assert (await post(b, message(an_alert()))).json() == {"outcomes": {"rolled_back": 1}}
        standby.leader = c
        turned = await post(b, message(an_alert()))
        assert (turned.status_code, "does not lead any more" in turned.text) == (503, True)
        standby.leader = "http://127.0.0.1:9"
        away = await post(b, message(an_alert()))
        assert (away.status_code, "does not answer" in away.text) == (503, True)
    assert (len(leader.seen), standby.seen, other.seen) == (1, [], [])
    assert HANDED_OVER == "X-Attune-Handed-Over"


async def test_a_leader_that_is_deposed_meanwhile_answers_503(operator: Operator) -> None:
    operator.hangs = True
    async with listening(operator) as url:
        waiting = asyncio.create_task(post(url, message(an_alert())))
        while not operator.inbox.alerts(NEWS):  # noqa: ASYNC110  the inbox tells nobody but the reconcile
            await asyncio.sleep(0.01)
        operator.inbox.clear()
        answer = await waiting
    assert (answer.status_code, "does not lead any more" in answer.text) == (503, True)


async def test_a_flood_is_answered_and_what_waits_is_bounded(operator: Operator) -> None:
    operator.hangs = True
    async with listening(operator, seconds=0.5) as url, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}

        async def one(n: int) -> int:
            body = message(*(an_alert(100 * n + k) for k in range(100)))
            return (await client.post(url + PATH, json=body, headers=headers)).status_code

        found = await asyncio.gather(*(one(n) for n in range(100)))  # ten thousand alerts
        assert set(found) == {503}
        assert operator.inbox.waiting <= 64
        operator.hangs = False
        operator.decide(NEWS)
        answer = await post(url, message(an_alert(99_999)))
    assert answer.json() == {"outcomes": {"rolled_back": 1}}
