"""The process node, on the real control plane: how containers end, and what the Pod and its Job say of it."""

from __future__ import annotations

import pytest

from devcluster import Cluster
from devcluster_pods import Namespace, condition, config_map, container, ended, job, pod, status_of


@pytest.fixture
def space(cluster: Cluster, namespace: str) -> Namespace:
    return Namespace(cluster, namespace)


def test_a_job_completes_with_exit_code_and_termination_message(space: Namespace) -> None:
    space.apply(job("one", container("open('/dev/termination-log','w').write('all is well'); print('done')")))
    space.until("job", "one", lambda j: condition(j, "Complete"))
    (done,) = space.pods_of("one")
    assert done["status"]["phase"] == "Succeeded"
    assert (ended(done)["exitCode"], ended(done)["message"], ended(done)["reason"]) == (0, "all is well", "Completed")
    assert space.output(done["metadata"]["name"]) == "done\n"


def test_a_failing_container_fails_its_job_with_its_exit_code(space: Namespace) -> None:
    space.apply(job("one", container("import sys; sys.exit(42)")))
    space.until("job", "one", lambda j: condition(j, "Failed"))
    (done,) = space.pods_of("one")
    assert done["status"]["phase"] == "Failed"
    assert (ended(done)["exitCode"], ended(done)["reason"]) == (42, "Error")


def test_signals_are_reported_as_128_plus_their_number(space: Namespace) -> None:
    script = "import os, subprocess, sys; os.kill(os.getpid(), {})"
    reset = "import os, signal; signal.signal(15, signal.SIG_DFL); os._exit(143)"
    space.apply(pod("term", container(reset)), pod("kill", container("import signal; " + script.format(9))))
    assert ended(space.phase("term", "Failed"))["exitCode"] == 143
    space.apply(pod("own", container("import ctypes; ctypes.string_at(0)")))
    assert ended(space.phase("own", "Failed"))["exitCode"] == 139


def test_a_program_that_does_not_exist_is_a_start_error(space: Namespace) -> None:
    done = space.run(pod("one", {"name": "main", "image": "busybox", "command": ["no-such-program"]}))
    assert ended(done)["exitCode"] == 128
    assert ended(done)["reason"] == "StartError"
    assert "no-such-program" in space.output("one")


def test_a_long_log_is_the_message_of_a_failure_where_the_policy_says_so(space: Namespace) -> None:
    script = "import sys; print('x' * 9000); print('the last words'); sys.exit(3)"
    done = space.run(pod("one", container(script, terminationMessagePolicy="FallbackToLogsOnError")))
    assert ended(done)["message"].endswith("the last words\n")
    assert len(ended(done)["message"]) <= 2048


def test_an_unknown_image_waits_with_err_image_pull_and_names_the_image(space: Namespace) -> None:
    space.apply(pod("one", {"name": "main", "image": "registry.example/no-such-image:1"}))
    waiting = space.until("pod", "one", lambda p: status_of(p).get("state", {}).get("waiting", {}).get("message"))
    assert status_of(waiting)["state"]["waiting"]["reason"] == "ErrImagePull"
    assert "registry.example/no-such-image:1" in status_of(waiting)["state"]["waiting"]["message"]
    assert waiting["status"]["phase"] == "Pending"
    space.kubectl("delete", "pod", "one", "--timeout=20s")


def test_a_container_starts_once_the_missing_config_map_is_there(space: Namespace) -> None:
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "a"}}}]
    space.apply(pod("one", container("import os; print(os.environ['A'])", env=env)))
    waiting = space.until("pod", "one", lambda p: "late" in str(status_of(p).get("state", {}).get("waiting")))
    assert status_of(waiting)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    space.apply(config_map("late", a="here"))
    space.phase("one", "Succeeded")
    assert space.output("one") == "here\n"


def test_init_containers_run_in_order_before_the_containers(space: Namespace) -> None:
    mount = [{"name": "shared", "mountPath": "/mnt/shared"}]
    add = "open('/mnt/shared/order','a').write('{} ')"
    inits = [container(add.format(n), name=n, volumeMounts=mount) for n in ("first", "second")]
    show = container("print(open('/mnt/shared/order').read())", volumeMounts=mount)
    done = space.run(pod("one", show, initContainers=inits, volumes=[{"name": "shared", "emptyDir": {}}]))
    assert space.output("one") == "first second \n"
    assert [c["state"]["terminated"]["exitCode"] for c in done["status"]["initContainerStatuses"]] == [0, 0]


def test_a_failing_init_container_fails_the_pod_and_nothing_else_starts(space: Namespace) -> None:
    bad = container("import sys; sys.exit(5)", name="bad")
    done = space.run(pod("one", container("print('never')"), initContainers=[bad]))
    assert done["status"]["phase"] == "Failed"
    assert done["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 5
    assert status_of(done)["state"]["waiting"]["reason"] == "PodInitializing"


def test_on_failure_restarts_the_container_until_it_succeeds(space: Namespace) -> None:
    script = """
import pathlib, sys
path = pathlib.Path('/mnt/state/runs'); n = int(path.read_text()) if path.exists() else 0
path.write_text(str(n + 1)); print('run', n); sys.exit(7 if n < 2 else 0)
"""
    main = container(script, volumeMounts=[{"name": "state", "mountPath": "/mnt/state"}])
    done = space.run(pod("one", main, restartPolicy="OnFailure", volumes=[{"name": "state", "emptyDir": {}}]))
    assert done["status"]["phase"] == "Succeeded"
    assert status_of(done)["restartCount"] == 2
    assert status_of(done)["lastState"]["terminated"]["exitCode"] == 7
    assert space.output("one") == "run 2\n"
    assert space.output("one", "--previous") == "run 1\n"


def test_a_restarted_container_shows_its_last_end_while_it_backs_off(space: Namespace) -> None:
    space.apply(pod("one", container("import sys; sys.exit(9)"), restartPolicy="Always"))
    waiting = space.until("pod", "one", lambda p: "CrashLoopBackOff" in str(status_of(p).get("state")))
    assert status_of(waiting)["restartCount"] >= 1
    assert status_of(waiting)["lastState"]["terminated"]["exitCode"] == 9
    assert waiting["status"]["phase"] == "Running"
    space.kubectl("delete", "pod", "one", "--timeout=20s")
