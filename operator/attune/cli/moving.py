"""promote and rollback: a new requestID on a version, and the operator's answer to it.

The rules are the operator's (`attune.decide.promotion`); here only what the caller surely did not mean is refused
(`attune.views.moving`).
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

from attune.cli.session import FAILED, OK, TIMED_OUT, Problem, Say, Session
from attune.errors import ClusterError
from attune.objects import Manifest
from attune.views import moving

LOOK_SECONDS = 0.2
TYPES = ("embedding", "reranker")
KEPT = frozenset({"active", "staged", "deprecated"})
ACTIVE = "Active"
ASKED = "Asked"
TIMEOUT = "Timeout"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted, and how long to wait for it."""

    version: str
    request_id: str | None = None
    wait: bool = True
    timeout: float = 600.0
    sure: bool = False
    """`--yes`: the other way round, or a version that was taken back, is meant."""
    back: bool = False


def exit_code(answer: dict[str, Any]) -> int:
    """1 for a refusal, 3 where no answer came in time."""
    return {"Refused": FAILED, TIMEOUT: TIMED_OUT}.get(answer["result"], OK)


async def move(session: Session, asked: Asked, say: Say) -> dict[str, Any]:
    """Ask, and wait for the answer: version, requestID, before, result (Promoted, RolledBack, Refused, Active, Asked, Timeout), message."""
    found = await _found(session, asked)
    if moving.active_already(found) is not None:
        return _answer(found, None, ACTIVE, "it is active already")
    refusal = moving.first(moving.UNMEANT, found)
    if refusal is not None:
        raise Problem(refusal.fact + await _way_out(session, found, refusal.reason))
    request_id = asked.request_id or f"cli-{uuid4().hex[:12]}"
    await session.merge("ModelVersion", found.name, {"spec": {"promotion": {"requestID": request_id}}})
    say(f"{found.name}: asked for, request {request_id}; {found.active or 'nothing'} serves now")
    if not asked.wait:
        return _answer(found, request_id, ASKED, f"`kubectl get mv {found.name} -o yaml` has the answer")
    return await _waited(session, found, request_id, asked.timeout, say)


async def _found(session: Session, asked: Asked) -> moving.Asked:
    version = await session.get("ModelVersion", asked.version)
    retriever = await session.get("Retriever", version["spec"]["retriever"])
    active = moving.pointer(retriever, version["spec"]["type"]).get("active")
    current = await session.find("ModelVersion", active) if active else None
    return moving.Asked(version, retriever, current, asked.request_id, asked.sure, asked.back)


async def _way_out(session: Session, found: moving.Asked, reason: str) -> str:
    """What to do instead, in commands."""
    if reason == moving.ARTIFACT_DELETED:
        return f"; kept are: {', '.join(await _kept(session, found.version)) or 'none'}"
    return {
        moving.ANSWERED: "; each new --request-id asks once",
        moving.TAKEN_BACK: ". If it is to serve all the same, add --yes",
        moving.OLDER: f": `kubectl attune rollback --to {found.name}`, or add --yes",
        moving.NEWER: f": `kubectl attune promote {found.name}`, or add --yes",
    }[reason]


async def _waited(session: Session, found: moving.Asked, request_id: str, seconds: float, say: Say) -> dict[str, Any]:
    until, told = monotonic() + seconds, ""
    while True:
        try:
            status = (await session.get("ModelVersion", found.name)).get("status") or {}
        except ClusterError as error:
            if not error.transient:
                raise
            status = {"promotion": {"result": "Pending", "message": str(error)}}
        promotion = status.get("promotion") or {}
        result, message = promotion.get("result"), promotion.get("message") or ""
        if promotion.get("handledRequestID") == request_id:
            return _answer(found, request_id, str(result), message)
        if result == "Pending" and message != told:
            told = message
            say(f"{found.name}: waits: {message}")
        if monotonic() > until:
            why = told or "the operator has not taken it up; does it run?"
            return _answer(found, request_id, TIMEOUT, f"no answer after {seconds:g} s, the request stands: {why}")
        await asyncio.sleep(LOOK_SECONDS)


def _answer(found: moving.Asked, request_id: str | None, result: str, message: str) -> dict[str, Any]:
    return {
        "version": found.name,
        "requestID": request_id,
        "before": found.active,
        "result": result,
        "message": message,
    }


# ---- where a rollback leads


async def target(session: Session, name: str | None, to: str | None, kind: str | None) -> str:
    """The version to go back to: the one that is named, or the one before the active one."""
    if to is not None:
        return await _named(session, name, to, kind)
    retriever = await session.retriever(name)
    kinds = [kind] if kind else [t for t in TYPES if moving.pointer(retriever, t).get("previous")]
    if len(kinds) > 1:
        raise Problem("both types have a version before: say --type embedding or --type reranker")
    previous = moving.pointer(retriever, kinds[0]).get("previous") if kinds else None
    if previous is None:
        what, of = retriever["metadata"]["name"], f"{kind} " if kind else ""
        raise Problem(
            f"Retriever {what} has no {of}version before the active one; name one with --to. "
            f"Kept are: {', '.join(await _kept_of(session, what, kind)) or 'none'}"
        )
    return str(previous)


async def _named(session: Session, name: str | None, to: str, kind: str | None) -> str:
    version = await session.find("ModelVersion", to)
    if version is None:
        retriever = (await session.retriever(name))["metadata"]["name"] if name else None
        kept = ", ".join(await _kept_of(session, retriever, kind)) or "none"
        raise Problem(f"no ModelVersion {to!r} in namespace {session.namespace}; kept are: {kept}")
    spec = version["spec"]
    if name is not None and spec["retriever"] != name:
        raise Problem(f"{to} is of Retriever {spec['retriever']}, not of {name}")
    if kind is not None and spec["type"] != kind:
        raise Problem(f"{to} is of type {spec['type']}, not {kind}")
    return to


async def _kept(session: Session, like: Manifest) -> list[str]:
    return await _kept_of(session, like["spec"]["retriever"], like["spec"]["type"])


async def _kept_of(session: Session, retriever: str | None, kind: str | None) -> list[str]:
    """Names of the versions whose artifacts are there."""
    found = await session.all_of("ModelVersion")
    return [
        v["metadata"]["name"]
        for v in found
        if retriever in {None, v["spec"]["retriever"]}
        and kind in {None, v["spec"]["type"]}
        and (v.get("status") or {}).get("stage") in KEPT
        and not (v.get("status") or {}).get("retirement")
    ]
