"""/api/rag/models: versions, their promotion and rollback, their past, and events while they come about."""

from typing import Annotated, Any

from fastapi import Body, Query, Response
from starlette.requests import Request

from attune.api import VersionStage
from attune.api.kinds import AB_TEST, MODEL_VERSION, RETRIEVER, TRAINING_JOB, Kind
from attune.contract import ModelType
from attune.messages.asked import MoveRequest
from attune.messages.versions import Moved, Timeline, VersionDetail, VersionPage
from attune.objects import Manifest
from attune.rest import moving, paging, streams
from attune.rest.answers import json_answer
from attune.rest.creating import IdempotencyKey
from attune.rest.desk import Desk
from attune.rest.paging import DEFAULT_LIMIT, Cursor, Limit
from attune.rest.routing import AtDesk, Id, Need, guarded
from attune.rest.streams import LastEventId, Snapshot, Subject, Watched
from attune.views import rows, states, timeline

versions = guarded("versions")
ROOT = "/models"
_ONE = (Need("get", MODEL_VERSION, named=True),)
_MOVE = (*_ONE, Need("patch", MODEL_VERSION, named=True))
Move = Annotated[MoveRequest | None, Body()]


@versions.route("GET", ROOT, (Need("list", MODEL_VERSION),), answer=VersionPage)
async def list_versions(  # noqa: PLR0913  filters
    request: Request,
    desk: AtDesk,
    retriever: Annotated[str | None, Query(max_length=253, description="Only those of this Retriever.")] = None,
    kind: Annotated[ModelType | None, Query(alias="type", description="Only those of this type.")] = None,
    stage: Annotated[list[VersionStage] | None, Query(description="Only those in one of these stages.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Versions, the newest first."""
    part = paging.wanted(limit, cursor, retriever=retriever, type=kind, stage=stage)
    return await paging.page(request, desk, MODEL_VERSION, part)


@versions.route("GET", ROOT + "/{id}", _ONE, answer=VersionDetail, may_fail=(404,))
async def get_version(request: Request, desk: AtDesk, name: Id) -> Response:
    """A version with everything that is stored of it."""
    return json_answer(request, rows.version_detail(await desk.get(MODEL_VERSION, name)))


@versions.route("POST", ROOT + "/{id}/promote", _MOVE, status=202, answer=Moved, may_fail=(404, 409))
async def promote(request: Request, desk: AtDesk, name: Id, body: Move = None, key: IdempotencyKey = None) -> Response:
    """Ask for a version to become active. 409 says why it cannot; the version's events say what becomes of it."""
    return json_answer(request, await moving.move(desk, moving.Move(name, body or MoveRequest(), key, back=False)), 202)


@versions.route("POST", ROOT + "/{id}/rollback", _MOVE, status=202, answer=Moved, may_fail=(404, 409, 410))
async def roll_back(
    request: Request, desk: AtDesk, name: Id, body: Move = None, key: IdempotencyKey = None
) -> Response:
    """Go back to this version: model and index together. 410 where its files are deleted."""
    return json_answer(request, await moving.move(desk, moving.Move(name, body or MoveRequest(), key, back=True)), 202)


@versions.route("GET", ROOT + "/{id}/timeline", _ONE, answer=Timeline, may_fail=(404,))
async def get_timeline(request: Request, desk: AtDesk, name: Id) -> Response:
    """The past of a version: data, run, version, test, promotion, rollback. What the caller may not read is left out, and named."""
    version = await desk.get(MODEL_VERSION, name)
    hidden: list[str] = []
    spec = version["spec"]
    run = await _visible(desk, TRAINING_JOB, spec["source"].get("trainingJob"), hidden)
    retriever = await _visible(desk, RETRIEVER, spec["retriever"], hidden)
    tests: list[Manifest] = []
    if await desk.may("list", AB_TEST):
        tests = [t for t in await desk.all_of(AB_TEST) if t["spec"]["retriever"] == spec["retriever"]]
    else:
        hidden.append(AB_TEST.plural)
    past = timeline.Past(version, run, retriever, tuple(tests))
    body = {"version": name, "entries": timeline.entries(past), "hidden": hidden}
    return json_answer(request, body)


async def _visible(desk: Desk, kind: Kind, name: str | None, hidden: list[str]) -> Manifest | None:
    if name is None:
        return None
    if not await desk.may("get", kind, name):
        hidden.append(kind.plural)
        return None
    return await desk.find(kind, name)


@versions.route(
    "GET",
    ROOT + "/{id}/events",
    (*_ONE, Need("watch", MODEL_VERSION, named=True)),
    may_fail=(404,),
    more=streams.SCHEMA,
)
async def version_events(request: Request, desk: AtDesk, name: Id, last_id: LastEventId = None) -> Response:
    """Progress of a version as server-sent events (data: VersionState), until it is settled: measured, and no promotion is asked for."""
    version = await Watched.open(desk, MODEL_VERSION, name)
    run = await _run_of(desk, version.known)

    async def look() -> Snapshot:
        found, ran = await version.now(), await run.now() if run is not None else None
        state: dict[str, Any] = states.version_state(found or version.known, ran)
        ids = [w.known["metadata"]["resourceVersion"] for w in (version, run) if w is not None]
        if found is None:
            return Snapshot({**state, "deleted": True}, f"{'.'.join(ids)}-deleted", last=True)
        return Snapshot(state, ".".join(ids), last=states.version_is_settled(found))

    waits = tuple(watched.wait for watched in (version, run) if watched is not None)
    rights = (("watch", MODEL_VERSION, name), *((("watch", TRAINING_JOB, run.name),) if run is not None else ()))
    subject = Subject(look, waits, rights)
    return await streams.of(request).answer(desk, subject, last_id)


async def _run_of(desk: Desk, version: Manifest) -> Watched | None:
    """The run that makes it, where it goes on and the caller may watch it."""
    name = version["spec"]["source"].get("trainingJob")
    if name is None or states.version_is_settled(version):
        return None
    if not (await desk.may("get", TRAINING_JOB, name) and await desk.may("watch", TRAINING_JOB, name)):
        return None
    return await Watched.open(desk, TRAINING_JOB, name) if await desk.find(TRAINING_JOB, name) is not None else None
