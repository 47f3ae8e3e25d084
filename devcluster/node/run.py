"""One container over its life: wait for what it needs, run, probe, restart with back-off. Called by `pod`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from devcluster.node import images, probes, volumes
from devcluster.node.api import Api, ApiError, Thing
from devcluster.node.container import Process, Program, base_environment, message_of
from devcluster.node.env import ConfigProblem, environment, expand
from devcluster.node.hosts import names_of
from devcluster.node.objects import Objects
from devcluster.node.status import ContainerState, terminated

RESTART_SECONDS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Back-off before each restart; the last one stays. A tenth of a kubelet's, since people wait for this."""
CALM_SECONDS = 600.0
"""A container that ran this long has its back-off forgiven."""
START_ERROR = 128


class PodDeleted(Exception):
    """The Pod is going: nothing new starts."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a Pod's containers share. `object` is read each time, since it changes."""

    api: Api
    object: Callable[[], Thing]
    root: Path
    table: dict[str, images.Image]
    addresses: Thing
    hosts: Path
    deleted: asyncio.Event
    dirty: asyncio.Event
    volumes: dict[str, Path]

    async def pause(self, seconds: float) -> None:
        """Sleep, unless the Pod is deleted; raises PodDeleted then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.deleted.wait(), seconds)
        if self.deleted.is_set():
            raise PodDeleted


class Container:
    """One container of a Pod. `state` is what the status says of it."""

    def __init__(self, around: Surroundings, spec: Thing) -> None:
        self._around = around
        self._spec = spec
        self.state = ContainerState(spec["name"], spec["image"])
        self._process: Process | None = None

    @property
    def folder(self) -> Path:
        return self._around.root / self.state.name

    def log(self, previous: bool) -> Path | None:
        """The log of the newest run, or of the one before."""
        newest = self._log_path(self.state.restarts)
        if not previous and newest.exists():
            return newest
        earlier = self._log_path(self.state.restarts - 1)
        return earlier if earlier.exists() else None

    def _log_path(self, run: int) -> Path:
        return self.folder / f"{run}.log"

    def terminate(self) -> None:
        """SIGTERM."""
        if self._process is not None and self.state.running:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    async def keep(self, policy: str) -> None:
        """Run it, again and again as the policy says. Ends when the Pod is deleted and the program has ended."""
        failures = 0
        with suppress(PodDeleted):
            while True:
                if not self.state.finished:  # else: an earlier node process saw its end
                    await self._around.pause(0)
                    await self._run_once(await self._program())
                done = policy == "Never" or (policy == "OnFailure" and self.state.exit_code == 0)
                if done or self._around.deleted.is_set():
                    return
                assert self.state.finished_at is not None
                ran = self.state.finished_at - (self.state.started_at or self.state.finished_at)
                failures = 0 if ran.total_seconds() > CALM_SECONDS else failures
                await self._back_off(RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)])
                failures += 1

    async def _back_off(self, seconds: float) -> None:
        self.state.last = terminated(self.state)
        text = f"back-off {seconds:.0f}s restarting failed container={self.state.name}"
        if seconds > 0:
            self.state.waiting = ("CrashLoopBackOff", text)
            self._around.dirty.set()
        await self._around.pause(seconds)
        self.state.restarts += 1
        self.state.waiting = ("ContainerCreating", "")

    async def _program(self) -> Program:
        """Wait until the image is known and everything it refers to is there."""
        while True:
            image = images.find(self._around.table, self._spec["image"])
            if image is None:
                known = ", ".join(sorted(self._around.table))
                text = f'no image "{self._spec["image"]}" on this process node; it has {known}'
                self._wait(("ErrImagePull", text))
                await self._around.pause(3600)
                continue
            try:
                return await self._build(image)
            except (ConfigProblem, ApiError, aiohttp.ClientError, TimeoutError, OSError) as problem:
                self._wait(("CreateContainerConfigError", str(problem) or type(problem).__name__))
                await self._around.pause(0.5)

    def _wait(self, why: tuple[str, str]) -> None:
        if self.state.waiting != why:
            self.state.waiting = why
            self._around.dirty.set()

    async def _build(self, image: images.Image) -> Program:
        pod, spec = self._around.object(), self._spec
        self.folder.mkdir(parents=True, exist_ok=True)
        termination_log = self.folder / "termination-log"
        termination_log.write_bytes(b"")
        lookup = await Objects(self._around.api, pod["metadata"]["namespace"]).load(spec)
        seen = {**pod, "status": {**(pod.get("status") or {}), **self._around.addresses}}
        env = {
            **base_environment(self.folder),
            **_service_environment(self._around.api.server),
            "HOSTNAME": pod["metadata"]["name"],
            "ATTUNE_TERMINATION_LOG": str(termination_log),
            **environment(spec, seen, lookup),
        }
        argv = [*(spec.get("command") or image.entrypoint), *(spec.get("args") or [])]
        mounts = volumes.mounts(spec, pod, self._around.volumes, termination_log)
        if names_of(pod):
            mounts.append(volumes.Mount(self._around.hosts, "/etc/hosts", read_only=True))
        expanded = tuple(expand(a, env) for a in argv)
        return Program(expanded, env, tuple(_possible(mounts)), self.folder, spec.get("workingDir"))

    async def _run_once(self, program: Program) -> None:
        spec, state = self._spec, self.state
        log = self._log_path(state.restarts)
        process = self._process = await Process.start(program, log)
        state.start(
            datetime.now(UTC),
            probed_first="startupProbe" in spec,
            ready="readinessProbe" not in spec and "startupProbe" not in spec,
        )
        if self._around.deleted.is_set():
            process.terminate()
        self._around.dirty.set()
        probing = asyncio.create_task(self._probe(program, process))
        probing.add_done_callback(_say)
        code = await process.wait()
        probing.cancel()
        message = message_of(
            program.folder / "termination-log", log, spec.get("terminationMessagePolicy", "File"), code
        )
        state.end(datetime.now(UTC), code, "StartError" if code == START_ERROR else "", message)
        self._around.dirty.set()

    # probes ----------------------------------------------------------------------------------------------------------

    async def _probe(self, program: Program, process: Process) -> None:
        """Startup first; then readiness sets ready, and liveness stops the program."""
        startup, readiness, liveness = (self._spec.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness"))
        if startup:
            if not await probes.started(startup, lambda: self._check(startup, program, process)):
                return await self._stop_unhealthy(startup, process)
            self.state.started = True
            self.state.ready = readiness is None
            self._around.dirty.set()
        watches = [self._watch_liveness(liveness, program, process)] if liveness else []
        watches += [self._watch_readiness(readiness, program, process)] if readiness else []
        await asyncio.gather(*watches)
        return None

    async def _check(self, probe: Thing, program: Program, process: Process) -> bool:
        async def execute(command: list[str]) -> int:
            return await process.execute(command, program.env, program.folder)

        return await probes.check(probe, self._spec, self._around.addresses["podIP"], execute)

    async def _watch_liveness(self, probe: Thing, program: Program, process: Process) -> None:
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        verdict = probes.tally(probe, True)
        while True:
            if not verdict.count(await self._check(probe, program, process)):
                return await self._stop_unhealthy(probe, process)
            await asyncio.sleep(probes.period(probe))

    async def _watch_readiness(self, probe: Thing, program: Program, process: Process) -> None:
        """What is not ready is asked each second at least: people wait for it."""
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        verdict = probes.tally(probe, False)
        while True:
            healthy = verdict.count(await self._check(probe, program, process))
            if self.state.ready != healthy:
                self.state.ready = healthy
                self._around.dirty.set()
            await asyncio.sleep(probes.period(probe) if healthy else min(probes.period(probe), 1))

    async def _stop_unhealthy(self, probe: Thing, process: Process) -> None:
        """SIGTERM, then SIGKILL after the grace period. Cancelled as soon as the program has ended."""
        grace = self._around.object()["spec"].get("terminationGracePeriodSeconds", 30)
        process.terminate()
        await asyncio.sleep(probe.get("terminationGracePeriodSeconds", grace))
        process.kill()


def _say(task: asyncio.Task[None]) -> None:
    """A probe that fails in a way that we did not foresee is seen in the node's log."""
    if not task.cancelled() and task.exception():
        sys.stderr.write(f"probe: {task.exception()!r}\n")


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
