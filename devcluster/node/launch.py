"""Run as a program of its own: give a process its mounts in a private namespace, then become that process.

`python -I -S launch.py SPEC.json`. Bind mounts at the true mount paths, so that programs find /etc/attune/stage.json
where the Pod says. Mount points that this machine does not have are made in an overlay over the nearest folder that
it has; the machine itself stays as it is. Uses the standard library only, since it starts with every container.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

Mount = dict[str, Any]
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE, MS_REMOUNT = 1, 4096, 16384, 1 << 18, 32
PR_SET_PDEATHSIG = 1
START_ERROR = 128

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as handle:
        spec = json.load(handle)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _mount_all(spec["mounts"], spec["scratch"])
        os.makedirs(spec["cwd"], exist_ok=True)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        sys.stderr.write(f"cannot start {spec['argv'][0]!r}: {error}\n")
        return START_ERROR


def _mount_all(mounts: list[Mount], scratch: str) -> None:
    """Sources are opened first: a mount may hide the folder that another one comes from."""
    if not mounts:
        return
    _private_namespace()
    opened = [(os.open(m["source"], os.O_PATH), m) for m in sorted(mounts, key=lambda m: m["target"])]
    overlaid: list[str] = []
    for number, (_, mount) in enumerate(opened):
        _ensure_target(mount, os.path.join(scratch, str(number)), overlaid)
    for handle, mount in opened:
        _mount(f"/proc/self/fd/{handle}", mount["target"], None, MS_BIND | MS_REC)
        if mount.get("readOnly"):
            _mount(None, mount["target"], None, MS_BIND | MS_REMOUNT | MS_RDONLY)


def _private_namespace() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _check(libc.unshare(CLONE_NEWNS), "unshare")
    else:
        _check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare (user namespaces must be allowed on this machine)")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as handle:
                handle.write(text)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)


def _ensure_target(mount: Mount, scratch: str, overlaid: list[str]) -> None:
    """Make the mount point exist: in an overlay over the nearest folder there is."""
    target = mount["target"]
    if os.path.exists(target):
        return
    if not any(target.startswith(folder + "/") for folder in overlaid):
        parent = os.path.dirname(target)
        while not os.path.isdir(parent):
            parent = os.path.dirname(parent)
        if parent == "/":
            raise OSError(0, f"mount path {target}: its first folder must exist on this machine, as /mnt and /opt do")
        lower, upper, work = os.path.realpath(parent), scratch + "/upper", scratch + "/work"
        os.makedirs(upper)
        os.makedirs(work)
        _mount("overlay", lower, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
        overlaid.append(parent)
    if os.path.isdir(mount["source"]):
        os.makedirs(target)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="ascii"):
            pass


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _check(libc.mount(*encoded, ctypes.c_ulong(flags), None if data is None else os.fsencode(data)), f"mount {target}")


def _check(answer: int, what: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main())
