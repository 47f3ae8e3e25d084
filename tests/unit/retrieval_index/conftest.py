"""Three real stores: LanceDB in a folder, PostgreSQL with pgvector as a server of the tests' own, Qdrant in its local mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from attune.contract import IndexSpec
from attune_retrieval.index import Store, open_store
from postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["lancedb", "pgvector", "qdrant"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> IndexSpec:
    if request.param == "lancedb":
        return IndexSpec(store="lancedb", uri=f"file://{tmp_path}/index")
    if request.param == "pgvector":
        server: PostgresServer = request.getfixturevalue("postgres")
        return IndexSpec(store="pgvector", uri=server.database(f"t{uuid4().hex[:12]}"))
    return IndexSpec(store="qdrant", uri=f"file://{tmp_path}/qdrant")


@pytest.fixture
def store(spec: IndexSpec) -> Iterator[Store]:
    opened = open_store(spec)
    yield opened
    opened.close()
