"""Promotion and rollback: a requestID on a version, as `kubectl attune` sets it. Used by `routes.versions`.

What the operator would refuse is refused here at once, by the same gates (`attune.views.moving`); what only replicas know, it says later.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from attune.api.kinds import MODEL_VERSION, RETRIEVER
from attune.messages.asked import MoveRequest
from attune.objects import Manifest
from attune.rest import creating
from attune.rest.desk import Desk
from attune.rest.problems import Refused
from attune.views import moving

ASKED, PENDING = "Asked", "Pending"


@dataclass(frozen=True, slots=True)
class Move:
    """What was asked for."""

    version: str
    body: MoveRequest
    key: str | None
    back: bool

    def request_id(self, desk: Desk) -> str | None:
        """The body's; else one that is a function of the key, so that a retry asks for the same; else None."""
        if self.body.request_id is not None or self.key is None:
            return self.body.request_id
        return f"rest-{'rollback' if self.back else 'promote'}-{creating.digest(desk, self.key)[:16]}"


async def move(desk: Desk, asked: Move) -> dict[str, Any]:
    """`messages.versions.Moved`; raises the reason why not."""
    version = await desk.get(MODEL_VERSION, asked.version)
    request_id = asked.request_id(desk)
    await _one_request_a_key(desk, asked, version)
    found = await _seen(desk, asked, version, request_id)
    if request_id is not None and (before := _answered(found, request_id)) is not None:
        return before
    waiting = moving.pending(version)
    if waiting is not None and request_id in {None, waiting}:
        return _moved(found, waiting, PENDING, "it is asked for already, and not answered yet")
    refusal = moving.first(moving.ALL, found)
    if refusal is not None:
        raise _refused(found, refusal)
    chosen = request_id or f"rest-{uuid4().hex[:12]}"
    await desk.merge(MODEL_VERSION, found.name, version["metadata"]["uid"], {"promotion": {"requestID": chosen}})
    return _moved(found, chosen, ASKED, f"asked for; {found.active or 'nothing'} serves now")


async def _seen(desk: Desk, asked: Move, version: Manifest, request_id: str | None) -> moving.Asked:
    """The Retriever and what serves now: read only where the caller may, and nothing can be said without them."""
    spec = version["spec"]
    retriever = await desk.find(RETRIEVER, spec["retriever"])
    if retriever is None:
        raise Refused(
            409,
            "NoRetriever",
            f"{asked.version} is of Retriever {spec['retriever']!r}, which is not in namespace {desk.namespace!r}",
        )
    active = moving.pointer(retriever, spec["type"]).get("active")
    current = await desk.find(MODEL_VERSION, active) if active else None
    return moving.Asked(version, retriever, current, request_id, asked.body.force, asked.back)


def _answered(found: moving.Asked, request_id: str) -> dict[str, Any] | None:
    """The same request again: what became of it."""
    known = found.status.get("promotion") or {}
    if known.get("handledRequestID") != request_id:
        return None
    return _moved(found, request_id, str(known.get("result")), str(known.get("message") or "it was answered"))


async def _one_request_a_key(desk: Desk, asked: Move, version: Manifest) -> None:
    """The same key on another version, or for the other direction, is a mistake."""
    if asked.key is None or asked.body.request_id is not None or not await desk.may("list", MODEL_VERSION):
        return
    tail = creating.digest(desk, asked.key)[:16]
    mine = Move(asked.version, asked.body, asked.key, asked.back).request_id(desk)
    for other in [version, *await desk.all_of(MODEL_VERSION)]:
        request_id = str((other["spec"].get("promotion") or {}).get("requestID") or "")
        same = other["metadata"]["name"] == asked.version
        if request_id.startswith("rest-") and request_id.endswith(tail) and not (same and request_id == mine):
            raise creating.reused(f"request {request_id} on {other['metadata']['name']}")


def _refused(found: moving.Asked, refusal: moving.Refusal) -> Refused:
    gone = refusal.reason == moving.ARTIFACT_DELETED and found.back
    way_out = {
        moving.TAKEN_BACK: '; if it is to serve all the same, send {"force": true}',
        moving.OLDER: f': POST /api/rag/models/{found.name}/rollback, or send {{"force": true}}',
        moving.NEWER: f': POST /api/rag/models/{found.name}/promote, or send {{"force": true}}',
        moving.ANSWERED: "; each new requestID asks once",
        moving.ARTIFACT_DELETED: "; train it again, or take another version",
    }.get(refusal.reason, "")
    return Refused(410 if gone else 409, refusal.reason, refusal.fact + way_out)


def _moved(found: moving.Asked, request_id: str, result: str, message: str) -> dict[str, Any]:
    answer = {
        "version": found.name,
        "requestID": request_id,
        "before": found.active,
        "result": result,
        "message": message,
    }
    return {key: value for key, value in answer.items() if value is not None}
