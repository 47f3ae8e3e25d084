"""What all tests share: one cluster for the whole run and all workers, a namespace for each test; logs as they were."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

from devcluster import Cluster
from devcluster.choose import choose

HERE = Path(__file__).parent
ROOT = HERE.parent
IMAGES = ROOT / "tests" / "support" / "images.yaml"
LONGEST_FIRST = (
    "test_sources_end_to_end",
    "test_training_end_to_end",
    "test_promotion_end_to_end",
    "test_ab_test_end_to_end",
    "test_training_schedules",
    "test_rollback_end_to_end",
    "test_rollback_without_api_server",
    "test_openai_end_to_end",
    "test_training_methods_end_to_end",
    "test_kill_operator",
    "test_evaluation_end_to_end",
    "test_cli_end_to_end",
    "test_rest_schema",
)
"""Files that take minutes. A worker takes whole files (`--dist loadfile`): were one of these begun last, the others would wait for it."""

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # how long an example takes is the machine's affair: no test is timed


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests below cluster/ and e2e/ carry the marker of their folder; after the random order is made, the longest files come first."""
    for item in items:
        layer = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if layer in {"cluster", "e2e"}:
            item.add_marker(layer)
    turns = {name: turn for turn, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(turns)))


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command of `kubectl attune` silences the logs of its process, which here is that of the other tests, too."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """What a test leaves behind would answer, or not answer, the signals of the tests after it, without a word."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Cluster]:
    """The cluster with our CRDs. The first worker starts it, the last one stops it; it never outlives the whole run."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    users = shared / "cluster-users"
    with (shared / "cluster-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = _home(shared)
        made = choose(home, images=IMAGES, owner=None if worker_id == "master" else os.getppid())
        made.kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ROOT / "crds"))
        made.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        users.write_text(str(int(users.read_text() if users.exists() else 0) + 1))
    yield made
    with (shared / "cluster-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = int(users.read_text()) - 1
        users.write_text(str(left))
        if left == 0:
            made.stop()
            shutil.rmtree(home, ignore_errors=True)


def _home(shared: Path) -> Path:
    """Not below /tmp: Pods have a /tmp of their own, and would not see their files."""
    note = shared / "cluster-home"
    if not note.exists():
        base = Path(os.environ.get("ATTUNE_CACHE") or Path.home() / ".cache" / "attune") / "runs"
        base.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(tempfile.mkdtemp(prefix="test-", dir=base)))
    return Path(json.loads(note.read_text()))


@pytest.fixture
def kubeconfig(cluster: Cluster) -> Path:
    return cluster.kubeconfig


@pytest.fixture
def kubectl(cluster: Cluster):  # type: ignore[no-untyped-def]
    return cluster.kubectl


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of this test's own; removed afterwards, without waiting."""
    name = f"t-{uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
