"""The life of one Pod on this node: volumes, init containers, containers, the end. Its containers are `run.Container`."""

from __future__ import annotations

import asyncio
import shutil
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import aiohttp

from devcluster.node import images, volumes
from devcluster.node.api import Api, ApiError, Thing, again
from devcluster.node.env import ConfigProblem
from devcluster.node.run import Container, PodDeleted, Surroundings
from devcluster.node.status import pod_status

GRACE_SECONDS = 30


class Pod:
    """Runs as one task, `run()`; `changed()` tells it of a newer object."""

    def __init__(
        self, api: Api, pod: Thing, root: Path, table: dict[str, images.Image], addresses: Thing, hosts: Path
    ) -> None:
        self._api = api
        self.object = pod
        self.root = root
        self._deleted = asyncio.Event()
        self._dirty = asyncio.Event()
        self._around = Surroundings(
            api, lambda: self.object, root, table, addresses, hosts, self._deleted, self._dirty, volumes={}
        )
        self.inits = [Container(self._around, c) for c in pod["spec"].get("initContainers") or []]
        self.containers = [Container(self._around, c) for c in pod["spec"]["containers"]]
        self._adopt()
        self.changed(pod)

    @property
    def path(self) -> str:
        meta = self.object["metadata"]
        return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

    @property
    def _all(self) -> list[Container]:
        return [*self.inits, *self.containers]

    def changed(self, pod: Thing) -> None:
        self.object = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def gone(self) -> None:
        """The object was removed by force: nobody waits for the programs, nor for a last status."""
        self.kill()
        meta = {**self.object["metadata"], "deletionTimestamp": "now", "deletionGracePeriodSeconds": 0}
        self.changed({**self.object, "metadata": meta})

    def container(self, name: str) -> Container | None:
        return next((c for c in self._all if c.state.name == name), None)

    def kill(self) -> None:
        for container in self._all:
            container.kill()

    async def run(self) -> None:
        """From binding to the end of the object."""
        publisher = asyncio.create_task(self._publish())
        living = asyncio.create_task(self._live())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            if not _ended(self.object):
                await asyncio.wait([living, deleted], return_when=asyncio.FIRST_COMPLETED)
                if not living.done():
                    await self._stop(living)
                await living
                self._dirty.set()
            await self._deleted.wait()
        finally:
            for task in (publisher, living, deleted):
                task.cancel()
            self.kill()
        await self._finish()
        shutil.rmtree(self.root, ignore_errors=True)

    # living ----------------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        """A Pod that an earlier node process ran: its status says how far it came."""
        status = self.object.get("status") or {}
        kinds = ((self.inits, "initContainerStatuses"), (self.containers, "containerStatuses"))
        for containers, key in kinds:
            known = {s["name"]: s for s in status.get(key) or []}
            for container in containers:
                container.state.adopt(known.get(container.state.name, {}), datetime.now(UTC))

    async def _live(self) -> None:
        """Returns when nothing runs any more and nothing will."""
        if _ended(self.object):
            return
        for container in self.containers if self.inits else []:
            if not container.state.finished:
                container.state.waiting = ("PodInitializing", "")
        self._dirty.set()
        with suppress(PodDeleted):
            await self._prepare_volumes()
            policy = self.object["spec"].get("restartPolicy", "Always")
            for container in self.inits:
                await container.keep("Never" if policy == "Never" else "OnFailure")
                if container.state.exit_code != 0:
                    return
            await asyncio.gather(*(c.keep(policy) for c in self.containers))

    async def _prepare_volumes(self) -> None:
        while True:
            await self._around.pause(0)
            try:
                self._around.volumes.update(await volumes.prepare(self._api, self.object, self.root))
                return
            except (ConfigProblem, ApiError, aiohttp.ClientError, TimeoutError, OSError) as problem:
                for container in self.containers:
                    container.state.waiting = ("ContainerCreating", str(problem))
                self._dirty.set()
                await self._around.pause(0.5)

    # ending ----------------------------------------------------------------------------------------------------------

    async def _stop(self, living: asyncio.Task[None]) -> None:
        """SIGTERM, then SIGKILL when the grace period is over; a later deletion may shorten it."""
        for container in self._all:
            container.terminate()
        start = monotonic()
        while not living.done() and monotonic() - start < self._grace():
            await asyncio.wait([living], timeout=0.1)
        while not living.done():
            self.kill()
            await asyncio.wait([living], timeout=0.1)

    def _grace(self) -> float:
        own = self.object["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS)
        return float(self.object["metadata"].get("deletionGracePeriodSeconds", own))

    async def _finish(self) -> None:
        """The last status, then the object itself."""
        if not _ended(self.object):
            states = [c.state for c in self._all]
            for state in states:
                state.give_up(datetime.now(UTC), "The Pod was deleted before the container ran")
            failed = any(s.exit_code != 0 for s in states)
            while not await self._write(forced="Failed" if failed else "Succeeded"):
                await again()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object["metadata"]["uid"]}}
        while True:
            try:
                return await self._api.delete(self.path, options)
            except (aiohttp.ClientError, TimeoutError, ApiError) as error:
                sys.stderr.write(f"{self.path}: delete: {error!r}\n")
                await again()

    async def _publish(self) -> None:
        """Write the status whenever something changed, until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if not await self._write():
                self._dirty.set()
                await again()

    async def _write(self, forced: str | None = None) -> bool:
        """True when the API server has it, or has no such Pod any more."""
        inits, containers = [c.state for c in self.inits], [c.state for c in self.containers]
        status = pod_status(self.object, inits, containers, self._around.addresses, forced)
        meta = {"uid": self.object["metadata"]["uid"]}
        try:
            await self._api.patch(self.path + "/status", {"metadata": meta, "status": status})
        except ApiError as error:
            if error.status in {404, 409}:
                return True
            sys.stderr.write(f"{self.path}: status: {error}\n")
            return False
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True


def _ended(pod: Thing) -> bool:
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
