"""Runs a built image the way a pod would: uid 65532, read-only root, /tmp as the only writable place, no network.

Used by tests/images. docker and podman do it themselves; a buildah image is mounted and entered with unshare and
chroot, which needs root but no container engine.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UID = 65532

# $1: the image's root; $2: pairs source=target to bind; $3: the working directory; then the command.
_ENTER = """
set -e
root=$1 binds=$2 folder=$3
shift 3
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -m 1777 "$root/dev/shm"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
while IFS='=' read -r source target; do
    [ -n "$source" ] || continue
    if [ -d "$source" ]; then mkdir -p "$root$target"; else touch "$root$target"; fi
    mount --bind "$source" "$root$target"
done <<< "$binds"
exec chroot --userspec=65532:65532 "$root" /usr/bin/env -i --chdir="$folder" "$@"
"""


@dataclass(frozen=True)
class Image:
    """A built image, ready to run. `config` is the OCI image configuration: User, Entrypoint, Env, WorkingDir."""

    engine: str
    name: str
    config: Mapping[str, Any]
    root: str | None = None
    """Where buildah mounted it."""

    def run(self, *arguments: str, mounts: Mapping[Path, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The image's entry point with these arguments."""
        return self.execute([*self.config["Entrypoint"], *arguments], mounts)

    def sh(self, script: str) -> str:
        """What a shell script inside prints."""
        done = self.execute(["sh", "-c", script])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def execute(
        self, command: Sequence[str], mounts: Mapping[Path, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Any command, in place of the entry point. `mounts`: path on this machine → path inside, in /tmp or /dev."""
        binds = {str(source.resolve()): target for source, target in (mounts or {}).items()}
        if self.engine == "buildah":
            line = self._by_chroot(command, binds)
        else:
            line = [
                self.engine,
                "run",
                "--rm",
                "--read-only",
                "--tmpfs=/tmp:mode=1777",
                "--network=none",
                "--cap-drop=ALL",
            ]
            line += [f"--volume={source}:{target}" for source, target in binds.items()]
            line += [f"--entrypoint={command[0]}", self.name, *command[1:]]
        return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)

    def _by_chroot(self, command: Sequence[str], binds: Mapping[str, str]) -> list[str]:
        assert self.root is not None
        pairs = "\n".join(f"{source}={target}" for source, target in binds.items())
        inside = [self.root, pairs, self.config.get("WorkingDir") or "/", *self.config["Env"], *command]
        return [
            "unshare",
            "--mount",
            "--pid",
            "--net",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            _ENTER,
            "enter",
            *inside,
        ]


@contextmanager
def opened(engine: str, name: str) -> Iterator[Image]:
    """The image by this name in the engine's store."""
    if engine != "buildah":
        yield Image(engine, name, json.loads(_output(engine, "image", "inspect", name))[0]["Config"])
        return
    config = json.loads(_output("buildah", "inspect", "--type", "image", name))["OCIv1"]["config"]
    container = _output("buildah", "from", "--pull-never", name)
    try:
        yield Image(engine, name, config, _output("buildah", "mount", container))
    finally:
        _output("buildah", "rm", container)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
