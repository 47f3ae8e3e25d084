"""promote and rollback: a new requestID on a version, and the operator's answer to it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from uuid import uuid4

from attune.cli.session import FAILED, OK, TIMED_OUT, Problem, Session
from attune.objects import Manifest

LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted, and how long to wait for it."""

    version: str
    request_id: str | None = None
    wait: bool = True
    timeout: float = 600.0


async def promote(session: Session, asked: Asked, *, back: bool, say: Callable[[str], None]) -> int:
    """Ask, and wait for the answer; returns the exit code."""
    version = await session.get("ModelVersion", asked.version)
    retriever = await session.get("Retriever", version["spec"]["retriever"])
    active = _pointer(retriever, version["spec"]["type"]).get("active")
    if active == asked.version:
        say(f"{asked.version} is active already")
        return OK
    if not back and active is not None:
        current = await session.get("ModelVersion", active)
        if version["spec"]["version"] < current["spec"]["version"]:
            raise Problem(
                f"{asked.version} is older than {active}, which serves: to go back, `kubectl attune rollback --to {asked.version}`"
            )
    request_id = asked.request_id or f"cli-{uuid4().hex[:12]}"
    await session.merge("ModelVersion", asked.version, {"spec": {"promotion": {"requestID": request_id}}})
    say(f"{asked.version}: asked (request {request_id}); {active or 'nothing'} serves now")
    return await _answer(session, asked, request_id, say) if asked.wait else OK


async def _answer(session: Session, asked: Asked, request_id: str, say: Callable[[str], None]) -> int:
    until, told = monotonic() + asked.timeout, ""
    while True:
        status = (await session.get("ModelVersion", asked.version)).get("status") or {}
        promotion = status.get("promotion") or {}
        message = promotion.get("message") or ""
        if promotion.get("handledRequestID") == request_id:
            result = promotion.get("result")
            say(f"{asked.version}: {result}: {message}")
            return FAILED if result == "Refused" else OK
        if message != told and promotion.get("result") == "Pending":
            told = message
            say(f"{asked.version}: waits: {message}")
        if monotonic() > until:
            say(f"{asked.version}: no answer after {asked.timeout:.0f} s; the request stands. Does the operator run?")
            return TIMED_OUT
        await asyncio.sleep(LOOK_SECONDS)


async def target(session: Session, name: str | None, to: str | None, kind: str | None) -> str:
    """The version to go back to: the one that is named, or the one before the active one."""
    if to is not None:
        version = await session.get("ModelVersion", to)
        if (version.get("status") or {}).get("retirement"):
            raise Problem(
                f"{to} is not kept any more, its files are deleted; kept are: {await _kept(session, version)}"
            )
        return to
    retriever = await session.retriever(name)
    kinds = [kind] if kind else [t for t in ("embedding", "reranker") if _pointer(retriever, t).get("previous")]
    if len(kinds) > 1:
        raise Problem("both types have a version before: say --type embedding or --type reranker")
    previous = _pointer(retriever, kinds[0]).get("previous") if kinds else None
    if previous is None:
        what = retriever["metadata"]["name"]
        raise Problem(f"Retriever {what} has no version before the active one to go back to; name one: --to VERSION")
    return str(previous)


async def _kept(session: Session, like: Manifest) -> str:
    found = [
        v["metadata"]["name"]
        for v in await session.all_of("ModelVersion")
        if v["spec"]["retriever"] == like["spec"]["retriever"]
        and v["spec"]["type"] == like["spec"]["type"]
        and (v.get("status") or {}).get("stage") in {"active", "staged", "deprecated"}
        and not (v.get("status") or {}).get("retirement")
    ]
    return ", ".join(found) or "none"


def _pointer(retriever: Manifest, kind: str) -> Manifest:
    found: Manifest = (retriever.get("status") or {}).get(kind) or {}
    return found
