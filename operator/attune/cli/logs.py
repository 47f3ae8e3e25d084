"""logs: of the newest stage Pod of a TrainingJob or ModelVersion, or of a Retriever's serving Pods, progress lines made readable."""

import asyncio
from collections.abc import Callable

from attune.api import labels
from attune.api.display import percent, span
from attune.cli.session import Problem, Session
from attune.contract import last_progress
from attune.objects import Manifest

LINES = 1000
LOOK_SECONDS = 1.0
KINDS = ("TrainingJob", "ModelVersion", "Retriever")


async def show(session: Session, name: str, *, follow: bool, raw: bool, say: Callable[[str], None]) -> None:
    """Print what there is, and with `follow` what comes, until the Pods have ended."""
    selector = await _selector(session, name)
    printed: dict[str, int] = {}
    while True:
        pods = await session.pods(selector)
        if not pods:
            raise Problem(f"{name} has no Pod yet, or not any more; `kubectl get events` tells what happened")
        serving = labels.COMPONENT in selector
        chosen = pods if serving else pods[-1:]
        for pod in chosen:
            await _new_lines(session, pod, printed, raw=raw, prefix=serving and len(chosen) > 1, say=say)
        ended = all(pod.get("status", {}).get("phase") in {"Succeeded", "Failed"} for pod in chosen)
        if not follow or ended:
            return
        await asyncio.sleep(LOOK_SECONDS)


async def _selector(session: Session, name: str) -> dict[str, str]:
    for kind in KINDS:
        for thing in await session.all_of(kind):
            if thing["metadata"]["name"] == name:
                if kind == "Retriever":
                    return {labels.RETRIEVER: name, labels.COMPONENT: labels.SERVING}
                return {labels.OWNER_UID: thing["metadata"]["uid"]}
    raise Problem(f"no TrainingJob, ModelVersion or Retriever {name!r} in namespace {session.namespace}")


async def _new_lines(
    session: Session, pod: Manifest, printed: dict[str, int], *, raw: bool, prefix: bool, say: Callable[[str], None]
) -> None:
    name = pod["metadata"]["name"]
    text = await session.cluster.log_tail(session.namespace, name, lines=LINES)
    lines = text.splitlines()
    start = printed.get(name, 0) if len(lines) < LINES else max(0, min(printed.get(name, 0), LINES) - 1)
    for line in lines[start:]:
        say((f"{name}: " if prefix else "") + (line if raw else readable(line)))
    printed[name] = len(lines)


def readable(line: str) -> str:
    """`train 43%, loss 0.512, 12 examples/s, 3m left` for a line of progress; other lines as they are."""
    progress = last_progress(line)
    if progress is None:
        return line
    parts = [f"{progress.stage} {percent(progress.percent) or ''}".strip()]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.examples_per_second is not None:
        parts.append(f"{progress.examples_per_second:.0f} examples/s")
    if progress.estimated_remaining_seconds is not None:
        parts.append(f"{span(progress.estimated_remaining_seconds)} left")
    return ", ".join(parts)
