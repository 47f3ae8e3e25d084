"""Malformed manifests against a real API server: each is refused with a message that names field, value and remedy.

`pytest tests/cluster/test_api_malformed.py -s` prints the table.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from api_objects import ApiServer, Refusal, manifest
from malformed import RETRIEVERS, Bad
from malformed_runs import AB_TESTS, MODEL_VERSIONS, SCHEDULES, TRAINING_JOBS, UPDATES

pytestmark = pytest.mark.cluster
CREATED = (*RETRIEVERS, *TRAINING_JOBS, *MODEL_VERSIONS, *AB_TESTS, *SCHEDULES)


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> ApiServer:
    return ApiServer(kubeconfig, namespace)


def assert_refused(answer: Any, row: Bad) -> None:
    assert isinstance(answer, Refusal), f"{row.name}: accepted"
    assert answer.code == 422, answer.message
    about = [message for at, message in answer.causes if at.endswith(row.field)]
    assert about, f"{row.name}: no complaint about {row.field}, but {answer.causes}"
    for word in row.words:
        assert any(word in message for message in about), f"{row.name}: {word!r} is not said in {about}"
    sys.stdout.write(f"{row.kind:17}{row.name:34}{row.field}: {about[0]}\n")


def test_every_malformed_manifest_is_refused_by_field_value_and_remedy(api: ApiServer) -> None:
    assert len(CREATED) >= 45
    sys.stdout.write("\n")
    for row in CREATED:
        change = dict(row.change)
        name = change.pop("metadata.name", "example")
        assert_refused(api.create(manifest(row.kind, change, name)), row)


def test_every_forbidden_change_is_refused_by_field_and_remedy(api: ApiServer) -> None:
    sys.stdout.write("\n")
    for number, row in enumerate(UPDATES):
        name = f"u{number}"
        stored = api.apply(manifest(row.kind, row.before, name))
        assert not isinstance(stored, Refusal), stored
        assert_refused(api.apply(manifest(row.kind, {**(row.before or {}), **row.change}, name)), row)


def test_names_of_rows_are_unique() -> None:
    names = [(row.kind, row.name) for row in (*CREATED, *UPDATES)]
    assert len(set(names)) == len(names)
