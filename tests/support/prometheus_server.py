"""A real Prometheus on a free port: scrapes what it is told to, is killed, restarted, and loses its data when a test wants it."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from debian_packages import WAIT, Daemon


class PrometheusServer(Daemon):
    """`start`, then `url`. `targets` are host:port; they, and everything in `jobs`, may be changed while it runs (`reload`).

    `alertmanagers` are host:port of where its alerts go, `rules` files in Prometheus' own form.
    """

    name = "prometheus"

    def __init__(
        self,
        folder: Path,
        *,
        interval: str = "1s",
        jobs: Sequence[dict[str, Any]] = (),
        alertmanagers: Sequence[str] = (),
        rules: Sequence[Path] = (),
    ) -> None:
        super().__init__(folder)
        self._interval = interval
        self.jobs = list(jobs) or [self.file_job()]
        self._alertmanagers = list(alertmanagers)
        self._rules = list(rules)
        self.targets([])

    def file_job(self, name: str = "serving", **more: Any) -> dict[str, Any]:
        """A job over the targets of `targets`."""
        return {"job_name": name, "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}], **more}

    def targets(self, addresses: Sequence[str] | Mapping[str, str]) -> None:
        """host:port of each, or Pod → host:port, as service discovery would label them (Debian's build has none for Kubernetes)."""
        pods = addresses.items() if isinstance(addresses, Mapping) else (("", a) for a in addresses)
        draft = self.folder / "targets.draft"
        draft.write_text(json.dumps([{"targets": [a], "labels": {"pod": pod} if pod else {}} for pod, a in pods]))
        draft.replace(self.folder / "targets.json")

    def options(self) -> Mapping[str, object]:
        self._write()
        return {
            "config.file": self.folder / "prometheus.yml",
            "storage.tsdb.path": self.folder / "data",
            "web.listen-address": self.address,
            "web.external-url": self.url,
            "log.level": "warn",
            "rules.alert.resend-delay": self._interval,  # what fired before the Alertmanager was found is sent again
        }

    def reload(self) -> None:
        """Act by `jobs` as they are now."""
        self._write()
        self.send(signal.SIGHUP)

    def wipe(self) -> None:
        """All data gone, as after the loss of a volume."""
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        self.start()

    def value(self, query: str) -> float | None:
        """The first value of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False).json()
        found = answer["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def until(self, query: str, wanted: float) -> None:
        end = time.monotonic() + WAIT
        while (found := self.value(query)) != wanted:
            assert time.monotonic() < end, f"{query} is {found}, not {wanted}"
            time.sleep(0.2)

    def _write(self) -> None:
        every = {
            "scrape_interval": self._interval,
            "scrape_timeout": self._interval,
            "evaluation_interval": self._interval,
        }
        config = {
            "global": every,
            "scrape_configs": self.jobs,
            "rule_files": [str(path) for path in self._rules],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": self._alertmanagers}]}]},
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
