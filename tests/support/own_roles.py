"""The operator's ServiceAccount and roles as manifests/rbac.yaml has them, in one namespace of a cluster."""

from __future__ import annotations

import copy
from pathlib import Path

import yaml

from devcluster import Cluster

ROLES = list(yaml.safe_load_all((Path(__file__).parents[2] / "manifests" / "rbac.yaml").read_text()))


def with_own_roles(cluster: Cluster, namespace: str) -> Path:
    """A kubeconfig that may do what the operator may, and nothing else."""
    documents = copy.deepcopy(ROLES)
    for document in documents:
        if document["kind"] == "ClusterRoleBinding":
            document["kind"] = "RoleBinding"
        if document["kind"] != "ClusterRole":
            document["metadata"]["namespace"] = namespace
        for subject in document.get("subjects", ()):
            subject["namespace"] = namespace
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    return cluster.service_account_kubeconfig(namespace, "attune-operator")
