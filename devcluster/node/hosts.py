"""Names of Pods that ask for one (hostname and subdomain), as a Service without an address gives them: this node has no DNS.

One file in the form of /etc/hosts, shown to those Pods in its place. It changes while they run, as DNS would.
"""

from __future__ import annotations

from pathlib import Path

from devcluster.node.api import Thing

OWN = Path("/etc/hosts")


class Hosts:
    """The file at `path`: what this machine's own says, and a line for each named Pod."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def add(self, pod: Thing, address: str) -> None:
        """Take in a Pod. One that comes again under its name replaces the one before."""
        names = names_of(pod)
        if names:
            self._lines[names[-1]] = f"{address}\t{' '.join(names)}"
            self._write()

    def _write(self) -> None:
        """In place: a bind mount follows the file, not its name."""
        own = OWN.read_text(encoding="utf-8") if OWN.is_file() else "127.0.0.1\tlocalhost\n"
        text = own.rstrip("\n") + "\n" + "".join(line + "\n" for line in self._lines.values())
        with self.path.open("r+" if self.path.exists() else "w", encoding="utf-8") as file:
            file.write(text)
            file.truncate()


def names_of(pod: Thing) -> list[str]:
    """Short to long; none for a Pod that asks for none."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    if not spec.get("hostname") or not spec.get("subdomain"):
        return []
    host = f"{spec['hostname']}.{spec['subdomain']}"
    return [spec["hostname"], host, f"{host}.{namespace}.svc", f"{host}.{namespace}.svc.cluster.local"]
