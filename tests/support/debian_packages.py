"""Programs out of Debian packages, unpacked into the cache folder: no root, no service, nothing installed on the machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("ATTUNE_CACHE") or Path.home() / ".cache" / "attune") / "debian"


def program(name: str, package: str | None = None) -> Path:
    """The program from PATH, or from its Debian package (`package`, by default of the same name)."""
    found = shutil.which(name)
    if found is not None:
        return Path(found)
    package = package or name
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = CACHE / package
        if not folder.is_dir():
            _unpack(package, folder)
    return folder / "usr" / "bin" / name


def _unpack(package: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        work = Path(name)
        lists = _lists(work)
        tried = [_download(package, work, []), None]
        if not list(work.glob("*.deb")):
            _run(["apt-get", "-q", *lists, "update"], work)
            tried[1] = _download(package, work, lists)
        debs = list(work.glob("*.deb"))
        if not debs:
            said = "; ".join(t for t in tried if t)
            raise RuntimeError(
                f"{package} is not on PATH, and cannot be downloaded: {said}. Install it: apt-get install {package}"
            )
        _run(["dpkg-deb", "-x", str(debs[0]), str(work / "out")], work)
        (work / "out").replace(folder)


def _lists(work: Path) -> list[str]:
    """Package lists of our own: those of the machine may be old, missing, or not ours to renew."""
    for part in ("lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    chosen = {
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
    }
    return [part for key, value in chosen.items() for part in ("-o", f"{key}={value}")]


def _download(package: str, work: Path, options: list[str]) -> str:
    return _run(["apt-get", "-q", *options, "download", package], work)


def _run(command: list[str], work: Path) -> str:
    """What it said last, where it failed."""
    try:
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:]
