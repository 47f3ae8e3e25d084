"""A real attune-serving process on a free port, told by a file or by an API server, and what it answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from attune.contract import ReplicaReport, ServedModel, ServedVersion, ServingConfig
from attune.contract.stage import ModelType

WAIT = 60
HTTP = httpx.Client(trust_env=False, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))
"""One for all, since each reads the certificates of the machine; no connection is kept, since servers are killed and come back."""


class ServingProcess:
    """`start`, then `url`; `stop` ends it well, `kill` does not."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config_file = folder / "serving.json"
        self._log = folder / "serving.log"
        self._environment = {
            **os.environ,
            "ATTUNE_CONFIG_FILE": str(self.config_file),
            "ATTUNE_CACHE": str(folder / "cache"),
            "ATTUNE_REPLICA": "pod-0",
            "ATTUNE_HTTP_HOST": "127.0.0.1",
            "ATTUNE_HTTP_PORT": "0",
            "ATTUNE_DRAIN_SECONDS": "0.2",
            "ATTUNE_RETRY_SECONDS": "0.2",
            **settings,
        }
        self.arguments: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        self.url = ""

    @property
    def log(self) -> str:
        return self._log.read_text()[self._from :] if self._log.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def tell(self, config: ServingConfig | str) -> None:
        """Write the configuration, whole."""
        text = config if isinstance(config, str) else config.to_json(indent=2)
        draft = self.config_file.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(self.config_file)

    def start(self) -> ServingProcess:
        self._from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "attune_serving", *self.arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        port = self.until(self._port)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(WAIT)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(WAIT)

    def until(self, check: Callable[[], Any]) -> Any:
        """What `check` gives once that is true; fails with the log."""
        end = time.monotonic() + WAIT
        while True:
            found = check()
            if found:
                return found
            assert self._process is None or self._process.poll() is None, self.log[-3000:]
            assert time.monotonic() < end, self.log[-3000:]
            time.sleep(0.02)

    def get(self, path: str) -> httpx.Response:
        return HTTP.get(self.url + path)

    def post(self, path: str, body: Any) -> httpx.Response:
        return HTTP.post(self.url + path, json=body)

    def report(self) -> ReplicaReport:
        return ReplicaReport.from_json(self.get("/v1/versions").content)

    def ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def metric(self, name: str, **labels: str) -> float | None:
        """A sample of /metrics."""
        wanted = {f'{k}="{v}"' for k, v in labels.items()}
        for line in self.get("/metrics").text.splitlines():
            head, _, value = line.rpartition(" ")
            series, _, given = head.partition("{")
            if series == name and wanted <= set(given.rstrip("}").split(",")) | {""} - ({""} if wanted else set()):
                return float(value)
        return None

    def _port(self) -> int | None:
        for line in self.log.splitlines():
            if '"attune serving starts"' in line:
                return int(json.loads(line)["port"])
        return None


def served(made: Any, **more: Any) -> ServedVersion:
    """A tiny artifact as the configuration lists it."""
    return ServedVersion(
        name=made.name,
        type=ModelType.EMBEDDING,
        uri=str(made.folder),
        digest=made.digest,
        dimensions=made.dimensions,
        embedding_space=made.space,
        **more,
    )


def serving_config(active: ServedVersion, *others: ServedVersion, generation: int = 1, **more: Any) -> ServingConfig:
    """`active` answers; `others` are loaded beside it."""
    known: dict[str, Any] = {"embedding": ServedModel(active=active.name), "versions": (active, *others)}
    return ServingConfig(namespace="news", retriever="news", generation=generation, **(known | more))
