"""Whatever is sent to the REST API on the real control plane: no 5xx, and no answer that its document does not know (schemathesis)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from command_line import SCRIPTS
from devcluster import Cluster
from rest_process import USE, RestWorld

pytestmark = pytest.mark.cluster
DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
SECONDS = 90
NOT_CHECKED = ("positive_data_acceptance", "ignored_auth")
"""That everything valid is accepted: rules between fields, names of objects and cursors are not in a schema. What a token is worth:
tests/cluster/test_rest_access.py."""


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestWorld]:
    made = RestWorld(cluster, tmp_path_factory.mktemp("rest-schema"), ATTUNE_API_REVIEW_SECONDS="60")
    yield made
    made.close()


def test_the_served_document_is_the_one_in_the_repository(world: RestWorld) -> None:
    served = httpx.get(f"{world.process.url}/openapi.json", trust_env=False).json()
    assert served == json.loads(DOCUMENT.read_text())


def test_every_answer_is_documented_and_none_is_a_server_error(world: RestWorld, tmp_path: Path) -> None:
    """Every operation but the streams, which do not end by themselves."""
    token = world.user("anything", USE)
    command = [str(SCRIPTS / "st"), "run", str(DOCUMENT), "--url", world.process.url, "--no-color"]
    command += ["--header", f"Authorization: Bearer {token}", "--exclude-path-regex", "events$"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "12", "--max-time", str(SECONDS)]
    command += [
        "--checks",
        "all",
        "--exclude-checks",
        ",".join(NOT_CHECKED),
        "--request-timeout",
        "30",
        "--warnings",
        "off",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "17 selected / 19 total" in done.stdout
