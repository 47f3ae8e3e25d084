"""Programs out of Debian packages, unpacked into the cache folder and run by tests: no root, no service, nothing installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

CACHE = Path(os.environ.get("ATTUNE_CACHE") or Path.home() / ".cache" / "attune") / "debian"
WAIT = 60


class Daemon:
    """A program with an HTTP API that answers at /-/ready, on a free port of 127.0.0.1: `start`, then `url`. Its log is in `folder`."""

    name: str
    """Of the program, and of its Debian package."""
    reads_share = False
    """It reads files of its package below /usr/share, by paths that cannot be told to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def options(self) -> Mapping[str, object]:
        """Options of the command line; what they name is written by now."""
        raise NotImplementedError

    def start(self) -> Self:
        """Until it answers."""
        path = program(self.name)
        options = [f"--{k}={v}" for k, v in self.options().items()]
        command = [*(_with_share_of(path) if self.reads_share else []), str(path), *options]
        log = self.folder / f"{self.name}.log"
        with log.open("ab") as lines:
            self._process = subprocess.Popen(command, stdout=lines, stderr=lines, cwd=self.folder)
        end = time.monotonic() + WAIT
        while not self._ready():
            said = log.read_text()[-2000:]
            assert self._process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.1)
        return self

    def send(self, signal: int) -> None:
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(signal)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone; nothing if it is."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; nothing if it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(WAIT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _with_share_of(path: Path) -> list[str]:
    """A command that shows a program out of the cache its package's /usr/share, in a mount namespace of its own, as devcluster's Pods."""
    if not path.is_relative_to(CACHE):
        return []
    share = path.parents[1] / "share"
    script = 'mount --bind "$0" /usr/share && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(share)]


def program(name: str) -> Path:
    """The program from PATH, or from the Debian package of its name; RuntimeError says what to install."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / name
        if not folder.is_dir():
            try:
                _unpack(name, folder)
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", None) or error
                raise RuntimeError(
                    f"{name} is not on PATH, and its Debian package cannot be unpacked into {folder}: {str(said).strip()[-300:]}. "
                    f"Install it: apt-get install {name}"
                ) from error
    return folder / "usr" / "bin" / name


def _unpack(package: str, folder: Path) -> None:
    """All of it, or nothing."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        try:
            run(["apt-get", "-q", "download", package], work)
        except subprocess.SubprocessError:
            own = options(work, lists=True)
            run(["apt-get", "-q", *own, "update"], work)
            run(["apt-get", "-q", *own, "download", package], work)
        (deb,) = work.glob("*.deb")
        run(["dpkg-deb", "-x", str(deb), "out"], work)
        (work / "out").replace(folder)


def unpack_with_needed(packages: list[str], folder: Path) -> None:
    """Packages and whatever they need that is not installed here; all of it, or nothing."""
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        wanted = ["install", "--yes", "--download-only", "--no-install-recommends", *packages]
        try:
            run(["apt-get", "-q", *options(work), *wanted], work)
        except subprocess.SubprocessError:
            own = options(work, lists=True)
            run(["apt-get", "-q", *own, "update"], work)
            run(["apt-get", "-q", *own, *wanted], work)
        for deb in sorted((work / "cache" / "archives").glob("*.deb")):
            run(["dpkg-deb", "-x", str(deb), "out"], work)
        (work / "out").replace(folder)


def options(work: Path, *, lists: bool = False) -> list[str]:
    """For a cache of our own; with lists of our own, too: those of the machine may be old, missing, or not ours to renew."""
    for part in ("lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True, exist_ok=True)
    chosen = {"Dir::Cache": work / "cache", "APT::Sandbox::User": "", "Debug::NoLocking": "1"}
    chosen |= {"Dir::State::Lists": work / "lists"} if lists else {}
    return [part for key, value in chosen.items() for part in ("-o", f"{key}={value}")]


def run(command: list[str], work: Path) -> None:
    subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300, check=True)
