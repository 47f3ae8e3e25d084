"""The life of one Pod on this node: volumes, init containers, containers, restarts, probes, the end."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from devcluster.node import images, probes, volumes
from devcluster.node.api import Api, ApiError, Thing, again
from devcluster.node.container import Process, Program, base_environment, message_of
from devcluster.node.env import ConfigProblem, environment, expand
from devcluster.node.objects import Objects
from devcluster.node.status import ContainerState, pod_status, terminated

MAX_BACK_OFF = 300.0


class Pod:
    """Runs as one task, `run()`; `changed()` tells it of a newer object."""

    def __init__(self, api: Api, pod: Thing, root: Path, table: dict[str, images.Image], addresses: Thing) -> None:
        self._api = api
        self.object = pod
        self.root = root
        self._table = table
        self._addresses = addresses
        self._volumes: dict[str, Path] = {}
        self._processes: dict[str, Process] = {}
        self._deleted = asyncio.Event()
        self._dirty = asyncio.Event()
        spec = pod["spec"]
        self.inits = [ContainerState(c["name"], c["image"]) for c in spec.get("initContainers") or []]
        self.containers = [ContainerState(c["name"], c["image"]) for c in spec["containers"]]
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    @property
    def path(self) -> str:
        meta = self.object["metadata"]
        return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"

    def changed(self, pod: Thing) -> None:
        self.object = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._deleted.set()

    def log(self, container: str, previous: bool = False) -> Path | None:
        """The log file of a container's newest run, or of the one before."""
        runs = sorted((self.root / container).glob("*.log"), key=lambda p: int(p.stem))
        wanted = runs[-2:-1] if previous else runs[-1:]
        return wanted[0] if wanted else None

    async def run(self) -> None:
        """From binding to the end of the object. Never raises."""
        publisher = asyncio.create_task(self._publish())
        living = asyncio.create_task(self._live())
        deleted = asyncio.create_task(self._deleted.wait())
        await asyncio.wait([living, deleted], return_when=asyncio.FIRST_COMPLETED)
        if not living.done():
            await self._stop()
            living.cancel()
            await asyncio.wait([living])
        self._dirty.set()
        await self._deleted.wait()
        publisher.cancel()
        await self._finish()
        deleted.cancel()
        shutil.rmtree(self.root, ignore_errors=True)

    async def kill(self) -> None:
        for process in self._processes.values():
            process.kill()

    # living ----------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        self._dirty.set()
        spec = self.object["spec"]
        await self._prepare_volumes()
        policy = spec.get("restartPolicy", "Always")
        for state, container in zip(self.inits, spec.get("initContainers") or [], strict=True):
            await self._keep(state, container, "Never" if policy == "Never" else "OnFailure")
            if state.exit_code != 0:
                return
        await asyncio.gather(
            *(self._keep(s, c, policy) for s, c in zip(self.containers, spec["containers"], strict=True))
        )

    async def _prepare_volumes(self) -> None:
        while True:
            try:
                self._volumes = await volumes.prepare(self._api, self.object, self.root)
                return
            except (ConfigProblem, ApiError, aiohttp.ClientError, OSError, KeyError) as problem:
                for state in self.containers:
                    state.waiting = ("ContainerCreating", str(problem))
                self._dirty.set()
                await again()

    async def _keep(self, state: ContainerState, container: Thing, policy: str) -> None:
        """Run a container, again and again as the policy says."""
        pause = 1.0
        while True:
            program = await self._program(state, container)
            code = await self._run_once(state, container, program)
            if policy == "Never" or (policy == "OnFailure" and code == 0) or self._deleted.is_set():
                return
            state.last = terminated(state)
            state.waiting = ("CrashLoopBackOff", f"back-off {pause:.0f}s restarting failed container={state.name}")
            state.restarts += 1
            self._dirty.set()
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_BACK_OFF)

    async def _program(self, state: ContainerState, container: Thing) -> Program:
        """Wait until the image is known and everything it refers to is there."""
        while True:
            image = images.find(self._table, container["image"])
            if image is None:
                known = ", ".join(sorted(self._table))
                state.waiting = (
                    "ErrImagePull",
                    f'no image "{container["image"]}" on this process node; it has {known}',
                )
                self._dirty.set()
                await again(2)
                continue
            try:
                return await self._build(container, image)
            except ConfigProblem as problem:
                state.waiting = ("CreateContainerConfigError", str(problem))
                self._dirty.set()
                await again()

    async def _build(self, container: Thing, image: images.Image) -> Program:
        folder = self.root / container["name"]
        folder.mkdir(parents=True, exist_ok=True)
        termination_log = folder / "termination-log"
        termination_log.write_bytes(b"")
        lookup = await Objects(self._api, self.object["metadata"]["namespace"]).load(container)
        seen = {**self.object, "status": {**(self.object.get("status") or {}), **self._addresses}}
        env = {
            **base_environment(folder),
            **_service_environment(self._api.server),
            "HOSTNAME": self.object["metadata"]["name"],
            "ATTUNE_TERMINATION_LOG": str(termination_log),
            **environment(container, seen, lookup),
        }
        argv = [*(container.get("command") or image.entrypoint), *(container.get("args") or [])]
        mounts = volumes.mounts(container, self._volumes, termination_log)
        return Program(
            tuple(expand(a, env) for a in argv), env, tuple(_possible(mounts)), folder, container.get("workingDir")
        )

    async def _run_once(self, state: ContainerState, container: Thing, program: Program) -> int:
        log = program.folder / f"{state.restarts}.log"
        process = await Process.start(program, log)
        self._processes[state.name] = process
        state.waiting, state.finished_at, state.exit_code, state.message, state.reason = None, None, None, "", ""
        state.started_at, state.ready = (
            datetime.now(UTC),
            "readinessProbe" not in container and "startupProbe" not in container,
        )
        self._dirty.set()
        probing = asyncio.create_task(self._probe(state, container, program, process))
        code = await process.wait()
        probing.cancel()
        state.exit_code, state.finished_at, state.ready = code, datetime.now(UTC), False
        state.reason = "StartError" if code == 128 else ""
        policy = container.get("terminationMessagePolicy", "File")
        state.message = message_of(program.folder / "termination-log", log, policy, code)
        self._dirty.set()
        return code

    async def _probe(self, state: ContainerState, container: Thing, program: Program, process: Process) -> None:
        """Startup first; then readiness sets ready, liveness kills."""
        address = self._addresses["podIP"]
        if startup := container.get("startupProbe"):
            verdict = probes.tally(startup, False)
            failures = 0
            while not verdict.count(await probes.check(startup, container, address, program.env)):
                failures += 1
                if failures >= startup.get("failureThreshold", 3):
                    process.kill()
                    return
                await asyncio.sleep(startup.get("periodSeconds", 10))
            if "readinessProbe" not in container:
                state.ready = True
                self._dirty.set()
        kinds = [(p, name) for name in ("readinessProbe", "livenessProbe") if (p := container.get(name))]
        await asyncio.gather(*(self._probe_one(state, container, (p, name), program, process) for p, name in kinds))

    async def _probe_one(
        self, state: ContainerState, container: Thing, what: tuple[Thing, str], program: Program, process: Process
    ) -> None:
        probe, name = what
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        verdict = probes.tally(probe, name == "livenessProbe")
        while True:
            healthy = verdict.count(await probes.check(probe, container, self._addresses["podIP"], program.env))
            if name == "livenessProbe" and not healthy:
                process.kill()
                return
            if name == "readinessProbe" and state.ready != healthy:
                state.ready = healthy
                self._dirty.set()
            await asyncio.sleep(
                min(probe.get("periodSeconds", 10), 1) if not healthy else probe.get("periodSeconds", 10)
            )

    # ending ----------------------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        meta, spec = self.object["metadata"], self.object["spec"]
        grace = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds", 30))
        running = [
            name
            for name, p in self._processes.items()
            if any(s.name == name and s.running for s in [*self.inits, *self.containers])
        ]
        await asyncio.gather(*(self._processes[name].stop(grace) for name in running))
        await asyncio.sleep(0)

    async def _finish(self) -> None:
        """The last status, then the object itself."""
        for state in [*self.inits, *self.containers]:
            if not state.finished:
                state.waiting, state.exit_code = None, state.exit_code if state.exit_code is not None else 137
                state.finished_at, state.reason = (
                    state.finished_at or datetime.now(UTC),
                    state.reason or "ContainerStatusUnknown",
                )
        failed = any(s.exit_code != 0 for s in [*self.inits, *self.containers])
        while not await self._write(forced="Failed" if failed else "Succeeded"):
            await again()
        while True:
            try:
                options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.object["metadata"]["uid"]}}
                await self._api.delete(self.path, options)
                return
            except (aiohttp.ClientError, TimeoutError, ApiError):
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
        status = pod_status(self.object, self.inits, self.containers, self._addresses, forced)
        meta = {"uid": self.object["metadata"]["uid"]}
        try:
            await self._api.patch(self.path + "/status", {"metadata": meta, "status": status})
        except ApiError as error:
            return error.status in {404, 409}  # gone, or another object of that name
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True


def _service_environment(server: str) -> dict[str, str]:
    host, _, port = server.removeprefix("https://").partition(":")
    return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "KUBERNETES_SERVICE_PORT_HTTPS": port}


def _possible(mounts: list[volumes.Mount]) -> list[volumes.Mount]:
    """/dev is the machine's own: its mount points are made there (empty files in memory), where that is allowed."""
    kept = []
    for mount in mounts:
        target = Path(mount.target)
        if target.parent == Path("/dev") and not target.exists():
            try:
                target.touch()
            except OSError:
                continue  # programs of ours write to $ATTUNE_TERMINATION_LOG
        kept.append(mount)
    return kept
