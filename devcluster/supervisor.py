"""One process that owns a control plane: starts etcd, API server, controllers, scheduler and node, ends with them.

Run by `cluster` as `python -m devcluster.supervisor FOLDER …`. Every child asks the kernel to be killed when this process
goes, so nothing is left behind, whatever kills it. It goes when its owner goes; with --detach only until it is ready.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic, sleep

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from devcluster import components
from devcluster.build import binary
from devcluster.components import HOST, Layout, Ports, born

PR_SET_PDEATHSIG = 1
START_SECONDS = 90
ATTEMPTS = 3
"""A port that was free may be taken before its process binds it; then all starts again with other ports."""


class Ended(Exception):
    """The owner is gone, or somebody asked us to stop, or there is no use in going on."""


class ChildEnded(Ended):
    """A process of the control plane ended by itself."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--owner", type=int, required=True, help="the process whose end ends this one")
    parser.add_argument("--detach", action="store_true", help="once ready, go on without the owner")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--gpus", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; it tells us
    layout = Layout(options.folder.resolve())
    supervisor = Supervisor(layout, Owner(options.owner))
    with (layout.home / "supervisor.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            supervisor.say(f"another control plane starts or ends in {layout.home}; try again in a few seconds")
            return 1
        try:
            supervisor.start_somehow(options.images, options.gpus)
            supervisor.watch(detached=options.detach)
        except Ended as why:
            supervisor.say(str(why))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            supervisor.stop()
    return 0


def _stop(*_: object) -> None:
    raise Ended("asked to stop")


def die_with_parent() -> None:
    """In a child, before exec: SIGKILL when the parent goes."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Owner:
    """A process that need not be our parent. A handle on it, not its number, which another may get after it."""

    def __init__(self, pid: int) -> None:
        self._poll = select.poll()
        try:
            self._poll.register(os.pidfd_open(pid), select.POLLIN)
        except ProcessLookupError:
            raise SystemExit(f"process {pid}, for which this control plane was to run, is gone") from None

    def gone(self) -> bool:
        return bool(self._poll.poll(0))


class Supervisor:
    """Children in the order in which they start; they end in the reverse order."""

    def __init__(self, layout: Layout, owner: Owner) -> None:
        self._layout = layout
        self._owner: Owner | None = owner
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def start_somehow(self, images: Path | None, gpus: int) -> None:
        """`start`, again with other ports when a child ends at once."""
        for left in reversed(range(ATTEMPTS)):
            try:
                self.start(images, gpus)
                break
            except ChildEnded as why:
                if not left:
                    raise
                self.say(f"{why}; starting again")
                self.stop()

    def start(self, images: Path | None, gpus: int) -> None:
        layout, ports = self._layout, _ports()
        executable = str(binary())
        layout.logs.mkdir(parents=True, exist_ok=True)
        tokens = _secrets(layout)
        server = f"https://{HOST}:{ports.api}"
        for user, path in _kubeconfigs(layout).items():
            _private(path, components.kubeconfig(server, layout.certificate, tokens[user]))
        self._spawn("etcd", [executable, *components.etcd(layout, ports)])
        self._wait("etcd", f"http://{HOST}:{ports.etcd}/health", None)
        self._spawn("kube-apiserver", [executable, *components.api_server(layout, ports)])
        self._wait("kube-apiserver", f"{server}/readyz", tokens[components.TOKEN_ADMIN])
        self._spawn("kube-controller-manager", [executable, *components.controller_manager(layout, ports)])
        self._spawn("kube-scheduler", [executable, *components.scheduler(layout, ports)])
        node = [
            sys.executable,
            "-m",
            "devcluster.node",
            str(layout.home),
            "--port",
            str(ports.kubelet),
            "--gpus",
            str(gpus),
        ]
        self._spawn("node", node + (["--images", str(images)] if images else []))
        self._wait("node", f"{server}/api/v1/nodes/process-node", tokens[components.TOKEN_ADMIN])
        self._wait(
            "kube-controller-manager", f"{server}/api/v1/namespaces/default/serviceaccounts/default", tokens["admin"]
        )
        state = {"pid": os.getpid(), "born": born(os.getpid()), "server": server, "executable": executable}
        partial = layout.state.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.replace(layout.state)

    def watch(self, *, detached: bool) -> None:
        """Until a child ends, or the owner, unless we are detached from it."""
        if detached:
            self._owner = None
        while True:
            self._check()
            sleep(0.25)

    def stop(self) -> None:
        """The node first: it ends the Pods. etcd last: the others write until their end."""
        self._layout.state.unlink(missing_ok=True)
        for name, child in reversed(self._children):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10 if name == "node" else 3)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._children.clear()

    def _check(self) -> None:
        if self._owner is not None and self._owner.gone():
            raise Ended("the process for which this control plane ran is gone")
        for name, child in self._children:
            code = child.poll()
            if code is not None:
                raise ChildEnded(f"{name} ended with {code}; see {self._layout.logs / (name + '.log')}")

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self._layout.logs / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        self._children.append((name, child))

    def _wait(self, name: str, url: str, token: str | None) -> None:
        start = monotonic()
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        while not _answers(request):
            self._check()
            if monotonic() - start > START_SECONDS:
                raise Ended(f"{name} is not ready after {START_SECONDS} s; see {self._layout.logs}")
            sleep(0.1)


def _answers(request: urllib.request.Request) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our own process, on 127.0.0.1
    try:
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _ports() -> Ports:
    """Six ports that are free now; they are all held until the last one is known."""
    held = [socket.create_server((HOST, 0)) for _ in range(6)]
    numbers = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return Ports(*numbers)


def _kubeconfigs(layout: Layout) -> dict[str, Path]:
    users = (components.TOKEN_CONTROLLERS, components.TOKEN_SCHEDULER, components.TOKEN_NODE)
    return {components.TOKEN_ADMIN: layout.kubeconfig, **{user: layout.user_kubeconfig(user) for user in users}}


def _secrets(layout: Layout) -> dict[str, str]:
    """A fresh token for each user, and the key that signs service account tokens."""
    if not layout.service_account_key.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.TraditionalOpenSSL
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        _private(layout.service_account_key, pem.decode())
    tokens = {user: secrets.token_hex(16) for user in _kubeconfigs(layout)}
    rows = [
        f'{tokens["admin"]},admin,admin,"system:masters"',
        f"{tokens['controllers']},system:kube-controller-manager,controllers",
        f"{tokens['scheduler']},system:kube-scheduler,scheduler",
        f'{tokens["node"]},node,node,"system:masters"',
    ]
    _private(layout.tokens, "\n".join(rows) + "\n")
    return tokens


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
