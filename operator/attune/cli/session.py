"""One conversation with the API server, as the caller of the command line. Used by every command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import typer

from attune.api import kinds
from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import connect
from attune.cluster.transport import MERGE, Transport
from attune.errors import AlreadyExists, ClusterError, Forbidden, NotFound, StartError
from attune.objects import Manifest, Ref

T = TypeVar("T")
FIELD_MANAGER = "attune-cli"
OK, FAILED, USAGE, TIMED_OUT = 0, 1, 2, 3


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

    async def get(self, kind: str, name: str) -> Manifest:
        """One of our objects; Problem names those that are there."""
        found = await self.cluster.get(Ref(kinds.API_VERSION, kind, self.namespace, name))
        if found is None:
            known = ", ".join(sorted(t["metadata"]["name"] for t in await self.all_of(kind))) or "none"
            raise Problem(f"no {kind} {name!r} in namespace {self.namespace}; there are: {known}")
        return found

    async def all_of(self, kind: str) -> list[Manifest]:
        """All of a kind, by name."""
        found = await self.cluster.list(kinds.API_VERSION, kind, self.namespace)
        return sorted(found, key=lambda thing: str(thing["metadata"]["name"]))

    async def pods(self, selector: dict[str, str]) -> list[Manifest]:
        """Pods with these labels, newest last."""
        found = await self.cluster.list("v1", "Pod", self.namespace, selector)
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp")))

    async def merge(self, kind: str, name: str, patch: Manifest) -> None:
        """Change some fields of one of our objects, in the caller's name."""
        path = f"{await self.cluster.discovery.path(kinds.API_VERSION, kind, self.namespace)}/{name}"
        query = {"fieldManager": FIELD_MANAGER}
        await self.transport.request("PATCH", path, body=patch, content_type=MERGE, query=query)

    async def retriever(self, name: str | None) -> Manifest:
        """The Retriever of this name; without a name the only one."""
        if name is not None:
            return await self.get("Retriever", name)
        found = await self.all_of("Retriever")
        if len(found) == 1:
            return found[0]
        known = ", ".join(t["metadata"]["name"] for t in found)
        raise Problem(
            f"which Retriever? There are: {known}"
            if found
            else f"there is no Retriever in namespace {self.namespace}; `kubectl apply` one, or choose another with -n"
        )


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[Session]:
    """A session, closed at the end. Raises StartError where there is no cluster to talk to."""
    connection = await connect(where.kubeconfig, where.context)
    transport = Transport(connection)
    try:
        yield Session(where.namespace or connection.namespace, transport, KubernetesCluster(transport))
    finally:
        await transport.close()


def run(where: Where, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do it; every error that can be foreseen becomes one line on standard error and an exit code."""

    async def inside() -> T:
        async with opened(where) as session:
            return await work(session)

    try:
        return asyncio.run(inside())
    except Problem as problem:
        fail(str(problem))
    except StartError as error:
        fail(str(error), USAGE)
    except Forbidden as error:
        fail(f"not allowed: {error}; ask whoever gives rights in this namespace")
    except (NotFound, AlreadyExists, ClusterError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise AssertionError("fail exits")


def fail(message: str, code: int = FAILED) -> Any:
    """One line, and the end."""
    typer.echo(f"attune: {message}", err=True)
    raise typer.Exit(code)
