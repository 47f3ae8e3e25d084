"""The process node, on the real control plane: deletion, suspension, deadlines, probes and logs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from time import monotonic

import pytest

from devcluster import Cluster
from devcluster_pods import Namespace, condition, container, ended, job, pod, status_of, wait_for

UNTIL_TERM = """
import pathlib, signal, sys, time
def stop(*_):
    print('SIGTERM', flush=True)
    pathlib.Path('/mnt/out/stopped').write_text('SIGTERM')
    sys.exit(4)
signal.signal(signal.SIGTERM, stop)
print('ready', flush=True)
while True:
    time.sleep(0.1)
"""
DEAF = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, '-c', 'import os, time; os.setsid(); time.sleep(600)', sys.argv[1]])
print('ready', flush=True)
time.sleep(600)
"""
SERVER = """
import http.server, os, pathlib, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if pathlib.Path('/mnt/out' + self.path).exists() else 503)
        self.end_headers()
    def log_message(self, *_): pass
print('run', flush=True)
http.server.HTTPServer((os.environ['IP'], 8080), Handler).serve_forever()
"""
IP = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
MOUNTS = [{"name": "out", "mountPath": "/mnt/out"}]


@pytest.fixture
def space(cluster: Cluster, namespace: str) -> Namespace:
    return Namespace(cluster, namespace)


def out(folder: Path) -> dict[str, object]:
    """A Pod's volumes: a folder of the test's, seen at /mnt/out."""
    return {"volumes": [{"name": "out", "hostPath": {"path": str(folder)}}]}


def ready(space: Namespace, name: str) -> None:
    wait_for(lambda: "ready" in space.kubectl("logs", name, check=False), f"{name} runs")


def runs(marker: str) -> list[str]:
    """Processes of this machine with this word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in command:
            found.append(command)
    return found


def test_a_suspended_job_stops_its_pod_gracefully_and_resumes_with_a_new_one(space: Namespace, tmp_path: Path) -> None:
    space.apply(job("one", container(UNTIL_TERM, volumeMounts=MOUNTS), template=out(tmp_path)))
    (first,) = wait_for(lambda: space.pods_of("one"), "a Pod")
    ready(space, first["metadata"]["name"])
    space.kubectl("patch", "job", "one", "-p", '{"spec":{"suspend":true}}')
    wait_for(lambda: not space.pods_of("one"), "the Pod goes")
    assert (tmp_path / "stopped").read_text() == "SIGTERM"
    suspended = space.until("job", "one", lambda j: condition(j, "Suspended"))
    assert suspended["status"].get("failed", 0) == 0
    space.kubectl("patch", "job", "one", "-p", '{"spec":{"suspend":false}}')
    (second,) = wait_for(lambda: space.pods_of("one"), "a new Pod")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    ready(space, second["metadata"]["name"])
    assert space.get("job", "one")["status"].get("failed", 0) == 0


def test_a_container_that_ignores_sigterm_is_killed_with_all_its_processes_after_its_grace(space: Namespace) -> None:
    marker = f"deaf-{space.name}"
    space.apply(pod("one", container(DEAF, args=[marker]), terminationGracePeriodSeconds=2))
    ready(space, "one")
    wait_for(lambda: len(runs(marker)) >= 2, "its own child, in a session of its own")
    start = monotonic()
    space.kubectl("delete", "pod", "one")
    assert 2 <= monotonic() - start < 12
    wait_for(lambda: not runs(marker), "all its processes end", 5)


def is_gone(space: Namespace, name: str) -> bool:
    return space.kubectl("get", "pod", name, "--ignore-not-found", "-o", "name") == ""


def test_a_forced_deletion_kills_at_once(space: Namespace) -> None:
    marker = f"forced-{space.name}"
    space.apply(pod("one", container(DEAF, args=[marker]), terminationGracePeriodSeconds=600))
    ready(space, "one")
    space.kubectl("delete", "pod", "one", "--force", "--grace-period=0")
    wait_for(lambda: not runs(marker), "all its processes end", 10)
    assert is_gone(space, "one")


def test_a_second_deletion_shortens_the_grace_period(space: Namespace) -> None:
    space.apply(pod("one", container(DEAF, args=["x"]), terminationGracePeriodSeconds=600))
    ready(space, "one")
    space.kubectl("delete", "pod", "one", "--wait=false")
    space.kubectl("delete", "pod", "one", "--grace-period=1", "--timeout=15s")
    assert is_gone(space, "one")


def test_a_pod_deleted_before_its_volumes_are_there_goes_at_once(space: Namespace) -> None:
    volumes = [{"name": "out", "configMap": {"name": "never-made"}}]
    space.apply(pod("one", container("pass", volumeMounts=MOUNTS), volumes=volumes))
    space.until("pod", "one", lambda p: "never-made" in str(status_of(p).get("state")))
    space.kubectl("delete", "pod", "one", "--timeout=10s")
    assert is_gone(space, "one")


def test_deleting_the_pod_of_a_job_without_retries_fails_the_job(space: Namespace) -> None:
    main = container("import time; print('ready', flush=True); time.sleep(600)")
    space.apply(job("one", main, podReplacementPolicy="Failed"))
    (made,) = wait_for(lambda: space.pods_of("one"), "a Pod")
    ready(space, made["metadata"]["name"])
    space.kubectl("delete", "pod", made["metadata"]["name"])
    failed = space.until("job", "one", lambda j: condition(j, "Failed"))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    assert not space.pods_of("one")


def test_a_job_s_deadline_ends_its_pod(space: Namespace) -> None:
    space.apply(job("one", container("import time; time.sleep(600)"), activeDeadlineSeconds=2))
    failed = space.until("job", "one", lambda j: condition(j, "Failed"))
    assert condition(failed, "Failed")["reason"] == "DeadlineExceeded"
    wait_for(lambda: not space.pods_of("one"), "the Pod goes")


def test_an_indexed_job_runs_one_pod_for_each_index(space: Namespace) -> None:
    main = container("import os; print('index', os.environ['JOB_COMPLETION_INDEX'])")
    space.apply(job("one", main, completions=2, parallelism=2, completionMode="Indexed"))
    done = space.until("job", "one", lambda j: condition(j, "Complete"))
    assert done["status"]["completedIndexes"] == "0,1"
    said = {space.output(p["metadata"]["name"]) for p in space.pods_of("one")}
    assert said == {"index 0\n", "index 1\n"}


def test_probes_decide_when_a_container_is_ready_and_when_it_starts_again(space: Namespace, tmp_path: Path) -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 2}
    probes = {
        "startupProbe": {**probe, "httpGet": {"path": "/started", "port": "web"}, "failureThreshold": 60},
        "readinessProbe": {**probe, "httpGet": {"path": "/ready", "port": "web"}},
        "livenessProbe": {**probe, "exec": {"command": ["test", "-e", "/mnt/out/alive"]}},
    }
    ports = [{"name": "web", "containerPort": 8080}]
    main = container(SERVER, env=IP, ports=ports, volumeMounts=MOUNTS, **probes)
    (tmp_path / "alive").touch()
    space.apply(pod("one", main, restartPolicy="Always", **out(tmp_path)))
    space.until("pod", "one", lambda p: status_of(p).get("state", {}).get("running"))
    assert not status_of(space.get("pod", "one"))["started"]
    (tmp_path / "started").touch()
    started = space.until("pod", "one", lambda p: status_of(p)["started"])
    assert not status_of(started)["ready"]
    (tmp_path / "ready").touch()
    space.until("pod", "one", lambda p: condition(p, "Ready"))
    (tmp_path / "ready").unlink()
    space.until("pod", "one", lambda p: not condition(p, "Ready"))
    (tmp_path / "alive").unlink()
    again = space.until("pod", "one", lambda p: status_of(p)["restartCount"] == 1)
    assert status_of(again)["lastState"]["terminated"]["exitCode"] in {137, 143}
    assert space.output("one", "--previous") == "run\n"


def test_a_startup_probe_that_never_succeeds_fails_the_container(space: Namespace) -> None:
    probe = {"tcpSocket": {"port": 9}, "periodSeconds": 1, "failureThreshold": 2}
    done = space.run(pod("one", container("import time; time.sleep(600)", startupProbe=probe)))
    assert done["status"]["phase"] == "Failed"
    assert ended(done)["exitCode"] == 143


def test_logs_show_all_the_end_or_what_is_coming(space: Namespace, cluster: Cluster, tmp_path: Path) -> None:
    script = """
import pathlib, time
for n in range(100): print('line', n, flush=True)
while not pathlib.Path('/mnt/out/go').exists(): time.sleep(0.05)
print('the end')
"""
    space.apply(pod("one", container(script, volumeMounts=MOUNTS), **out(tmp_path)))
    wait_for(lambda: "line 99" in space.kubectl("logs", "one", check=False), "its lines")
    assert space.output("one", "--tail=2") == "line 98\nline 99\n"
    command = [cluster.executable, "kubectl", f"--kubeconfig={cluster.kubeconfig}", "-n", space.name]
    with subprocess.Popen([*command, "logs", "-f", "--tail=1", "one"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "line 99\n"
        (tmp_path / "go").touch()
        assert follower.stdout.read() == "the end\n"
    assert len(space.output("one").splitlines()) == 101
    assert "no previous run" in space.kubectl("logs", "one", "--previous", check=False)
