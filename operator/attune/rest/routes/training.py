"""/api/rag/models/train: TrainingJobs."""

from typing import Annotated

from fastapi import Body, Query, Response
from starlette.requests import Request

from attune.api import Phase
from attune.api.kinds import TRAINING_JOB
from attune.messages.asked import TrainRequest
from attune.messages.runs import Run, RunDetail, RunPage
from attune.rest import creating, paging, streams
from attune.rest.answers import json_answer
from attune.rest.creating import IdempotencyKey
from attune.rest.paging import DEFAULT_LIMIT, Cursor, Limit
from attune.rest.problems import Refused
from attune.rest.routing import AtDesk, Id, Need, guarded
from attune.rest.streams import LastEventId, Snapshot, Subject, Watched
from attune.views import rows, states

runs = guarded("training")
ROOT = "/models/train"


@runs.route(
    "POST",
    ROOT,
    (Need("create", TRAINING_JOB),),
    status=202,
    answer=Run,
    may_fail=(404, 409),
)
async def train(
    request: Request,
    desk: AtDesk,
    body: Annotated[TrainRequest, Body()],
    key: IdempotencyKey = None,
) -> Response:
    """Create a TrainingJob. Fields that are left out get the defaults of the custom resource."""
    wanted = creating.wish(TRAINING_JOB, await request.json(), body.retriever, key)
    made, before = await creating.create_once(desk, wanted)
    headers = {"location": f"/api/rag{ROOT}/{made['metadata']['name']}?namespace={desk.namespace}"}
    return json_answer(request, rows.run_row(made), 202, headers | (creating.REPLAYED if before else {}))


@runs.route("GET", ROOT, (Need("list", TRAINING_JOB),), answer=RunPage)
async def list_runs(
    request: Request,
    desk: AtDesk,
    retriever: Annotated[str | None, Query(max_length=253, description="Only those of this Retriever.")] = None,
    phase: Annotated[list[Phase] | None, Query(description="Only those in one of these phases.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """TrainingJobs, the newest first."""
    return await paging.page(
        request, desk, TRAINING_JOB, paging.wanted(limit, cursor, retriever=retriever, phase=phase)
    )


@runs.route("GET", ROOT + "/{id}", (Need("get", TRAINING_JOB, named=True),), answer=RunDetail, may_fail=(404,))
async def get_run(request: Request, desk: AtDesk, name: Id) -> Response:
    """A TrainingJob with everything that is stored of it."""
    return json_answer(request, rows.run_detail(await desk.get(TRAINING_JOB, name)))


@runs.route(
    "DELETE",
    ROOT + "/{id}",
    (Need("get", TRAINING_JOB, named=True), Need("delete", TRAINING_JOB, named=True)),
    status=202,
    answer=Run,
    may_fail=(404, 409),
)
async def delete_run(request: Request, desk: AtDesk, name: Id) -> Response:
    """Cancel a run: delete the TrainingJob, as kubectl does. What runs of it ends, and a version that it has not finished fails."""
    found = await desk.get(TRAINING_JOB, name)
    if states.run_has_ended(found):
        raise Refused(
            409,
            "Finished",
            f"TrainingJob {name} has ended already ({rows.run_row(found)['phase']}); there is nothing to cancel",
        )
    await desk.delete(TRAINING_JOB, name, found["metadata"]["uid"])
    return json_answer(request, rows.run_row(found), 202)


@runs.route(
    "GET",
    ROOT + "/{id}/events",
    (Need("get", TRAINING_JOB, named=True), Need("watch", TRAINING_JOB, named=True)),
    may_fail=(404,),
    more=streams.SCHEMA,
)
async def run_events(request: Request, desk: AtDesk, name: Id, last_id: LastEventId = None) -> Response:
    """Progress of a run as server-sent events (data: RunState), until it has succeeded or failed."""
    run = await Watched.open(desk, TRAINING_JOB, name)

    async def look() -> Snapshot:
        found = await run.now()
        state, version = states.run_state(found or run.known), run.known["metadata"]["resourceVersion"]
        if found is None:
            return Snapshot({**state, "deleted": True}, f"{version}-deleted", last=True)
        return Snapshot(state, version, last=states.run_has_ended(found))

    return await streams.of(request).answer(desk, Subject(look, (run.wait,), (("watch", TRAINING_JOB, name),)), last_id)
