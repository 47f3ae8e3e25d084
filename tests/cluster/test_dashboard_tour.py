"""A tour of the dashboard on the real control plane with the real operator: sign in, train, promote, go back, cancel a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from chromium import browser
from dashboard_visit import Visit
from devcluster import Cluster
from rest_process import MANIFEST, RestProcess
from scripted_world import ScriptedWorld

TEST = {
    "apiVersion": "attune.dev/v1alpha1",
    "kind": "ABTest",
    "metadata": {"name": "live"},
    "spec": {"retriever": "news", "metrics": [{"name": "clicks", "role": "primary"}]},
}


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedWorld]:
    made = ScriptedWorld(cluster, tmp_path)
    yield made
    made.close()


def token_of_a_user(world: ScriptedWorld) -> str:
    """An account with the role that manifests/api.yaml has for people."""
    roles = [
        t for t in yaml.safe_load_all(MANIFEST.read_text()) if t["metadata"]["name"] in {"attune-viewer", "attune-user"}
    ]
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    world.cluster.kubectl(*apply, stdin=yaml.safe_dump_all(roles))
    here = ("-n", world.namespace)
    world.cluster.kubectl("create", "serviceaccount", "ada", *here)
    account = f"--serviceaccount={world.namespace}:ada"
    world.cluster.kubectl("create", "rolebinding", "ada", "--clusterrole=attune-user", account, *here)
    return world.cluster.kubectl("create", "token", "ada", *here, "--duration=1h").strip()


def test_a_tour_with_the_real_operator(world: ScriptedWorld, tmp_path: Path) -> None:
    api = RestProcess(world.cluster.kubeconfig, world.namespace, tmp_path).start()
    one, two = world.one, world.two
    try:
        with browser() as chromium, Visit(chromium, api.url) as visit:
            visit.sign_in(token_of_a_user(world))
            expect(visit.panel("news")).to_contain_text(one)

            visit.button("Start a training").click()
            visit.dialog.get_by_label("Name").fill("by-hand")
            visit.dialog.get_by_label("Score to reach").fill("0.5")
            visit.dialog.get_by_label("Fewest training pairs").fill("1")
            visit.button("Start the training").click()
            expect(visit.heading("by-hand")).to_be_visible()
            expect(visit.main.locator(".heading .chip")).to_have_text("Succeeded", timeout=120_000)
            three = world.trained("by-hand")
            expect(visit.main).to_contain_text(three)

            visit.page.goto(f"{api.url}/#/{world.namespace}/versions/{two}")
            visit.button("Promote").click()
            expect(visit.dialog.locator(".switch")).to_have_text(f"{one}→{two}")
            visit.dialog.get_by_role("button", name="Promote").click()
            expect(visit.activity).to_contain_text("Promoted: ")
            assert world.get("rtr", "news")["status"]["embedding"]["active"] == two

            world.indexed(three)
            world.apply(yaml.safe_dump({**TEST, "spec": {**TEST["spec"], "modelB": three}}))  # type: ignore[dict-item]
            visit.page.goto(f"{api.url}/#/{world.namespace}/tests/live")
            expect(visit.main).to_contain_text(f"{two} (A) against {three} (B)")
            visit.button("Cancel the test").click()
            visit.dialog.get_by_role("button", name="Cancel the test").click()
            expect(visit.activity).to_contain_text("Cancelled: ")

            visit.page.goto(f"{api.url}/#/{world.namespace}/retrievers/news")
            visit.button(f"Roll back to {one}").click()
            visit.dialog.get_by_role("button", name="Roll back").click()
            expect(visit.activity).to_contain_text("Rolled back: ")
            expect(visit.panel("Serves now")).to_contain_text(f"{one}")
            expect(visit.panel("What has served")).to_contain_text("Rolled back")
            assert world.get("rtr", "news")["status"]["embedding"]["active"] == one
    finally:
        api.kill()
