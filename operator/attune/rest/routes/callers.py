"""/api/rag/whoami: who the caller is, and what the caller may do, so that a page offers nothing that would be refused."""

from fastapi import Response
from starlette.requests import Request

from attune.api.kinds import AB_TEST, MODEL_VERSION, RETRIEVER, TRAINING_JOB, TRAINING_SCHEDULE
from attune.messages.retrievers import WhoAmI
from attune.rest.answers import json_answer
from attune.rest.routing import ANYBODY, AtDesk, guarded

callers = guarded("callers")
_READ = ("get", "list", "watch")
VERBS = {
    RETRIEVER.plural: _READ,
    TRAINING_JOB.plural: (*_READ, "create", "delete"),
    MODEL_VERSION.plural: (*_READ, "patch"),
    AB_TEST.plural: (*_READ, "create", "patch"),
    TRAINING_SCHEDULE.plural: _READ,
}
_MOVES = ((MODEL_VERSION, "get"), (MODEL_VERSION, "patch"), (RETRIEVER, "get"))
ACTIONS = {
    "train": ((TRAINING_JOB, "create"),),
    "deleteRun": ((TRAINING_JOB, "get"), (TRAINING_JOB, "delete")),
    "promote": _MOVES,
    "rollback": _MOVES,
    "abTest": ((AB_TEST, "create"),),
    "cancelABTest": ((AB_TEST, "get"), (AB_TEST, "patch")),
}


@callers.route("GET", "/whoami", ANYBODY, answer=WhoAmI)
async def whoami(request: Request, desk: AtDesk) -> Response:
    """The caller, and the verbs that the caller has on each kind in the namespace."""
    rights = await desk.rights(VERBS)
    body = {
        "user": desk.user,
        "groups": list(desk.groups),
        "namespace": desk.namespace,
        "rights": {resource: list(verbs) for resource, verbs in rights.items()},
        "actions": {
            name: all(verb in rights[kind.plural] for kind, verb in needed) for name, needed in ACTIONS.items()
        },
    }
    return json_answer(request, body)
