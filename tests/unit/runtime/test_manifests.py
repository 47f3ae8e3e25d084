"""The manifests and the code must tell the same story."""

from pathlib import Path

import yaml

from attune import __version__
from attune.api import kinds
from attune.handlers import CHILDREN
from attune.reconcile import LOOPS
from attune.rest.app import application
from attune.rest.routing import GuardedRoute
from attune.rest.settings import load_settings as api_settings
from attune.settings import load_settings, unknown_variables
from rest_callers import every_route

MANIFESTS = Path(__file__).parents[3] / "manifests"


def documents():
    return [
        document
        for path in sorted(MANIFESTS.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]


def one(kind, name="attune-operator"):
    (found,) = [d for d in documents() if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def allowed(role="attune-operator"):
    rules = one("ClusterRole", role)["rules"]
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


def test_every_watch_is_allowed():
    watched = [(kinds.GROUP, kind.plural) for kind in kinds.KINDS] + [(group, plural) for group, _, plural in CHILDREN]
    assert {(g, r, v) for g, r in watched for v in ("get", "list", "watch")} <= allowed()


def test_the_status_of_exactly_the_reconciled_kinds_may_be_written_and_no_spec():
    plurals = {kind.plural for kind in kinds.KINDS if kind.kind in LOOPS}
    writes = {(r, v) for g, r, v in allowed() if g == kinds.GROUP and v not in {"get", "list", "watch"}}
    assert {r for r, _ in writes if r.endswith("/status")} == {f"{plural}/status" for plural in plurals}
    assert not {(r, v) for r, v in writes if v in {"update", "patch"} and "/" not in r}


def test_there_is_no_wildcard_and_no_secret():
    for role in ("attune-operator", "attune-api", "attune-api-reviews"):
        assert not [rule for rule in allowed(role) if "*" in rule or "secrets" in rule]


def test_the_api_may_do_what_its_routes_declare_and_nothing_else():
    routes = [route for route in every_route(application().routes) if isinstance(route, GuardedRoute)]
    declared = {(kinds.GROUP, need.kind.plural, need.verb) for route in routes for need in route.needs}
    watched = {(kinds.GROUP, kind.plural, verb) for kind in kinds.KINDS for verb in ("get", "list", "watch")}
    assert allowed("attune-api") == declared | watched
    reviews = {
        ("authentication.k8s.io", "tokenreviews", "create"),
        ("authorization.k8s.io", "subjectaccessreviews", "create"),
    }
    assert allowed("attune-api-reviews") == reviews


def test_the_api_runs_restricted_on_the_operators_image_and_knows_its_settings():
    pod = one("Deployment", "attune-api")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["serviceAccountName"] == "attune-api"
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == one("Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert container["image"] == f"attune-operator:{__version__}"
    assert (
        container["securityContext"]
        == one("Deployment")["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    )
    assert container["ports"][0]["containerPort"] == api_settings({}).port
    assert {e["name"] for e in container["env"]} <= set(api_settings({}).by_variable())
    assert one("Service", "attune-api")["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_every_file_is_in_the_kustomization():
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    own = {p.name for p in MANIFESTS.glob("*.yaml") if p.name != "kustomization.yaml"}
    assert set(listed) == own | {"../crds"}


def test_the_settings_in_the_config_map_are_valid():
    data = one("ConfigMap")["data"]
    assert unknown_variables(data) == []
    assert set(data) <= set(load_settings({}).by_variable())
    assert load_settings(data).finetune_enabled


def test_the_pod_is_restricted_and_probed():
    pod = one("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert one("Deployment")["spec"]["replicas"] == 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["enableServiceLinks"] is False
    assert container["image"] == f"attune-operator:{__version__}"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {container[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")} == {
        "/healthz",
        "/readyz",
    }
    assert load_settings({}).http_port == container["ports"][0]["containerPort"]
