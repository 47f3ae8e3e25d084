"""/api/rag/retrievers and /api/rag/schedules: what serves, and when it is trained again. Read only."""

from typing import Annotated, Any

from fastapi import Query, Response
from starlette.requests import Request

from attune.api.kinds import AB_TEST, MODEL_VERSION, RETRIEVER, TRAINING_JOB, TRAINING_SCHEDULE, Kind
from attune.messages.retrievers import RetrieverPage, RetrieverView
from attune.messages.runs import SchedulePage
from attune.objects import Manifest
from attune.rest import paging
from attune.rest.answers import json_answer
from attune.rest.desk import Desk
from attune.rest.paging import DEFAULT_LIMIT, Cursor, Limit
from attune.rest.routing import AtDesk, Id, Need, guarded
from attune.views import retrievers as views

retrievers = guarded("retrievers")
_OTHERS = (MODEL_VERSION, TRAINING_JOB, AB_TEST)


@retrievers.route("GET", "/retrievers", (Need("list", RETRIEVER),), answer=RetrieverPage)
async def list_retrievers(
    request: Request, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Retrievers, the newest first. What the caller may not list is left out, and named."""
    room = await desk.listed(RETRIEVER)
    found, after = paging.chosen(room.entries(), paging.wanted(limit, cursor))
    others, hidden = await _others(desk)
    body: dict[str, Any] = {"items": [_view(entry.manifest(), others, hidden) for entry in found]}
    return json_answer(request, body | ({"nextCursor": after} if after else {}))


@retrievers.route(
    "GET", "/retrievers/{id}", (Need("get", RETRIEVER, named=True),), answer=RetrieverView, may_fail=(404,)
)
async def get_retriever(request: Request, desk: AtDesk, name: Id) -> Response:
    """What serves, since when, how good; what is on its way; what is wrong. As `kubectl attune status -o json`."""
    retriever = await desk.get(RETRIEVER, name)
    others, hidden = await _others(desk)
    return json_answer(request, _view(retriever, others, hidden))


@retrievers.route("GET", "/schedules", (Need("list", TRAINING_SCHEDULE),), answer=SchedulePage)
async def list_schedules(
    request: Request,
    desk: AtDesk,
    retriever: Annotated[str | None, Query(max_length=253, description="Only those of this Retriever.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """TrainingSchedules, the newest first. They are changed by kubectl."""
    return await paging.page(request, desk, TRAINING_SCHEDULE, paging.wanted(limit, cursor, retriever=retriever))


async def _others(desk: Desk) -> tuple[dict[Kind, list[Manifest]], list[str]]:
    """What a view is made of beside the Retriever, as far as the caller may list it."""
    seen = {kind: await desk.all_of(kind) if await desk.may("list", kind) else None for kind in _OTHERS}
    return {k: v or [] for k, v in seen.items()}, [k.plural for k, v in seen.items() if v is None]


def _view(retriever: Manifest, others: dict[Kind, list[Manifest]], hidden: list[str]) -> dict[str, Any]:
    status, metadata = retriever.get("status") or {}, retriever["metadata"]
    view = views.status_view(retriever, *(others[kind] for kind in _OTHERS))
    dropped = {"training": TRAINING_JOB, "tests": AB_TEST}
    view = {k: v for k, v in view.items() if v is not None and not (k in dropped and dropped[k].plural in hidden)}
    if MODEL_VERSION.plural in hidden:
        known = ("active", "since", "previous", "split")
        view["models"] = {kind: {k: model[k] for k in known} for kind, model in view["models"].items()}
    return view | {
        "namespace": metadata["namespace"],
        "createdAt": metadata.get("creationTimestamp"),
        "conditions": status.get("conditions") or [],
        "changes": status.get("changes") or [],
        "hidden": hidden,
    }
