"""The OpenAPI document: what FastAPI makes of the routes, with problems, access and without what only CRDs need. Used by `app`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from attune.messages.events import RunState, VersionState
from attune.messages.problem import Problem
from attune.rest.routing import ANSWERS, NEEDS

ABOUT = """\
Custom resources of Attune over HTTP, for callers that have no kubectl. Every request is made in the name of its caller: a bearer token
that the API server accepts, and the same right that kubectl would need (`x-attune-needs`). Errors are problem details (RFC 9457).
"""
_REF = "#/components/schemas/{model}"
_EXTRA = (Problem, VersionState, RunState)


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
        # By pydantic, not as response_model: what is stored lacks what is absent, so that nothing with a default is required.
        models: list[type[BaseModel]] = [*ANSWERS.values(), *_EXTRA]
        forms: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in models]
        schemas |= models_json_schema(forms, ref_template=_REF)[1]["$defs"]
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
        document["components"]["schemas"] = dict(sorted(schemas.items()))
        app.openapi_schema = _plain(document)
    return app.openapi_schema


def _tidy(operation: dict[str, Any]) -> None:
    """Needs as words; without FastAPI's own 422, which our problem replaces."""
    operation[NEEDS] = [f"{need['verb']} {need['kind']['plural']}" for need in operation[NEEDS]]
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
