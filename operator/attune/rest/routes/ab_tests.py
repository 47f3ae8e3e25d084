"""/api/rag/models/ab-test: ABTests, their results, their end."""

from typing import Annotated

from fastapi import Body, Query, Response
from starlette.requests import Request

from attune.api import ABTestPhase
from attune.api.kinds import AB_TEST
from attune.messages.ab_tests import Cancelling, TestDetail, TestPage, TestRow
from attune.messages.asked import ABTestRequest
from attune.rest import creating, paging
from attune.rest.answers import json_answer
from attune.rest.creating import IdempotencyKey
from attune.rest.paging import DEFAULT_LIMIT, Cursor, Limit
from attune.rest.problems import Refused
from attune.rest.routing import AtDesk, Id, Need, guarded
from attune.views import rows
from attune.views.ab_tests import TERMINAL
from attune.views.retrievers import phase_of

tests = guarded("tests")
ROOT = "/models/ab-test"


@tests.route("POST", ROOT, (Need("create", AB_TEST),), status=202, answer=TestRow, may_fail=(404, 409))
async def start_test(
    request: Request,
    desk: AtDesk,
    body: Annotated[ABTestRequest, Body()],
    key: IdempotencyKey = None,
) -> Response:
    """Create an ABTest. It waits where another one of the same Retriever and type runs."""
    made, before = await creating.create_once(desk, creating.wish(AB_TEST, await request.json(), body.retriever, key))
    headers = {"location": f"/api/rag{ROOT}/{made['metadata']['name']}?namespace={desk.namespace}"}
    return json_answer(request, rows.test_row(made), 202, headers | (creating.REPLAYED if before else {}))


@tests.route("GET", ROOT, (Need("list", AB_TEST),), answer=TestPage)
async def list_tests(
    request: Request,
    desk: AtDesk,
    retriever: Annotated[str | None, Query(max_length=253, description="Only those of this Retriever.")] = None,
    phase: Annotated[list[ABTestPhase] | None, Query(description="Only those in one of these phases.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """ABTests, the newest first."""
    return await paging.page(request, desk, AB_TEST, paging.wanted(limit, cursor, retriever=retriever, phase=phase))


@tests.route("GET", ROOT + "/{id}", (Need("get", AB_TEST, named=True),), answer=TestDetail, may_fail=(404,))
async def get_test(request: Request, desk: AtDesk, name: Id) -> Response:
    """The result of a test: arms, metrics with intervals and what they mean, what to do."""
    return json_answer(request, rows.test_detail(await desk.get(AB_TEST, name)))


@tests.route(
    "DELETE",
    ROOT + "/{id}",
    (Need("get", AB_TEST, named=True), Need("patch", AB_TEST, named=True)),
    status=202,
    answer=Cancelling,
    may_fail=(404, 409),
)
async def cancel_test(request: Request, desk: AtDesk, name: Id) -> Response:
    """End a test: all queries go to A again. The object stays, with what was measured."""
    test = await desk.get(AB_TEST, name)
    phase, status = phase_of(test), test.get("status") or {}
    if test["spec"].get("cancel"):
        return json_answer(request, {"name": name, "phase": phase, "message": "it was asked to end before"}, 202)
    if phase in TERMINAL:
        winner = f", winner {status['winner']}" if status.get("winner") else ""
        said = status.get("message") or status.get("reason") or "no reason was given"
        raise Refused(
            409, "Finished", f"{name} has ended already ({phase}{winner}: {said}); there is nothing to cancel"
        )
    await desk.merge(AB_TEST, name, test["metadata"]["uid"], {"cancel": True})
    return json_answer(request, {"name": name, "phase": phase, "message": f"asked to end; it is {phase}"}, 202)
