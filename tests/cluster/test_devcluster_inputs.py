"""The process node, on the real control plane: environment, volumes, and the way to the API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from devcluster import Cluster
from devcluster_pods import Namespace, claim, condition, config_map, container, ended, job, pod, secret, status_of


@pytest.fixture
def space(cluster: Cluster, namespace: str) -> Namespace:
    return Namespace(cluster, namespace)


def mounted(**paths: str) -> list[dict[str, Any]]:
    return [{"name": name, "mountPath": path} for name, path in paths.items()]


def test_environment_comes_from_values_secrets_config_maps_and_the_pod(space: Namespace) -> None:
    env = [
        {"name": "PLAIN", "value": "a b"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NOTE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['example.com/note']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "mode"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "BOTH", "value": "$(PLAIN)/$(KEY)/$(UNKNOWN)/$$(PLAIN)"},
    ]
    sources = [{"configMapRef": {"name": "c"}}, {"prefix": "S_", "secretRef": {"name": "s"}}]
    script = "import json, os, sys; print(json.dumps([dict(os.environ), sys.argv[1:]]))"
    main = container(script, env=env, envFrom=sources, args=["$(NAME)", "$(NOT)"])
    one = pod("one", main, annotations={"example.com/note": "hello"})
    done = space.run(secret("s", key="hidden"), config_map("c", mode="fast", PLAIN="covered"), one)
    seen, arguments = json.loads(space.output("one"))
    wanted = {
        "PLAIN": "a b",
        "NAME": "one",
        "NOTE": "hello",
        "IP": done["status"]["podIP"],
        "KEY": "hidden",
        "MODE": "fast",
        "mode": "fast",
        "S_key": "hidden",
        "BOTH": "a b/hidden/$(UNKNOWN)/$(PLAIN)",
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert "ABSENT" not in seen
    assert arguments == ["one", "$(NOT)"]


def test_nothing_of_the_machine_s_own_environment_is_passed_on(space: Namespace) -> None:
    space.run(pod("one", container("import json, os; print(json.dumps(sorted(os.environ)))")))
    known = {"PATH", "HOME", "LANG", "HF_HUB_OFFLINE", "PYTHONUNBUFFERED", "HOSTNAME", "ATTUNE_TERMINATION_LOG"}
    extra = {name for name in json.loads(space.output("one")) if not name.startswith("KUBERNETES_")} - known
    assert extra <= {"LC_CTYPE", "PWD"}


def test_config_maps_secrets_and_tokens_are_files_that_cannot_be_written(space: Namespace) -> None:
    token = {"sources": [{"serviceAccountToken": {"path": "token", "audience": "attune", "expirationSeconds": 600}}]}
    volumes = [
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "secret", "secret": {"secretName": "s", "items": [{"key": "key", "path": "deep/key"}]}},
        {"name": "token", "projected": token},
    ]
    script = """
import json, pathlib
seen = {}
for path in ('/etc/attune/x/stage.json', '/etc/attune/y/deep/key', '/var/run/attune/token'):
    seen[path] = pathlib.Path(path).read_text()
    try:
        open(path, 'w'); seen[path] = 'written'
    except OSError as error:
        assert error.errno == 30, error
print(json.dumps(seen))
"""
    mounts = mounted(config="/etc/attune/x", secret="/etc/attune/y", token="/var/run/attune")
    done = space.run(
        secret("s", key="hidden"),
        config_map("c", **{"stage.json": "{}"}),
        pod("one", container(script, volumeMounts=mounts), volumes=volumes),
    )
    assert ended(done)["exitCode"] == 0, space.output("one")
    seen = json.loads(space.output("one"))
    assert (seen["/etc/attune/x/stage.json"], seen["/etc/attune/y/deep/key"]) == ("{}", "hidden")
    assert seen["/var/run/attune/token"].count(".") == 2
    assert not Path("/etc/attune").exists(), "the machine itself stays as it is"


def test_an_empty_dir_is_shared_by_the_containers_of_a_pod_at_a_path_new_to_the_machine(space: Namespace) -> None:
    mounts = mounted(shared="/no-such-folder-here/deep")
    write = container(
        "open('/no-such-folder-here/deep/x.partial','w').write('from a'); import os; "
        "os.rename('/no-such-folder-here/deep/x.partial', '/no-such-folder-here/deep/x')",
        name="a",
        volumeMounts=mounts,
    )
    read = container(
        """
import pathlib, time
path = pathlib.Path('/no-such-folder-here/deep/x')
while not path.exists():
    time.sleep(0.05)
print(path.read_text())
""",
        volumeMounts=mounts,
    )
    space.run(pod("one", write, read, volumes=[{"name": "shared", "emptyDir": {}}]))
    assert space.output("one", "-c", "main") == "from a\n"
    assert not Path("/no-such-folder-here").exists()


def test_a_claim_keeps_its_files_from_one_job_to_the_next(space: Namespace, cluster: Cluster) -> None:
    template = {"volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": "store"}}]}
    mounts = mounted(store="/mnt/store")
    write = container("open('/mnt/store/x','w').write('kept')", volumeMounts=mounts)
    read = container("print(open('/mnt/store/x').read())", volumeMounts=mounts)
    space.apply(claim("store"), job("first", write, template=template))
    space.until("job", "first", lambda j: condition(j, "Complete"))
    space.apply(job("second", read, template=template))
    space.until("job", "second", lambda j: condition(j, "Complete"))
    assert space.output("job/second") == "kept\n"
    assert (cluster.claim_folder(space.name, "store") / "x").read_text() == "kept"


def test_host_paths_sub_paths_and_nested_mounts_show_what_they_name(space: Namespace, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("from the host")
    mounts = [
        {"name": "host", "mountPath": "/mnt/host", "readOnly": True},
        {"name": "host", "mountPath": "/mnt/part", "subPath": "a"},
        {"name": "config", "mountPath": "/mnt/one-file", "subPath": "name.txt"},
        {"name": "scratch", "mountPath": "/work-of-ours"},
        {"name": "config", "mountPath": "/work-of-ours/config"},
    ]
    script = """
import json, os
def fails(path):
    try:
        open(path, 'w')
    except OSError as error:
        return error.errno
open('/mnt/part/y', 'w').write('from the Pod'); open('/work-of-ours/z', 'w').write('')
print(json.dumps([open('/mnt/host/a/x').read(), open('/mnt/part/x').read(), open('/mnt/one-file').read(),
                  open('/work-of-ours/config/name.txt').read(), fails('/mnt/host/new'), fails('/work-of-ours/config/new')]))
"""
    volumes = [
        {"name": "host", "hostPath": {"path": str(tmp_path)}},
        {"name": "config", "configMap": {"name": "c"}},
        {"name": "scratch", "emptyDir": {}},
    ]
    space.run(
        config_map("c", **{"name.txt": "value"}), pod("one", container(script, volumeMounts=mounts), volumes=volumes)
    )
    assert json.loads(space.output("one")) == ["from the host", "from the host", "value", "value", 30, 30]
    assert (tmp_path / "a" / "y").read_text() == "from the Pod"


def test_a_host_path_of_the_wrong_type_keeps_the_pod_waiting_and_says_why(space: Namespace, tmp_path: Path) -> None:
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path / "absent"), "type": "Directory"}}]
    space.apply(pod("one", container("pass", volumeMounts=mounted(host="/mnt/host")), volumes=volumes))
    waiting = space.until("pod", "one", lambda p: "type check" in str(status_of(p).get("state")))
    assert "is not a directory" in status_of(waiting)["state"]["waiting"]["message"]
    (tmp_path / "absent").mkdir()
    space.phase("one", "Succeeded")


def test_a_program_reaches_the_api_server_with_its_service_account(space: Namespace) -> None:
    script = """
import os, pathlib, ssl, urllib.request
folder = pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount')
host, port = os.environ['KUBERNETES_SERVICE_HOST'], os.environ['KUBERNETES_SERVICE_PORT']
space = (folder / 'namespace').read_text()
request = urllib.request.Request(f'https://{host}:{port}/api/v1/namespaces/{space}/configmaps/c',
                                 headers={'Authorization': 'Bearer ' + (folder / 'token').read_text()})
context = ssl.create_default_context(cafile=str(folder / 'ca.crt'))
try:
    print(urllib.request.urlopen(request, context=context).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    space.run(config_map("c", a="b"), pod("without", container(script)))
    assert space.output("without") == "403\n"
    space.kubectl("create", "role", "reader", "--verb=get", "--resource=configmaps")
    space.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={space.name}:default")
    space.run(pod("with", container(script)))
    assert space.output("with") == "200\n"


def test_a_mount_over_the_checkout_does_not_hide_the_programs(space: Namespace) -> None:
    folder = str(Path(__file__).resolve().parents[3])
    mounts = [{"name": "scratch", "mountPath": folder}]
    script = f"import attune, os; print('sees', sorted(os.listdir({folder!r})))"
    space.run(pod("one", container(script, volumeMounts=mounts), volumes=[{"name": "scratch", "emptyDir": {}}]))
    assert space.output("one") == f"sees {[Path(__file__).resolve().parents[2].name]}\n"
