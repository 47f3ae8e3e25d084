"""The OpenAPI document: what FastAPI makes of the routes, with problems, access and without what only CRDs need. Used by `app`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from attune.messages.events import RunState, VersionState
from attune.messages.problem import FieldProblem, Problem

ABOUT = """\
Custom resources of Attune over HTTP, for callers that have no kubectl. Every request is made in the name of its caller: a bearer token
that the API server accepts, and the same right that kubectl would need (`x-attune-needs`). Errors are problem details (RFC 9457).
"""
_REF = "#/components/schemas/{model}"
_EXTRA = (Problem, FieldProblem, VersionState, RunState)


def described(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=ABOUT,
            routes=app.routes,
            separate_input_output_schemas=False,
        )
        schemas = document["components"]["schemas"]
        for model in _EXTRA:
            made = model.model_json_schema(ref_template=_REF)
            schemas |= made.pop("$defs", {}) | {model.__name__: made}
        schemas.pop("HTTPValidationError", None)
        schemas.pop("ValidationError", None)
        document["components"]["securitySchemes"] = {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of the cluster: `kubectl create token`.",
            }
        }
        for path in document["paths"].values():
            for operation in path.values():
                _tidy(operation)
        app.openapi_schema = _plain(document)
    return app.openapi_schema


def _tidy(operation: dict[str, Any]) -> None:
    """Without FastAPI's own 422, which our problem replaces."""
    for code, response in operation["responses"].items():
        content = response.get("content") or {}
        if int(code) >= 400:
            content.pop("application/json", None)
        if "text/event-stream" in content:
            content.pop("application/json", None)


def _plain(value: Any) -> Any:
    """Without the keywords of Kubernetes: the API server's rules are told by their refusals."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if not k.startswith("x-kubernetes-")}
    return [_plain(v) for v in value] if isinstance(value, list) else value
