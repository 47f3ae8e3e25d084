"""One conversation with the API server, as the caller of the command line. Used by every command."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import quote

import structlog
import typer

from attune.api import kinds
from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import NoClusterError, connect
from attune.cluster.transport import MERGE, Transport
from attune.errors import ClusterError, Forbidden, StartError
from attune.objects import Manifest, Ref

T = TypeVar("T")
Say = Callable[[str], None]
"""Prints a line for people."""

FIELD_MANAGER = "attune-cli"
OK, FAILED, USAGE, TIMED_OUT, INTERRUPTED = 0, 1, 2, 3, 130


class Problem(Exception):
    """Something the caller can put right; the message is one line. Exit code 1."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster, which namespace; None: as kubectl would."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: Path | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Requests in one namespace."""

    namespace: str
    transport: Transport
    cluster: KubernetesCluster

    async def find(self, kind: str, name: str) -> Manifest | None:
        """One of our objects, or None."""
        return await self.cluster.get(Ref(kinds.API_VERSION, kind, self.namespace, name))

    async def get(self, kind: str, name: str) -> Manifest:
        """One of our objects; Problem names those that are there."""
        found = await self.find(kind, name)
        if found is None:
            known = ", ".join(t["metadata"]["name"] for t in await self.all_of(kind)) or "none"
            raise Problem(f"no {kind} {name!r} in namespace {self.namespace}; there are: {known}")
        return found

    async def all_of(self, kind: str) -> list[Manifest]:
        """All of a kind, by name."""
        found = await self.cluster.list(kinds.API_VERSION, kind, self.namespace)
        return sorted(found, key=lambda thing: str(thing["metadata"]["name"]))

    async def retriever(self, name: str | None) -> Manifest:
        """The Retriever of this name; without a name the only one."""
        if name is not None:
            return await self.get("Retriever", name)
        found = await self.all_of("Retriever")
        if len(found) == 1:
            return found[0]
        if not found:
            raise Problem(
                f"there is no Retriever in namespace {self.namespace}; `kubectl apply` one, or choose another with -n"
            )
        raise Problem(f"which Retriever? There are: {', '.join(t['metadata']['name'] for t in found)}")

    async def pods(self, selector: dict[str, str]) -> list[Manifest]:
        """Pods with these labels, newest last."""
        found = await self.cluster.list("v1", "Pod", self.namespace, dict(selector))
        return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))

    async def merge(self, kind: str, name: str, patch: Manifest) -> None:
        """Change some fields of one of our objects, in the caller's name."""
        path = f"{await self.cluster.discovery.path(kinds.API_VERSION, kind, self.namespace)}/{quote(name, safe='')}"
        query = {"fieldManager": FIELD_MANAGER}
        await self.transport.request("PATCH", path, body=patch, content_type=MERGE, query=query)

    async def create(self, manifest: Manifest) -> Manifest:
        """POST in the caller's name; raises AlreadyExists."""
        path = await self.cluster.discovery.path(manifest["apiVersion"], manifest["kind"], self.namespace)
        query = {"fieldManager": FIELD_MANAGER}
        return (await self.transport.request("POST", path, body=manifest, query=query)).json()


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[Session]:
    """A session, closed at the end. Raises StartError where there is no cluster to talk to."""
    try:
        connection = await connect(where.kubeconfig, where.context)
    except NoClusterError as error:
        raise _no_cluster(where, error) from error
    transport = Transport(connection)
    try:
        yield Session(where.namespace or connection.namespace, transport, KubernetesCluster(transport))
    finally:
        await transport.close()


def _no_cluster(where: Where, error: NoClusterError) -> StartError:
    """In the words of kubectl's options, not of the operator's settings."""
    file = str(where.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")
    there = any(Path(part).expanduser().is_file() for part in file.split(os.pathsep))
    why = error.__cause__ if there else "there is no such file"
    return StartError(f"no cluster to talk to: {file}: {why}; give --kubeconfig or --context, or set KUBECONFIG")


def run(where: Where, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do it; every error that can be foreseen becomes one line on standard error and an exit code."""

    async def inside() -> T:
        async with opened(where) as session:
            return await work(session)

    return guarded(inside)


def guarded(work: Callable[[], Awaitable[T]]) -> T:
    """As `run`, for work that needs no cluster."""
    # Standard output belongs to results; what libraries log is said by our own messages.
    logging.getLogger().addHandler(logging.NullHandler())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def inside() -> T:
        return await work()

    try:
        return asyncio.run(inside())
    except Problem as problem:
        fail(str(problem))
    except StartError as error:
        fail(str(error), USAGE)
    except Forbidden as error:
        fail(f"not allowed: {error}; ask whoever gives rights in this namespace")
    except ClusterError as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def fail(message: str, code: int = FAILED) -> NoReturn:
    """One line, and the end."""
    typer.echo(f"attune: {message}", err=True)
    raise typer.Exit(code)
