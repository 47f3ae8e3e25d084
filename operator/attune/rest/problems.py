"""Errors as answers: one exception, one form (RFC 9457), one place where errors of the API server are read. Used everywhere in `rest`."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from attune.errors import AlreadyExists, ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from attune.messages.problem import MEDIA_TYPE, PREFIX, FieldProblem, Problem

RETRY_SECONDS = 2.0
_UNKNOWN = re.compile(r'unknown field "([^"]+)"')
_ADMISSION = "admission webhook"


class Refused(Exception):
    """A request that is answered by a problem. `detail` names the thing, the value and the way out."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        field: str | None = None,
        errors: Iterable[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.errors = tuple(errors)
        self.field = field or (self.errors[0].field if self.errors else None)
        self.headers = dict(headers or {})

    def response(self, request: Request) -> Response:
        """As the caller gets it."""
        problem = Problem(
            type=PREFIX + self.reason,
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=str(self),
            instance=request.url.path,
            reason=self.reason,
            field=self.field,
            errors=self.errors or None,
            request_id=request.scope.get("attune.request_id"),
        )
        headers = {"cache-control": "no-store", **self.headers}
        return Response(problem.to_json(), self.status, headers, MEDIA_TYPE)


def unavailable(reason: str, detail: str, seconds: float | None = None) -> Refused:
    """503: the same request may succeed later."""
    wait = max(1, round(seconds if seconds is not None else RETRY_SECONDS))
    return Refused(503, reason, detail, headers={"retry-after": str(wait)})


def missing(kind: str, name: str, namespace: str) -> Refused:
    """404."""
    return Refused(404, "NotFound", f"there is no {kind} {name!r} in namespace {namespace!r}")


def of_cluster(error: ClusterError) -> Refused:
    """What the API server said, in its own words, as an answer of ours. Never 500."""
    said = error.said or str(error)
    if isinstance(error, Unavailable):
        return unavailable("ApiServerUnavailable", f"the API server does not answer: {error}", error.retry_after)
    if isinstance(error, AlreadyExists):
        return Refused(409, "AlreadyExists", f"{said}; choose another name, or leave name out", field="name")
    if isinstance(error, Conflict):
        return Refused(409, "Conflict", f"{said}; read it again and ask again")
    if isinstance(error, NotFound):
        return Refused(404, "NotFound", said)
    if isinstance(error, Forbidden):
        return _forbidden(said)
    if error.status == 413:
        return Refused(413, "TooLarge", said)
    if isinstance(error, Invalid):
        named = [*error.causes, *((field, "there is no such field") for field in _UNKNOWN.findall(said))]
        fields = tuple(FieldProblem(field=bare(field), message=message) for field, message in named)
        return Refused(422, "Invalid", said, errors=fields)
    return unavailable("ApiServerRefused", str(error))


def bare(field: str) -> str:
    """`spec.hyperparameters.epochs` as the body names it."""
    return field.removeprefix("spec.").removeprefix("metadata.")


def _forbidden(said: str) -> Refused:
    """The caller's rights were reviewed before: what is left is admission, a quota, or rights that the API itself lacks."""
    if _ADMISSION in said:
        return Refused(422, "AdmissionRefused", said)
    if "exceeded quota" in said:
        return Refused(409, "QuotaExceeded", said)
    if "being terminated" in said:
        return Refused(409, "NamespaceTerminating", said)
    return unavailable(
        "ApiLacksRights",
        f"the API's own account may not do that: {said}; apply manifests/api.yaml, or give its ServiceAccount the right",
        60,
    )


def of_validation(errors: Iterable[Mapping[str, Any]]) -> Refused:
    """422 with every field that is wrong; of a body that is no JSON too."""
    fields = []
    for error in errors:
        place = [str(part) for part in error["loc"] if part not in {"query", "path", "header"}]
        if error["type"] == "json_invalid":
            why = (error.get("ctx") or {}).get("error", "it cannot be parsed")
            return Refused(422, "InvalidJson", f"the body is no JSON: {why}", field="body")
        path = place[1:] if place[:1] == ["body"] and len(place) > 1 else place
        fields.append(FieldProblem(field=".".join(path) or "body", message=str(error["msg"])))
    told = "; ".join(f"{f.field}: {f.message}" for f in fields[:5])
    more = f"; and {len(fields) - 5} more" if len(fields) > 5 else ""
    return Refused(422, "Invalid", told + more, errors=fields)
