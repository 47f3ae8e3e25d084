"""Run as a program of its own: give a container its mounts and its process tree, start it, end with its exit code.

`python -I -S launch.py SPEC.json`. Bind mounts at the true mount paths, so that programs find /etc/attune/stage.json
where the Pod says. Mount points that this machine does not have are made in an overlay over the nearest folder that
it has; the machine itself stays as it is. A private process namespace with a small init in it: when the init goes, for
whatever reason, the kernel kills all that the container started. Standard library only, since it starts with every
container.
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any

Mount = dict[str, Any]
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x10000000, 0x20000000
MS_RDONLY, MS_BIND, MS_REC, MS_PRIVATE, MS_REMOUNT = 1, 4096, 16384, 1 << 18, 32
MS_RELATIME, ST_RELATIME = 1 << 21, 4096
KEPT_FLAGS = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME
PR_SET_PDEATHSIG = 1
START_ERROR = 128

libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as handle:
        spec = json.load(handle)
    try:
        if "enter" in spec:
            _enter(spec["enter"])
        else:
            _private_namespaces()
            _mount_all(spec["mounts"], spec["scratch"], spec["programs"])
    except OSError as error:
        sys.stderr.write(f"cannot start {spec['argv'][0]!r}: {error}\n")
        return START_ERROR
    _die_with_parent()  # after the namespaces: the kernel forgets this when a process gains rights
    if os.getppid() != spec["parent"]:
        return START_ERROR
    return _child(lambda: _program(spec) if "enter" in spec else _init(spec))


def _init(spec: dict[str, Any]) -> int:
    """Process 1 of the container: starts the program, collects what it leaves, ends with it."""
    _die_with_parent()
    try:  # noqa: SIM105 (contextlib would be the dearest import of this program)
        _mount("proc", "/proc", "proc", 0)
    except OSError:
        pass  # not allowed inside some containers; /proc then shows this machine's processes
    return _child(lambda: _program(spec))


def _program(spec: dict[str, Any]) -> int:
    """Become the program; answers only when that fails."""
    _die_with_parent()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and programs would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.makedirs(spec["cwd"], exist_ok=True)
        os.chdir(spec["cwd"])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        sys.stderr.write(f"cannot start {spec['argv'][0]!r}: {error}\n")
        sys.stderr.flush()
        return START_ERROR


def _child(work: Any) -> int:
    """Fork, hand SIGTERM on, answer the child's exit code: 128 + n after signal n."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os._exit(work())
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    while True:
        ended, status = os.wait()
        if ended == child:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _die_with_parent() -> None:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _private_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _check(
            libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare (a container needs the right to mount: CAP_SYS_ADMIN)"
        )
    else:
        flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID
        _check(libc.unshare(flags), "unshare (user namespaces must be allowed on this machine)")
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as handle:
                handle.write(text)
    _mount(None, "/", None, MS_REC | MS_PRIVATE)


def _enter(pid: int) -> None:
    """Go where another launcher's container is; the next child is a process of that container."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH)
    kinds = ["mnt", "pid_for_children"] if os.getuid() == 0 else ["user", "mnt", "pid_for_children"]
    for handle in [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]:
        _check(libc.setns(handle, 0), "setns")
    os.fchdir(root)
    os.chroot(".")


def _mount_all(mounts: list[Mount], scratch: str, programs: list[str]) -> None:
    """Sources are opened first: a mount may hide the folder that another one comes from.

    `programs` are folders that an image would hold. One that a mount hides (a checkout in /tmp, an emptyDir there) is shown in it.
    """
    opened = [(os.open(m["source"], os.O_PATH), m) for m in sorted(mounts, key=lambda m: m["target"])]
    hidden = [folder for folder in programs if any(folder.startswith(m["target"] + "/") for m in mounts)]
    kept = [(os.open(folder, os.O_PATH), folder) for folder in hidden if os.path.isdir(folder)]
    overlaid: list[str] = []
    if any(not os.path.exists("/" + m["target"].split("/")[1]) for m in mounts):
        _own_root(os.path.join(scratch, "root"))
    for number, (handle, mount) in enumerate(opened):
        _ensure_target(mount, os.path.join(scratch, str(number)), overlaid)
        target = mount["target"]
        _mount(f"/proc/self/fd/{handle}", target, None, MS_BIND | MS_REC)
        if mount.get("readOnly"):
            now = os.statvfs(target).f_flag
            flags = now & KEPT_FLAGS | (MS_RELATIME if now & ST_RELATIME else 0)
            _mount(None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | flags)
        os.close(handle)
    for handle, folder in kept:
        os.makedirs(folder, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", folder, None, MS_BIND | MS_REC)
        os.close(handle)


def _own_root(folder: str) -> None:
    """A root folder in memory that shows what this machine's shows, and has room for more."""
    os.makedirs(folder)
    _mount("tmpfs", folder, "tmpfs", 0, "mode=755")
    for entry in os.scandir("/"):
        copy = os.path.join(folder, entry.name)
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), copy)
        elif entry.is_dir():
            os.mkdir(copy)
            _mount(entry.path, copy, None, MS_BIND | MS_REC)
    os.chroot(folder)
    os.chdir("/")


def _ensure_target(mount: Mount, scratch: str, overlaid: list[str]) -> None:
    """Make the mount point exist: in a volume that holds it already, or in an overlay over the nearest folder there is."""
    target = mount["target"]
    if os.path.exists(target):
        overlaid.append(target)  # what is mounted below it is made in this volume, as container runtimes do
        return
    parent = os.path.dirname(target)
    while not os.path.isdir(parent):
        parent = os.path.dirname(parent)
    if parent != "/" and not any(target.startswith(folder + "/") for folder in overlaid):
        lower, upper, work = os.path.realpath(parent), scratch + "/upper", scratch + "/work"
        os.makedirs(upper)
        os.makedirs(work)
        _mount("overlay", lower, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
        overlaid.append(parent)
    overlaid.append(target)
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
