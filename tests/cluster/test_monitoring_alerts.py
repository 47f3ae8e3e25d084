"""From a number that turns bad to the operator's webhook: our rules in a real Prometheus, our route in a real Alertmanager."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from alertmanager_server import AlertmanagerServer
from attune.contract import health
from metrics_page import MetricsPage
from prometheus_server import PrometheusServer

MONITORING = Path(__file__).parents[2] / "manifests" / "monitoring"
VERSION = {
    health.NAMESPACE: "rag",
    health.RETRIEVER: "news",
    health.TYPE: "embedding",
    health.VERSION: "emb-v2-20260315",
}


def named(labels: dict[str, str]) -> str:
    """As in the text format."""
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


class Page(MetricsPage):
    """What operator and serving say of a version; Alertmanager posts to the same address."""

    def counted(self, attempts: int, failures: int, promoted: datetime) -> None:
        """What operator and serving say of the version."""
        labels = named(VERSION)
        self.lines = [
            "attune_leader 1",
            f"attune_active_version{{{labels}}} {promoted.timestamp()}",
            f"attune_promoted_version{{{labels}}} {promoted.timestamp()}",
            f'{health.ATTEMPTS}{{{labels},{health.PROCESS}="p"}} {attempts}',
            f'{health.FAILURES}{{{labels},{health.PROCESS}="p",{health.REASON}="model_failed"}} {failures}',
        ]


class OurAlertmanager(AlertmanagerServer):
    """With manifests/monitoring/alertmanager.yml; only the place of the operator and of the token are this test's."""

    def __init__(self, folder: Path, operator: str, token_file: Path) -> None:
        super().__init__(folder, operator)
        config = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
        hook = config["receivers"][0]["webhook_configs"][0]
        hook["url"] = hook["url"].replace("attune-operator.attune-system.svc:8080", operator)
        hook["http_config"]["authorization"]["credentials_file"] = str(token_file)
        self._config = config


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.stop()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


@pytest.fixture
def prometheus(tmp_path: Path, page: Page, token_file: Path) -> Iterator[PrometheusServer]:
    """Scrapes the page every second, and tells our Alertmanager."""
    alertmanager = OurAlertmanager(tmp_path / "alertmanager", page.address, token_file).start()
    made = PrometheusServer(
        tmp_path / "prometheus", rules=[MONITORING / "rules.yml"], alertmanagers=[alertmanager.address]
    )
    made.targets([page.address])
    yield made.start()
    made.stop()
    alertmanager.stop()


def until(what: Callable[[], bool], seconds: float) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() < began + seconds, "it did not happen in time"
        time.sleep(0.1)
    return time.monotonic() - began


def test_a_version_that_turns_bad_is_at_the_operators_webhook_in_seconds(
    prometheus: PrometheusServer, page: Page, token_file: Path
) -> None:
    promoted = datetime.now(UTC)
    page.counted(100, 0, promoted)
    prometheus.until(f"sum({health.ATTEMPTS})", 100)
    time.sleep(2)  # two scrapes in which nothing is wrong
    assert page.received == []

    page.counted(400, 300, promoted)
    # scrape 1 s, evaluation 5 s, and nothing that waits in Alertmanager
    until(lambda: bool(page.received), 15)
    path, authorization, body = page.received[0]
    assert path == "/webhooks/alertmanager"
    assert authorization == "Bearer first-token"
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "attune")
    alert = body["alerts"][0]  # the one that came first is not kept until the other one is there
    assert alert["labels"]["alertname"] in {"AttuneVersionErrors", "AttuneVersionOutage"}
    assert alert["labels"].items() >= {**VERSION, "attune_rollback": "true", "severity": "critical"}.items()
    assert "of 300 attempts in" in alert["annotations"]["summary"]
    assert body["groupLabels"] == {k: v for k, v in VERSION.items() if k != health.TYPE}

    token_file.write_text("second-token\n")  # rotated: nothing is restarted
    page.counted(200_000, 300, promoted)
    until(lambda: page.received[-1][2]["status"] == "resolved", 40)
    assert page.received[-1][1] == "Bearer second-token"
