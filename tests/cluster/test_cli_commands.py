"""`attune` and `kubectl attune` against the real API server, with the real operator and the scripted trainer behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from command_line import SCRIPTS, CommandLine
from devcluster import Cluster
from scripted_world import ScriptedWorld, training_job


@pytest.fixture(scope="module")
def still(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedWorld]:
    """For tests that only look, or are refused."""
    made = ScriptedWorld(cluster, tmp_path_factory.mktemp("still"))
    yield made
    made.close()


@pytest.fixture
def moving(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedWorld]:
    """For a test that promotes and goes back."""
    made = ScriptedWorld(cluster, tmp_path)
    yield made
    made.close()


def test_a_version_is_promoted_taken_back_and_promoted_again_and_all_screens_tell_of_it(moving: ScriptedWorld) -> None:
    attune, one, two = moving.attune, moving.one, moving.two
    before = attune.ok("status", "-o", "json").json[0]["models"]["embedding"]
    assert (before["active"], before["previous"], before["staged"]) == (one, None, [two])
    assert "has no version before the active one" in attune("rollback").err

    done = attune.ok("promote", two)
    assert done.out.startswith(f"{two}: Promoted: ")
    assert f"{one} serves now" in done.err
    assert moving.get("rtr", "news")["status"]["embedding"]["active"] == two
    assert attune.ok("promote", two).out == f"{two}: Active: it is active already\n"
    assert attune("promote", one).err == (
        f"attune: {one} is older than {two}, which serves, so this is a rollback: "
        f"`kubectl attune rollback --to {one}`, or add --yes\n"
    )

    back = attune.ok("rollback", "-o", "json").json
    assert (back["version"], back["result"], back["before"]) == (one, "RolledBack", two)
    moving.until("mv", two, lambda s: s.get("stage") == "failed")
    screen = attune.ok("status").out
    assert f"taken back  {two}" in screen
    assert "RolledBack: ByHand" in screen
    refused = attune("promote", two)
    assert (refused.code, refused.out) == (1, "")
    assert f"{two} was taken back: by hand, request {back['requestID']}" in refused.err

    assert attune.ok("promote", two, "--yes", "--request-id", "sure").out.startswith(f"{two}: Promoted: ")
    again = attune("rollback", "--to", one, "--request-id", back["requestID"])
    assert f"request {back['requestID']} on {one} was answered already (RolledBack: " in again.err
    changes = attune.ok("history", "-o", "json").json["changes"]
    assert [(c["action"], c["version"]) for c in changes] == [
        ("Imported", one),
        ("Promoted", two),
        ("RolledBack", one),
        ("Promoted", two),
    ]
    stored = moving.cluster.get("mv", two, "-n", moving.namespace, "--show-managed-fields")
    mine = [m["fieldsV1"] for m in stored["metadata"]["managedFields"] if m["manager"] == "attune-cli"]
    assert mine == [{"f:spec": {"f:promotion": {".": {}, "f:requestID": {}}}}]


def test_a_request_that_the_operator_refuses_ends_with_code_1_and_the_reason(still: ScriptedWorld) -> None:
    still.apply(yaml.safe_dump(training_job("poor", evalThreshold=0.95)))
    poor = still.trained("poor")
    still.until("mv", poor, lambda s: s.get("stage") == "failed")
    done = still.attune("promote", poor)
    assert done.code == 1
    assert f"{poor}: Refused: NotStaged: {poor} is failed" in done.out
    assert "0.900 < 0.95" in done.out


def test_without_an_operator_the_wait_ends_with_code_3_and_the_request_stands(cluster: Cluster, namespace: str) -> None:
    versions = [a_version(1), a_version(2)]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all([a_retriever(), *versions]))
    attune = CommandLine(cluster.kubeconfig, namespace)
    done = attune("promote", "emb-v2", "--timeout", "1", "--request-id", "mine")
    assert (done.code, done.out) == (
        3,
        "emb-v2: Timeout: no answer after 1 s, the request stands: the operator has not taken it up; does it run?\n",
    )
    assert cluster.get("mv", "emb-v2", "-n", namespace)["spec"]["promotion"] == {"requestID": "mine"}
    asked = attune.ok("promote", "emb-v1", "--no-wait", "-o", "json").json
    assert asked["result"] == "Asked"
    assert asked["requestID"].startswith("cli-")


def test_what_a_test_writes_as_the_operator_is_what_the_screens_show(cluster: Cluster, namespace: str) -> None:
    """Retired, quarantined, split, both types: states that take a long time to come about."""
    things = [a_retriever(reranker=True), a_version(1), a_version(2), a_version(3), a_version(4, "reranker")]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(things))

    def write(kind: str, name: str, **status: Any) -> None:
        patch = yaml.safe_dump({"status": status})
        cluster.kubectl("patch", kind, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)

    stamp = "2026-03-15T12:00:00Z"
    pointers = {
        "embedding": {"active": "emb-v3", "previous": "emb-v2"},
        "reranker": {"active": "x", "previous": "rer-v4"},
    }
    write("rtr", "news", **pointers, quarantined=[{"version": "emb-v2", "cause": "errors 4% > 1%", "at": stamp}])
    write("mv", "emb-v1", stage="deprecated", retirement={"state": "Retired", "cause": "old", "at": stamp})
    write("mv", "emb-v2", stage="failed")
    write("mv", "emb-v3", stage="active")
    attune = CommandLine(cluster.kubeconfig, namespace)
    assert "both types have a version before: say --type embedding or --type reranker" in attune("rollback").err
    assert "emb-v2 was taken back: errors 4% > 1%. If it is to serve all the same, add --yes" in (
        attune("rollback", "--type", "embedding").err
    )
    gone = attune("rollback", "--to", "emb-v1")
    assert gone.err == "attune: emb-v1 is not kept any more, its files are deleted; kept are: emb-v3\n"
    assert "no ModelVersion 'emb-v9'" in attune("rollback", "--to", "emb-v9").err
    assert "kept are: emb-v3" in attune("rollback", "--to", "emb-v9").err
    assert "emb-v3 is of type embedding, not reranker" in attune("rollback", "--to", "emb-v3", "--type", "reranker").err


def a_retriever(*, reranker: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {"embedding": {"baseModel": "pvc://m/e"}, "storage": {"uri": "pvc://store/attune"}}
    spec |= {"reranker": {"baseModel": "pvc://m/r"}} if reranker else {}
    return {"apiVersion": "attune.dev/v1alpha1", "kind": "Retriever", "metadata": {"name": "news"}, "spec": spec}


def a_version(number: int, kind: str = "embedding") -> dict[str, Any]:
    spec = {
        "retriever": "news",
        "type": kind,
        "version": number,
        "baseModel": "pvc://m/e",
        "artifact": {"uri": f"pvc://store/{number}"},
        "source": {"import": "pvc://m/e"},
    }
    name = f"{kind[:3]}-v{number}"
    return {"apiVersion": "attune.dev/v1alpha1", "kind": "ModelVersion", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("status", "nowhere"), "no Retriever 'nowhere' in namespace {ns}; there are: news"),
        (("promote", "emb-v9"), "no ModelVersion 'emb-v9' in namespace {ns}; there are: {one}"),
        (("diff", "emb-v9", "emb-v8"), "no ModelVersion 'emb-v9' in namespace {ns}; there are: {one}"),
        (("logs", "nothing"), "no TrainingJob, ModelVersion or Retriever 'nothing' in namespace {ns}"),
        (("logs", "news"), "no Pod serves Retriever news"),
        (("search", "x"), "no serving Pod of Retriever news is ready; `kubectl attune status news` says why"),
        (("rollback", "news", "--type", "reranker"), "Retriever news has no reranker version before the active one"),
    ],
)
def test_what_is_not_there_is_said_in_one_line_with_what_is(
    still: ScriptedWorld, arguments: tuple[str, ...], words: str
) -> None:
    done = still.attune(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("attune: " + words.format(ns=still.namespace, one=still.one))
    assert done.err.count("\n") == 1


def test_a_namespace_without_a_retriever_and_a_context_that_is_not_there(cluster: Cluster, namespace: str) -> None:
    attune = CommandLine(cluster.kubeconfig, namespace)
    assert attune("status").err == (
        f"attune: there is no Retriever in namespace {namespace}; `kubectl apply` one, or choose another with -n\n"
    )
    wrong = attune("status", "--context", "nowhere")
    assert wrong.code == 2
    assert "nowhere" in wrong.err
    missing = attune("status", "--kubeconfig", "/no/such/file")
    assert missing.code == 2
    assert missing.err.startswith(
        "attune: no cluster to talk to: /no/such/file: there is no such file; give --kubeconfig"
    )


def test_missing_rights_name_the_verb_and_the_resource(still: ScriptedWorld, cluster: Cluster) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", still.namespace)
    rules = "get,list", "--resource=retrievers.attune.dev,modelversions.attune.dev"
    cluster.kubectl("create", "role", "reader", "--verb=" + rules[0], rules[1], "-n", still.namespace)
    account = f"--serviceaccount={still.namespace}:reader"
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", account, "-n", still.namespace)
    attune = CommandLine(cluster.service_account_kubeconfig(still.namespace, "reader"), still.namespace)
    assert attune.ok("history").code == 0
    done = attune("promote", still.two)
    assert done.code == 1
    assert 'cannot patch resource "modelversions" in API group "attune.dev"' in done.err
    assert 'cannot list resource "trainingjobs"' in attune("status").err


def test_kubectl_finds_it_as_a_plugin(still: ScriptedWorld, cluster: Cluster) -> None:
    kubectl = [cluster.executable, "kubectl"] if Path(cluster.executable).name == "controlplane" else ["kubectl"]
    done = still.attune.of([*kubectl, "attune", "status", "-n", still.namespace])
    assert done.code == 0, done.err
    assert still.one in done.out
    listed = still.attune.of([*kubectl, "plugin", "list"])
    assert str(SCRIPTS / "kubectl-attune") in listed.out


def test_diff_shows_configuration_data_and_metrics_with_intervals(still: ScriptedWorld) -> None:
    found = still.attune.ok("diff", still.one, still.two, "-o", "json").json
    assert (found["a"], found["b"]) == (still.one, still.two)
    assert found["config"]["epochs"] == {"a": None, "b": 3}
    assert set(found) == {"a", "b", "config", "data", "metrics", "index", "artifact"}
    everything = still.attune.ok("diff", still.one, still.two, "--all", "-o", "json").json
    assert everything["metrics"]["ndcgAt10"] == {"a": 0.9, "b": 0.9, "interval": {"low": 0.05, "high": 0.15}}
    assert "bySource.archive" in still.attune.ok("diff", still.one, still.two, "--all").out


def test_logs_follow_a_run_through_all_its_pods(still: ScriptedWorld) -> None:
    folder = still.cluster.claim_folder(still.namespace, "store")
    (folder / "behaviour.json").write_text('{"prepare": {"seconds": 6}, "train": {"seconds": 2}}')
    still.apply(yaml.safe_dump(training_job("followed")))
    still.until("tj", "followed", lambda s: s.get("attempts"))
    done = still.attune.ok("logs", "followed", "-f")
    (folder / "behaviour.json").unlink()
    headers = [line.split(":")[0] for line in done.out.splitlines() if line.startswith("--- ")]
    assert headers == ["--- prepare", "--- train", "--- evaluate"]
    assert "behaves {'seconds': 2}" in done.out
    newest = still.attune.ok("logs", "followed").out
    assert newest.startswith("--- evaluate: followed-evaluate-1-")
    assert "behaves {}" in newest


@pytest.mark.parametrize("columns", [80, 120])
def test_every_screen_fits_its_terminal(still: ScriptedWorld, columns: int) -> None:
    attune = CommandLine(still.cluster.kubeconfig, still.namespace, columns)
    for command in (["status"], ["history"], ["diff", still.one, still.two, "--all"], ["--help"]):
        shown = attune.of(
            [str(SCRIPTS / "attune"), *command, *([] if command == ["--help"] else ["-n", still.namespace])]
        )
        assert shown.code == 0, shown.err
        assert max(map(len, shown.out.splitlines())) <= columns, shown.out
        print(shown.out)  # noqa: T201  to be looked at, with -s
