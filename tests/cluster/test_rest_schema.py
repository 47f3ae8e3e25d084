"""Whatever is sent to the REST API on the real control plane: no 5xx, and no answer that its document does not know (schemathesis)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from devcluster import Cluster
from rest_process import USE, RestWorld

pytestmark = pytest.mark.cluster
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
)
"""Not that everything valid is accepted: rules between fields, and names of objects, are the API server's to know."""


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestWorld]:
    made = RestWorld(cluster, tmp_path_factory.mktemp("rest-schema"), ATTUNE_API_REVIEW_SECONDS="30")
    yield made
    made.close()


@pytest.fixture(scope="module")
def token(world: RestWorld) -> str:
    return world.user("anything", USE)


@pytest.fixture(scope="module")
def rest_schema(world: RestWorld) -> Any:
    return schemathesis.openapi.from_url(f"{world.process.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("rest_schema").exclude(
    path_regex="events$"
)  # streams do not end by themselves


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented_and_none_is_a_server_error(case: Any, token: str) -> None:
    case.call_and_validate(headers={"authorization": f"Bearer {token}"}, checks=CHECKS, timeout=30)
