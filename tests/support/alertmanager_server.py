"""A real Alertmanager on a free port that passes alerts on to one receiver, as the operator is one in a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from debian_packages import Daemon


class AlertmanagerServer(Daemon):
    """`start`, then `url`, and `address` for a Prometheus. Groups by all labels, so each alert is a notification of its own."""

    name = "prometheus-alertmanager"
    reads_share = True  # its templates

    def __init__(
        self,
        folder: Path,
        receiver_url: str,
        bearer_token: str | None = None,
        *,
        group_wait: str = "0s",
        group_interval: str = "1s",
        repeat_interval: str = "4h",
    ) -> None:
        super().__init__(folder)
        self._since: dict[frozenset[tuple[str, str]], datetime] = {}
        webhook: dict[str, Any] = {"url": receiver_url, "send_resolved": True}
        if bearer_token is not None:
            webhook["http_config"] = {"authorization": {"type": "Bearer", "credentials": bearer_token}}
        self._config = {
            "route": {
                "receiver": "attune",
                "group_by": ["..."],
                "group_wait": group_wait,
                "group_interval": group_interval,
                "repeat_interval": repeat_interval,
            },
            "receivers": [{"name": "attune", "webhook_configs": [webhook]}],
        }

    def options(self) -> Mapping[str, object]:
        config = self.folder / "alertmanager.yml"
        config.write_text(yaml.safe_dump(self._config))
        return {
            "config.file": config,
            "storage.path": self.folder / "data",
            "web.listen-address": self.address,
            "web.external-url": self.url,
            "cluster.listen-address": "",
            "log.level": "warn",
        }

    def post_alert(
        self,
        labels: Mapping[str, str],
        annotations: Mapping[str, str] | None = None,
        *,
        firing: bool = True,
        clock: timedelta = timedelta(),
    ) -> None:
        """An alert as Prometheus sends it: it fires for five minutes, since it first did, or is resolved now. `clock`: by how much its
        clock is ahead."""
        now = datetime.now(UTC) + clock
        key = frozenset(labels.items())
        since = self._since.setdefault(key, now) if firing else self._since.pop(key, now)
        alert = {
            "labels": dict(labels),
            "annotations": dict(annotations or {}),
            "startsAt": since.isoformat(),
            "endsAt": (now + timedelta(minutes=5) if firing else now).isoformat(),
        }
        answer = httpx.post(f"{self.url}/api/v2/alerts", json=[alert], trust_env=False)
        assert answer.status_code == 200, answer.text
