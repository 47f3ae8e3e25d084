"""A real Prometheus on a free port: scrapes what it is told to, is killed, restarted, and loses its data when a test wants it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from debian_packages import program

WAIT = 60


class PrometheusServer:
    """`start`, then `url`. `targets` are host:port; they, and everything in `scrape`, may be changed while it runs (`reload`)."""

    def __init__(self, folder: Path, *, interval: str = "1s", jobs: Sequence[dict[str, Any]] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._interval = interval
        self.jobs = list(jobs) or [self.file_job()]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
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

    def start(self) -> PrometheusServer:
        self._write()
        options = {
            "config.file": self.folder / "prometheus.yml",
            "storage.tsdb.path": self.folder / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
            "web.external-url": self.url,
            "log.level": "warn",
        }
        command = [str(program("prometheus")), *(f"--{k}={v}" for k, v in options.items())]
        with (self.folder / "prometheus.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        end = time.monotonic() + WAIT
        while not self._ready():
            said = (self.folder / "prometheus.log").read_text()[-2000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.1)
        return self

    def reload(self) -> None:
        """Act by `jobs` as they are now."""
        self._write()
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT)

    def restart(self) -> None:
        self.stop()
        self.start()

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
        settings = {
            "scrape_interval": self._interval,
            "scrape_timeout": self._interval,
            "evaluation_interval": self._interval,
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump({"global": settings, "scrape_configs": self.jobs}))

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
