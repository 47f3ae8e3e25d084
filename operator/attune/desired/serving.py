"""What serves a Retriever: the ServingConfig in its ConfigMap, and the Deployment, Service and rights of the Pods that read it.

Built from what was written to Retriever.status before, never from what a decision is about to write: the pointer moves
first, and the rest follows.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from attune.api import ActiveModel, ModelVersion, Retriever, SecretReference, kinds, labels, names, parse_duration
from attune.contract import (
    PEERS_KEY,
    SERVING_KEY,
    ModelType,
    ServedJudge,
    ServedModel,
    ServedProbe,
    ServedSplit,
    ServedUpstream,
    ServedVersion,
    ServingConfig,
)
from attune.desired import hosted, stage_job
from attune.desired.stage_spec import index_spec
from attune.objects import Manifest
from attune.observation.replicas import PORT, SeenReplica

CONTAINER = "serving"
CONFIG_FOLDER = "/etc/attune/serving"
CACHE_FOLDER = "/var/cache/attune"


def name_of(retriever: Retriever) -> str:
    """`NAME-serving`: the Deployment, the Service, the ServiceAccount and its Role."""
    return names.child_name(retriever.metadata.name, "serving")


def config_map_name(retriever: Retriever) -> str:
    return retriever.spec.serving.config_map_name or name_of(retriever)


def config(retriever: Retriever, versions: Iterable[ModelVersion]) -> ServingConfig | None:
    """What replicas are told; `versions` are those to load. None as long as an active version cannot be described.

    A previous version or a challenger that is gone is left out: it must not stand in the way of the active one.
    """
    known = {v.metadata.name: v for v in versions}
    described = (served(v, retriever) for v in known.values())
    loaded = {v.name: v for v in described if v is not None}
    able = {name: known[name] for name in loaded}
    models = {t: _model(retriever, retriever.status.of(t), able) for t in ModelType}
    active = [m.active for m in models.values() if m is not None]
    if not active or any(name not in loaded for name in active):
        return None
    meta, upstream = retriever.metadata, retriever.spec.serving.upstream
    return ServingConfig(
        namespace=meta.namespace,
        retriever=meta.name,
        generation=max(1, retriever.status.serving_generation or 1),
        embedding=models[ModelType.EMBEDDING],
        reranker=models[ModelType.RERANKER],
        versions=tuple(v for _, v in sorted(loaded.items())),
        index=index_spec(retriever) if has_corpus(retriever) else None,
        inline_guard=retriever.spec.rollback.inline_guard,
        upstream=ServedUpstream(url=str(upstream.url), api=upstream.api) if upstream else None,
        judge=_judge(retriever),
    )


def _judge(retriever: Retriever) -> ServedJudge | None:
    judge = retriever.spec.judge
    if judge is None or judge.sampling.share == 0:
        return None
    chosen = judge.sampling
    return ServedJudge(
        url=str(judge.base_url),
        model=judge.model,
        share=chosen.share,
        per_minute=chosen.per_minute,
        tokens_per_day=chosen.tokens_per_day,
    )


def has_corpus(retriever: Retriever) -> bool:
    """Whether there is anything to search."""
    return retriever.spec.data is not None and retriever.spec.data.archive is not None


def served(version: ModelVersion, retriever: Retriever) -> ServedVersion | None:
    """How replicas are told of a version; None while it has no artifact, or a collection is due and not complete."""
    artifact, index = version.status.artifact, version.status.index
    searched = version.spec.type is ModelType.EMBEDDING and has_corpus(retriever)
    if artifact is None or (searched and index is None):
        return None
    upstream = retriever.spec.serving.upstream is not None and version.spec.type is ModelType.EMBEDDING
    upstream = upstream and hosted.key_of(version) is None  # its own API answers, and its adapter is needed here
    return ServedVersion(
        name=version.metadata.name,
        type=version.spec.type,
        uri=artifact.uri,
        digest=artifact.digest,
        dimensions=version.status.dimensions,
        embedding_space=version.status.embedding_space,
        collection=index.collection if searched and index else None,
        documents=index.documents if searched and index else None,
        path="upstream" if upstream else "local",
    )


def _model(retriever: Retriever, pointer: ActiveModel | None, loaded: Mapping[str, ModelVersion]) -> ServedModel | None:
    if pointer is None or pointer.active is None:
        return None
    split = None
    if pointer.split is not None and pointer.split.challenger in loaded:
        chosen = retriever.spec.serving.experiment_salt
        salt = (
            f"{chosen}/{pointer.split.test}"
            if chosen
            else f"{retriever.metadata.uid}/{pointer.split.uid or pointer.split.test}"
        )
        split = ServedSplit(
            test=pointer.split.test,
            challenger=pointer.split.challenger,
            fraction=pointer.split.fraction,
            salt=salt,
            run=pointer.split.uid or "",
        )
    previous = loaded.get(pointer.previous or "")
    return ServedModel(
        active=pointer.active,
        previous=previous.metadata.name if previous else None,
        split=split,
        probe=_probe(retriever, loaded.get(pointer.active), previous),
    )


def _probe(retriever: Retriever, active: ModelVersion | None, previous: ModelVersion | None) -> ServedProbe | None:
    """Labelled queries for a comparison with the version before: the held-out ones of the data that it was measured on."""
    chosen = retriever.spec.rollback
    if (
        active is None
        or previous is None
        or not chosen.enabled
        or chosen.max_recall_drop == 1
        or not has_corpus(retriever)
    ):
        return None
    dataset = active.status.dataset or previous.status.dataset
    if dataset is None or not dataset.held_out_queries:
        return None
    seconds = parse_duration(chosen.window).total_seconds()
    return ServedProbe(uri=dataset.uri, digest=dataset.digest, seconds=seconds)


def config_map(retriever: Retriever, told: ServingConfig, replicas: Iterable[SeenReplica] = ()) -> Manifest:
    """With the addresses of all replicas as long as a test runs; without one nobody has to know them."""
    data = {SERVING_KEY: told.to_json(indent=2)}
    models = (told.of(model_type) for model_type in ModelType)
    known = {r.name: r.address for r in replicas if r.address}
    if known and any(model is not None and model.split is not None for model in models):
        data[PEERS_KEY] = json.dumps(known, indent=2, sort_keys=True)
    return _finished(
        retriever,
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config_map_name(retriever)}, "data": data},
    )


def workload(retriever: Retriever, image: str, keys: Iterable[hosted.ApiKey] = ()) -> tuple[Manifest, ...]:
    """What `serving.deploy` stands for, in the order in which it is to be made. `keys`: of the APIs that answer for versions."""
    name, config_name = name_of(retriever), config_map_name(retriever)
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": name},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [config_name],
                "verbs": ["get", "list", "watch"],
            }
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": retriever.metadata.namespace}],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": _selector(retriever),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    made = (account, role, binding, service, _deployment(retriever, image, keys))
    return tuple(_finished(retriever, manifest) for manifest in made)


def workload_keys(retriever: Retriever) -> tuple[tuple[str, str, str], ...]:
    """(apiVersion, kind, name) of everything `workload` makes."""
    return tuple((m["apiVersion"], m["kind"], m["metadata"]["name"]) for m in workload(retriever, "-"))


def is_applied(desired: Manifest, found: Manifest | None) -> bool:
    """Whether the object is as we applied it last, and that is what is desired. Compares a digest, and a ConfigMap's data."""
    if found is None or desired.get("data", {}) != found.get("data", {}):
        return False
    annotations = found["metadata"].get("annotations") or {}
    return bool(annotations.get(labels.APPLIED) == desired["metadata"]["annotations"][labels.APPLIED])


def _finished(retriever: Retriever, manifest: Manifest) -> Manifest:
    """With namespace, labels, owner, and the digest of all that."""
    meta = retriever.metadata
    manifest["metadata"] = {
        **manifest["metadata"],
        "namespace": meta.namespace,
        "labels": {**_selector(retriever), "app.kubernetes.io/part-of": "attune"},
        "ownerReferences": [
            {
                "apiVersion": kinds.API_VERSION,
                "kind": "Retriever",
                "name": meta.name,
                "uid": meta.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:32]
    manifest["metadata"]["annotations"] = {labels.APPLIED: digest}
    return manifest


def _selector(retriever: Retriever) -> dict[str, str]:
    return {labels.RETRIEVER: retriever.metadata.name, labels.COMPONENT: labels.SERVING}


def _deployment(retriever: Retriever, image: str, keys: Iterable[hosted.ApiKey]) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name_of(retriever)},
        "spec": {
            "replicas": retriever.spec.serving.replicas,
            "selector": {"matchLabels": _selector(retriever)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {**_selector(retriever), labels.OWNER_UID: retriever.metadata.uid},
                    "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)},
                },
                "spec": _pod_spec(retriever, image, keys),
            },
        },
    }


def _pod_spec(retriever: Retriever, image: str, keys: Iterable[hosted.ApiKey]) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "config", "configMap": {"name": config_map_name(retriever), "optional": True}},
        {"name": "cache", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    volumes += [
        {"name": f"pvc-{i}", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        for i, claim in enumerate(_claims(retriever))
    ]
    user = stage_job.USER
    return {
        "serviceAccountName": name_of(retriever),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 45,
        "securityContext": {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user},
        "volumes": volumes,
        "containers": [_container(retriever, image, keys)],
    }


def _claims(retriever: Retriever) -> tuple[str, ...]:
    """Claims of the two places of the Retriever, not of single versions: Pods are not replaced when versions come and go."""
    uris = (retriever.spec.storage.uri, index_spec(retriever).uri)
    return tuple(sorted({uri.removeprefix("pvc://").partition("/")[0] for uri in uris if uri.startswith("pvc://")}))


def _secrets(retriever: Retriever) -> tuple[SecretReference | None, ...]:
    spec = retriever.spec
    return spec.storage.secret_ref, spec.index.secret_ref, spec.judge.secret_ref if spec.judge else None


def _container(retriever: Retriever, image: str, keys: Iterable[hosted.ApiKey]) -> dict[str, Any]:
    spec = retriever.spec
    mounts = [
        {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
        {"name": "cache", "mountPath": CACHE_FOLDER},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    mounts += [
        {"name": f"pvc-{i}", "mountPath": f"{stage_job.PVC_ROOT}/{claim}", "readOnly": True}
        for i, claim in enumerate(_claims(retriever))
    ]
    fields = {
        "ATTUNE_NAMESPACE": "metadata.namespace",
        "ATTUNE_REPLICA": "metadata.name",
        "ATTUNE_HTTP_HOST": "status.podIP",
    }
    values = {
        "ATTUNE_HTTP_PORT": str(PORT),
        "ATTUNE_CONFIG_MAP": config_map_name(retriever),
        "ATTUNE_CONFIG_FILE": f"{CONFIG_FOLDER}/{SERVING_KEY}",
        "ATTUNE_CACHE": CACHE_FOLDER,
    }
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image,
        "env": [
            *({"name": k, "valueFrom": {"fieldRef": {"fieldPath": path}}} for k, path in fields.items()),
            *({"name": k, "value": value} for k, value in values.items()),
            *hosted.env(keys),
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "volumeMounts": mounts,
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 20, "timeoutSeconds": 10},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if spec.serving.resources:
        container["resources"] = spec.serving.resources.model_dump(by_alias=True, exclude_none=True)
    if secrets := stage_job.env_from(_secrets(retriever)):
        container["envFrom"] = secrets
    return container
