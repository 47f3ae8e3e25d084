"""logs: of the Pods that work for a TrainingJob or a ModelVersion, or that serve a Retriever; progress lines made readable."""

import asyncio
from dataclasses import dataclass
from urllib.parse import quote

from attune.api import labels
from attune.api.display import percent, span
from attune.cli.session import Problem, Say, Session
from attune.contract import last_progress
from attune.errors import Invalid, NotFound
from attune.objects import Manifest

LINES = "1000"
LOOK_SECONDS = 0.5
STATE = {"TrainingJob": "phase", "ModelVersion": "stage"}
OVER = {"TrainingJob": {"Succeeded", "Failed"}, "ModelVersion": {"staged", "active", "deprecated", "failed"}}


@dataclass(frozen=True, slots=True)
class Shown:
    """How lines are printed."""

    say: Say
    raw: bool = False
    follow: bool = False

    def line(self, text: str, prefix: str = "") -> None:
        self.say(prefix + (text if self.raw else readable(text)))


async def show(session: Session, name: str, how: Shown) -> None:
    """Print what there is; with `follow` also what comes, until the work is done. Problem where there is no such thing."""
    for kind in (*STATE, "Retriever"):
        thing = await session.find(kind, name)
        if thing is None:
            continue
        if kind == "Retriever":
            await _serving(session, name, how)
        else:
            await _stages(session, thing, how)
        return
    raise Problem(f"no TrainingJob, ModelVersion or Retriever {name!r} in namespace {session.namespace}")


async def _serving(session: Session, name: str, how: Shown) -> None:
    """All replicas, each line with the name of its Pod where there are several."""
    pods = await session.pods({labels.RETRIEVER: name, labels.COMPONENT: labels.SERVING})
    if not pods:
        raise Problem(f"no Pod serves Retriever {name}; `kubectl attune status {name}` says why")
    several = len(pods) > 1
    if how.follow:
        await asyncio.gather(*(_print(session, pod, how, several=several) for pod in pods))
        return
    for pod in pods:
        await _print(session, pod, how, several=several)


async def _stages(session: Session, owner: Manifest, how: Shown) -> None:
    """The newest Pod; with `follow` those that come after it, too: each stage of a run has a Pod of its own."""
    kind, name = owner["kind"], owner["metadata"]["name"]
    shown: set[str] = set()
    while True:
        current = await session.find(kind, name)  # before the Pods: none comes after it is over
        over = current is None or (current.get("status") or {}).get(STATE[kind]) in OVER[kind]
        pods = await session.pods({labels.OWNER_UID: owner["metadata"]["uid"]})
        new = [pod for pod in pods if pod["metadata"]["uid"] not in shown]
        for pod in new if shown else new[-1:]:
            how.say(f"--- {pod['metadata']['labels'].get(labels.STAGE, 'pod')}: {pod['metadata']['name']}")
            await _print(session, pod, how)
        shown |= {pod["metadata"]["uid"] for pod in pods}
        if not shown and (over or not how.follow):
            raise Problem(
                f"{kind} {name} has no Pod, or none any more; `kubectl describe {kind.lower()} {name}` tells more"
            )
        if not how.follow or (over and not new):
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _print(session: Session, pod: Manifest, how: Shown, *, several: bool = False) -> None:
    """The log of one Pod. With `follow` it is waited for, and goes on until the Pod has ended."""
    name, told = pod["metadata"]["name"], ""
    prefix = f"{name}: " if several else ""
    path = f"{await session.cluster.discovery.path('v1', 'Pod', session.namespace)}/{quote(name, safe='')}"
    query = {"container": pod["spec"]["containers"][0]["name"], "tailLines": LINES}
    query |= {"follow": "true"} if how.follow else {}
    while True:
        try:
            async for line in session.transport.lines(f"{path}/log", query=query):
                how.line(line, prefix)
            return
        except NotFound:
            return
        except Invalid as error:  # it has not started
            why = await _waiting(session, path) or str(error)
        if why != told:
            told = why
            how.say(f"{prefix}has not started: {why}")
        if not how.follow:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _waiting(session: Session, path: str) -> str | None:
    """Why the containers of a Pod do not run yet: `ErrImagePull: no such image`, or `Pending`."""
    try:
        status = (await session.transport.request("GET", path)).json().get("status") or {}
    except NotFound:
        return None
    return waiting_reason(status)


def waiting_reason(status: Manifest) -> str | None:
    """What a Pod's status says of a container that waits, or of why no node takes it."""
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return ": ".join(part for part in (waiting.get("reason"), waiting.get("message")) if part)
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return str(condition.get("message") or condition.get("reason"))
    return str(status.get("phase") or "Pending")


def readable(line: str) -> str:
    """`train 43%, loss 0.512, 12 examples/s, 3m left` for a line of progress; other lines as they are."""
    progress = last_progress(line)
    if progress is None:
        return line
    parts = [f"{progress.stage} {percent(progress.percent) or ''}".strip()]
    if progress.epoch is not None:
        parts.append(f"epoch {progress.epoch:.2f}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.examples_per_second is not None:
        parts.append(f"{progress.examples_per_second:.0f} examples/s")
    if progress.estimated_remaining_seconds is not None:
        parts.append(f"{span(progress.estimated_remaining_seconds)} left")
    return ", ".join(parts)
