"""What Flux makes of every state of our objects, by the API server's own CEL; and that kustomize can build what is shipped."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from attune.api import kinds
from devcluster import Cluster, ClusterError
from gitops_objects import OBJECTS, object_of

ROOT = Path(__file__).parents[2]
EXPRESSIONS = yaml.safe_load((ROOT / "examples" / "gitops" / "flux-kustomization.yaml").read_text())["spec"][
    "healthCheckExprs"
]
CASES = [case for case in OBJECTS["cases"] if case["status"]]
"""Without status Flux waits: its expressions cannot be evaluated."""
TOP = re.compile(r"(?<![.\w])(status|metadata|spec)\b")
DENIED = re.compile(r'"(case-\d+)" is forbidden: .* denied request: (\w+)')


def judging(kind: str, expressions: Mapping[str, str], namespace: str) -> list[dict[str, Any]]:
    """A policy that refuses every status, and says what Flux would say of it."""
    told = {name: TOP.sub(r"object.\1", expressions[name]) for name in ("failed", "current")}
    (plural,) = (k.plural for k in kinds.KINDS if k.kind == kind)
    name = f"flux-{plural}-{namespace}"
    validation = {
        "expression": "false",
        "messageExpression": f"({told['failed']}) ? 'Failed' : ({told['current']}) ? 'Current' : 'InProgress'",
    }
    rule = {
        "apiGroups": [kinds.GROUP],
        "apiVersions": ["*"],
        "operations": ["UPDATE"],
        "resources": [f"{plural}/status"],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    policy = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": here}
    return [
        {**head, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    ]


@pytest.fixture
def said(cluster: Cluster, namespace: str) -> Iterator[dict[str, str]]:
    """What the expressions say of each case."""
    policies = [part for of in EXPRESSIONS for part in judging(of["kind"], of, namespace)]
    objects = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [object_of(c, name=f"case-{n}") for n, c in enumerate(CASES)]}
    )
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": policies})
    cluster.kubectl("apply", "-f", "-", stdin=listed)
    cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=objects)
    end = time.monotonic() + 60
    found: dict[str, str] = {}
    while len(found) < len(CASES) and time.monotonic() < end:  # policies are in force a moment later
        found = dict(DENIED.findall(replaced(cluster, namespace, objects)))
    yield found
    cluster.kubectl("delete", "-f", "-", stdin=listed)


def replaced(cluster: Cluster, namespace: str, objects: str) -> str:
    """What the API server says of these statuses; none is stored."""
    arguments = ("replace", "-n", namespace, "--subresource=status", "--dry-run=server", "-f", "-")
    try:
        return cluster.kubectl(*arguments, stdin=objects)
    except ClusterError as refused:
        return str(refused)


def test_flux_sees_every_state_as_it_is(said: dict[str, str]) -> None:
    # Flux itself compares observedGeneration with the generation, which is 3 in these objects
    waits = {i for i, case in enumerate(CASES) if case["status"].get("observedGeneration") != 3}
    wrong = [
        (case["kind"], case["case"], case["flux"], found)
        for number, case in enumerate(CASES)
        if (found := "InProgress" if number in waits else said.get(f"case-{number}")) != case["flux"]
    ]
    assert wrong == []


def test_kustomize_builds_what_is_shipped(cluster: Cluster) -> None:
    built = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(ROOT / "manifests" / "monitoring"))))
    kept = {(d["kind"], d["metadata"]["name"]): d for d in built}
    assert set(kept) == {
        ("AlertmanagerConfig", "attune"),
        ("ConfigMap", "attune-dashboard"),
        ("PodMonitor", "attune-serving"),
        ("PrometheusRule", "attune"),
        ("ServiceMonitor", "attune-operator"),
    }
    assert {d["metadata"]["namespace"] for d in built} == {"attune-system"}
    dashboard = kept["ConfigMap", "attune-dashboard"]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["attune.json"])["uid"] == "attune"
    rules = yaml.safe_load((ROOT / "manifests" / "monitoring" / "rules.yml").read_text())
    assert kept["PrometheusRule", "attune"]["spec"] == rules
