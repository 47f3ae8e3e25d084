"""The OpenAPI document is up to date, and every answer is what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from attune.rest import document
from attune.rest.routing import ANSWERS
from kube_server import KubeServer
from rest_callers import Caller, bodies

ROOT = Path(__file__).parents[3]
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
OPERATIONS = {(m.upper(), p): o for p, ops in DOCUMENT["paths"].items() for m, o in ops.items()}
READS = {
    "/api/rag/models": "/api/rag/models",
    "/api/rag/models/{id}": "/api/rag/models/emb-v5",
    "/api/rag/models/{id}/timeline": "/api/rag/models/emb-v3/timeline",
    "/api/rag/models/train": "/api/rag/models/train",
    "/api/rag/models/train/{id}": "/api/rag/models/train/tune-7",
    "/api/rag/models/ab-test": "/api/rag/models/ab-test",
    "/api/rag/models/ab-test/{id}": "/api/rag/models/ab-test/news-v3",
    "/api/rag/retrievers": "/api/rag/retrievers",
    "/api/rag/retrievers/{id}": "/api/rag/retrievers/news",
    "/api/rag/schedules": "/api/rag/schedules",
    "/api/rag/whoami": "/api/rag/whoami",
}
WRITES = [
    ("POST", "/api/rag/models/train", "/api/rag/models/train"),
    ("DELETE", "/api/rag/models/train/{id}", "/api/rag/models/train/tune-7"),
    ("POST", "/api/rag/models/ab-test", "/api/rag/models/ab-test"),
    ("DELETE", "/api/rag/models/ab-test/{id}", "/api/rag/models/ab-test/news-v6"),
    ("POST", "/api/rag/models/{id}/promote", "/api/rag/models/emb-v6/promote"),
    ("POST", "/api/rag/models/{id}/rollback", "/api/rag/models/emb-v2/rollback"),
]


def schema_of(operation: dict[str, Any], status: int) -> dict[str, Any]:
    (media,) = operation["responses"][str(status)]["content"].values()
    return {**strict(DOCUMENT["components"]), **strict(media["schema"])} | {
        "components": strict(DOCUMENT["components"])
    }


def strict(schema: Any) -> Any:
    """Fields that the document does not name are wrong here, so that none is forgotten."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items()}
    named = set(made.get("properties", ()))
    if named and "status" not in named - {"summary"}:
        made.setdefault("additionalProperties", False)
    return made


def wrong(answer: Any, operation: dict[str, Any], status: int) -> list[str]:
    validator = jsonschema_rs.validator_for(schema_of(operation, status))
    return [f"{'/'.join(map(str, e.instance_path))}: {e.message}" for e in validator.iter_errors(answer)]


def test_the_document_is_what_the_routes_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert document.main(["--check", "--out", str(ROOT / "docs/openapi.json")]) == 0, capsys.readouterr().err


def test_the_document_has_every_path_and_nothing_of_a_crd() -> None:
    assert len(OPERATIONS) == 19
    text = json.dumps(DOCUMENT)
    assert "x-kubernetes" not in text
    assert not [name for name in DOCUMENT["components"]["schemas"] if "-" in name or "Validation" in name[-9:] + "x"]


def test_every_operation_documents_its_refusals_and_needs() -> None:
    for (method, path), operation in OPERATIONS.items():
        assert {"401", "403", "422", "503"} <= set(operation["responses"]), path
        assert operation["security"] == [{"bearer": []}]
        assert operation["x-attune-needs"] or path == "/api/rag/whoami"
        if method == "POST":
            assert {"413", "415"} <= set(operation["responses"])
        for code, response in operation["responses"].items():
            if int(code) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, code)
            assert response["description"]


@pytest.mark.parametrize("path", READS)
async def test_what_is_read_has_the_form_of_the_document(ada: Caller, path: str) -> None:
    answer = await ada.get(READS[path])
    assert answer.status_code == 200
    assert wrong(answer.json(), OPERATIONS["GET", path], 200) == []


@pytest.mark.parametrize(("method", "path", "asked"), WRITES)
async def test_what_is_answered_to_a_write_has_the_form_of_the_document(
    ada: Caller, method: str, path: str, asked: str
) -> None:
    answer = await ada.request(method, asked, json=bodies().get(path) if method == "POST" else None)
    assert answer.status_code == 202, answer.text
    assert wrong(answer.json(), OPERATIONS[method, path], 202) == []


async def test_a_refusal_has_the_form_of_the_document(ada: Caller, noah: Caller) -> None:
    for answer in (await ada.get("/api/rag/models/nothing"), await noah.get("/api/rag/models/nothing")):
        assert wrong(answer.json(), OPERATIONS["GET", "/api/rag/models/{id}"], answer.status_code) == []
        assert answer.json()["requestId"] == answer.headers["x-request-id"]


async def test_answers_are_read_back_by_the_models_that_the_client_uses(ada: Caller, server: KubeServer) -> None:
    names = {
        "VersionPage": "/api/rag/models",
        "VersionDetail": "/api/rag/models/emb-v3",
        "RetrieverView": "/api/rag/retrievers/news",
        "TestDetail": "/api/rag/models/ab-test/news-v6",
        "RunDetail": "/api/rag/models/train/tune-7",
        "Timeline": "/api/rag/models/emb-v5/timeline",
        "WhoAmI": "/api/rag/whoami",
    }
    for name, path in names.items():
        body = (await ada.get(path)).json()
        read = ANSWERS[name].model_validate(body).model_dump(mode="json", by_alias=True, exclude_none=True)
        assert set(read) >= {k for k, v in body.items() if v not in (None, [], {})}, name


async def test_request_ids_are_taken_over_and_metrics_count_by_route(ada: Caller) -> None:
    answer = await ada.get("/api/rag/models/emb-v6", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    odd = await ada.get("/api/rag/models/emb-v6", headers={"x-request-id": "a b\tc"})
    assert odd.headers["x-request-id"] != "a b\tc"
    text = (await ada.get("/metrics")).text
    assert 'attune_rest_requests_total{method="GET",route="/api/rag/models/{id}",status="200"} 2.0' in text
    assert "attune_rest_api_server_requests_total{" in text
    assert "emb-v6" not in text


async def test_the_log_has_the_user_and_never_the_token(ada: Caller, capsys: pytest.CaptureFixture[str]) -> None:
    await ada.get("/api/rag/models", params={"cursor": "admin-token"})
    said = capsys.readouterr()
    assert "ada" in said.out + said.err
    assert "admin-token" not in said.out + said.err


async def test_a_bug_is_500_with_the_id_of_the_request_and_no_stack(
    ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("attune.rest.routes.versions.rows.version_detail", broken)
    answer = await ada.get("/api/rag/models/emb-v6")
    assert answer.status_code == 500
    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
