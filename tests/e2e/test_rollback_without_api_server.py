"""The API server is away for a minute while a new version fails: users notice nothing, and what is due happens when it is back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import Cluster
from devcluster.build import cache_folder
from load import failures
from revisions import assert_invariants
from watched_world import WatchedWorld

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
AWAY_SECONDS = 60
ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A control plane that nobody else uses: this one is stopped. Not below /tmp, of which Pods have their own."""
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="away-", dir=base))
    made = Cluster.start(home, images=ROOT / "tests" / "support" / "images.yaml")
    made.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
    made.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    yield made
    made.stop()
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def without_api_server(cluster: Cluster) -> Iterator[None]:
    """It does not answer, as a machine that hangs."""
    assert cluster.home is not None
    supervisor = json.loads((cluster.home / "state.json").read_text())["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    (server,) = [int(pid) for pid in children if b"kube-apiserver" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


def nothing_is_left_to_return_to(world: WatchedWorld) -> None:
    """The version before was deleted: the bad one goes on, and why is readable."""
    world.calm(metrics=False).promote("two")
    world.cluster.kubectl("delete", "mv", world.one, "-n", world.namespace, "--wait=false")
    time.sleep(2)
    world.alert("two")
    said = world.until_said("RolledBack", "NothingToReturnTo")
    assert "two should be taken back, and no version is left to return to; promote another one" in said["message"]
    assert "alert AttuneVersionErrors" in said["message"]
    assert world.answering() == {"two"}


def test_the_guard_carries_it_and_afterwards_it_is_taken_back_as_long_as_there_is_somewhere_to_return_to(
    own_cluster: Cluster, tmp_path: Path
) -> None:
    world = WatchedWorld(own_cluster, "away", tmp_path / "world")
    try:
        world.begin(odd=False)
        load = world.load()
        try:
            world.promote("two")
            time.sleep(3)
            with without_api_server(own_cluster):
                world.breaks("two")
                time.sleep(AWAY_SECONDS)
                assert world.answering() == {"two"}, "nobody could tell the replicas"
                back = time.monotonic()
            world.all_answer_by(world.one)
            took = time.monotonic() - back
        finally:
            answers = load.stop()
        assert failures(answers) == {}
        assert len([a for a in answers if back - AWAY_SECONDS < a.at < back]) > 0.9 * 50 * AWAY_SECONDS
        world.until("mv", "two", lambda v: v["status"].get("stage") == "failed")
        assert world.moves() == [("Imported", world.one), ("Promoted", "two"), ("RolledBack", world.one)]
        assert world.condition("RolledBack")["reason"] in {"Guard", "ErrorRate"}
        assert took < 60, took
        nothing_is_left_to_return_to(world)
        assert_invariants(world.revisions.so_far())
    finally:
        world.close()
