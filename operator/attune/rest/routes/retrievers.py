"""/api/rag/retrievers and /api/rag/schedules: what serves, and when it is trained again. Read only."""

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import Query, Response
from starlette.requests import Request

from attune.api.kinds import AB_TEST, MODEL_VERSION, RETRIEVER, TRAINING_JOB, TRAINING_SCHEDULE, Kind
from attune.messages.retrievers import RetrieverPage, RetrieverView
from attune.messages.runs import SchedulePage
from attune.objects import Manifest
from attune.rest import paging
from attune.rest.answers import raw_answer
from attune.rest.desk import Desk
from attune.rest.mirror import Room
from attune.rest.paging import DEFAULT_LIMIT, Cursor, Limit
from attune.rest.routing import AtDesk, Id, Need, guarded
from attune.views import retrievers as views

retrievers = guarded("retrievers")
_OTHERS = (MODEL_VERSION, TRAINING_JOB, AB_TEST)
Others = dict[Kind, list[Manifest] | None]


@retrievers.route("GET", "/retrievers", (Need("list", RETRIEVER),), answer=RetrieverPage)
async def list_retrievers(
    request: Request, desk: AtDesk, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Retrievers, the newest first. What the caller may not list is left out, and named."""
    room, beside = await desk.listed(RETRIEVER), await _beside(desk)
    part = paging.wanted(limit, cursor)

    def make() -> bytes:
        found, after = paging.chosen(room.entries(), part)
        others = beside.things()
        items = [_view(entry.manifest(), others) for entry in found]
        return orjson.dumps({"items": items} | ({"nextCursor": after} if after else {}))

    return raw_answer(request, room.remembered((part.limit, part.cursor, beside.state), make))


@retrievers.route(
    "GET", "/retrievers/{id}", (Need("get", RETRIEVER, named=True),), answer=RetrieverView, may_fail=(404,)
)
async def get_retriever(request: Request, desk: AtDesk, name: Id) -> Response:
    """What serves, since when, how good; what is on its way; what is wrong. As `kubectl attune status -o json`."""
    retriever, beside = await desk.get(RETRIEVER, name), await _beside(desk)

    def make() -> bytes:
        return orjson.dumps(_view(retriever, beside.things()))

    versions = beside.rooms[MODEL_VERSION]
    key = (name, retriever["metadata"]["resourceVersion"], beside.state)
    return raw_answer(request, versions.remembered(key, make) if versions is not None else make())


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


@dataclass(frozen=True, slots=True)
class Beside:
    """What a view is made of beside the Retriever, as far as the caller may list it; None: not at all."""

    rooms: dict[Kind, Room | None]

    @property
    def state(self) -> tuple[int, ...]:
        """Changes whenever something of it does."""
        return tuple(room.changes if room is not None else -1 for room in self.rooms.values())

    def things(self) -> Others:
        return {
            kind: [entry.manifest() for entry in room.entries()] if room is not None else None
            for kind, room in self.rooms.items()
        }


async def _beside(desk: Desk) -> Beside:
    return Beside({kind: await desk.listed(kind) if await desk.may("list", kind) else None for kind in _OTHERS})


def _view(retriever: Manifest, others: Others) -> dict[str, Any]:
    status, metadata = retriever.get("status") or {}, retriever["metadata"]
    hidden = [kind.plural for kind, things in others.items() if things is None]
    view = views.status_view(retriever, *(others[kind] or [] for kind in _OTHERS))
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
