"""`python -m devcluster.node FOLDER --port N`: register the node, then run whatever is bound to it. Started by the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from devcluster.components import TOKEN_NODE, Layout
from devcluster.node import claims, images, logs, register
from devcluster.node.api import Api, ApiError, Thing, again
from devcluster.node.hosts import Hosts
from devcluster.node.pod import Pod


class Node:
    """The Pods of this node, by uid."""

    def __init__(self, api: Api, layout: Layout, table: dict[str, images.Image]) -> None:
        self._api = api
        self._layout = layout
        self._table = table
        self._pods: dict[str, Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hosts = Hosts(layout.home / "hosts")
        self._addresses = (f"127.{a}.{b}.{c}" for a in range(1, 255) for b in range(256) for c in range(1, 255))

    def find(self, namespace: str, name: str) -> Pod | None:
        found = [
            p
            for p in self._pods.values()
            if (p.object["metadata"]["namespace"], p.object["metadata"]["name"]) == (namespace, name)
        ]
        return found[-1] if found else None

    async def follow(self) -> None:
        """One watch's life: start, update, and forget Pods."""
        async for kind, thing in self._api.follow("/api/v1/pods", fieldSelector=f"spec.nodeName={register.NAME}"):
            if kind == "LIST":
                present = {pod["metadata"]["uid"] for pod in thing["items"]}
                for pod in thing["items"]:
                    self._seen(pod)
                for uid in set(self._pods) - present:
                    self._pods[uid].gone()
                self._sweep(present)
            elif kind == "DELETED":
                if known := self._pods.get(thing["metadata"]["uid"]):
                    known.gone()
            else:
                self._seen(thing)

    def stop(self) -> None:
        for pod in self._pods.values():
            pod.kill()

    def _seen(self, pod: Thing) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._pods:
            self._pods[uid].changed(pod)
            return
        address = (pod.get("status") or {}).get("podIP") or self._free_address()
        addresses = {
            "podIP": address,
            "podIPs": [{"ip": address}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
        }
        self._hosts.add(pod, address)
        started = Pod(self._api, pod, self._layout.pods / uid, self._table, addresses, self._hosts.path)
        self._pods[uid] = started
        task = asyncio.create_task(started.run())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._done(uid, done))

    def _free_address(self) -> str:
        """Pods of an earlier node process keep theirs."""
        taken = {(pod.object.get("status") or {}).get("podIP") for pod in self._pods.values()}
        return next(address for address in self._addresses if address not in taken)

    def _done(self, uid: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pods.pop(uid, None)
        if not task.cancelled() and task.exception():
            sys.stderr.write(f"pod {uid}: {task.exception()!r}\n")

    def _sweep(self, present: set[str]) -> None:
        """Folders of Pods that went while no node ran."""
        if self._layout.pods.is_dir():
            for folder in self._layout.pods.iterdir():
                if folder.name not in present and folder.name not in self._pods:
                    shutil.rmtree(folder, ignore_errors=True)


async def for_ever(name: str, work: Callable[[], Awaitable[None]], pause: float) -> None:
    """Do it again and again; what fails is said and tried again."""
    for _ in itertools.count():
        try:
            await work()
        except (aiohttp.ClientError, ApiError, TimeoutError, OSError) as error:
            sys.stderr.write(f"{name}: {error!r}\n")
        await again(pause)


async def serve(layout: Layout, port: int, gpus: int, table: dict[str, images.Image]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Api(layout.user_kubeconfig(TOKEN_NODE)) as api:
        node = Node(api, layout, table)
        runner = await logs.serve(node.find, layout.home, port)
        try:
            await api.post("/apis/storage.k8s.io/v1/storageclasses", claims.storage_class())
        except ApiError as error:
            if error.status != 409:
                raise
        await register.register(api, register.node(port, gpus))
        work = [
            asyncio.create_task(for_ever("pods", node.follow, 0.1)),
            asyncio.create_task(for_ever("claims", lambda: claims.provide(api, layout.claims), 0.1)),
            asyncio.create_task(for_ever("lease", lambda: register.renew(api), register.RENEW_SECONDS)),
        ]
        await stopped.wait()
        for task in work:
            task.cancel()
        node.stop()
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--images", type=Path)
    options = parser.parse_args()
    asyncio.run(serve(Layout(options.folder), options.port, options.gpus, images.load(options.images)))


if __name__ == "__main__":
    main()
