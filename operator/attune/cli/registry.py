"""registry rebuild: ModelVersions made again from the manifests in the artifact store, after they were lost.

The store may be a volume that only Pods can mount, so a Job of the trainer image reads it and prints what is there; the rest
happens here, with the rights of the caller. What exists is left alone.
"""

import asyncio
import json
import re
from collections.abc import Callable
from time import monotonic
from typing import Any
from uuid import uuid4

from attune import __version__
from attune.api import Retriever, kinds, labels
from attune.cli.session import Problem, Session
from attune.contract import Layout
from attune.objects import Manifest, Ref

SECONDS = 300.0
PVC_ROOT = "/mnt/pvc"
_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
_NUMBER = re.compile(r"-v(\d+)-")


async def rebuild(session: Session, name: str, *, dry_run: bool, image: str | None, say: Callable[[str], None]) -> int:
    """Make what is missing; returns how many were made (or would be)."""
    raw = await session.get("Retriever", name)
    retriever = Retriever.model_validate(raw)
    found = await _listed(session, retriever, image or f"attune-trainer:{__version__}")
    known = {v["metadata"]["name"]: v for v in await session.all_of("ModelVersion")}
    made = 0
    for entry in found:
        wanted = version_of(entry, raw)
        version = wanted["metadata"]["name"]
        if version in known:
            _compare(known[version], entry, say)
            continue
        made += 1
        say(f"{version}: {'would be made' if dry_run else 'made'} from {entry['uri']}")
        if not dry_run:
            await _make(session, wanted, entry)
    if not found:
        say(f"there is no artifact below {_root(retriever)}")
    return made


def _compare(version: Manifest, entry: dict[str, Any], say: Callable[[str], None]) -> None:
    digest = ((version.get("status") or {}).get("artifact") or {}).get("digest")
    name = version["metadata"]["name"]
    if digest is None or digest == entry["digest"]:
        say(f"{name}: exists, left alone")
    else:
        say(f"{name}: exists with artifact {digest}, the store has {entry['digest']} at {entry['uri']}; left alone")


def version_of(entry: dict[str, Any], retriever: Manifest) -> Manifest:
    """The ModelVersion that an artifact was made for. `entry` is a line of `attune-trainer registry`."""
    manifest, meta = entry["manifest"], retriever["metadata"]
    folder = entry["uri"].rstrip("/").rpartition("/")[2]
    name = manifest.get("version") or _SUFFIX.sub("", folder)
    number = _NUMBER.search(name)
    spec: Manifest = {
        "retriever": meta["name"],
        "type": manifest["type"],
        "version": int(number.group(1)) if number else 1,
        "baseModel": manifest["baseModel"],
        "artifact": {"uri": entry["uri"], "digest": entry["digest"]},
        "source": {"import": manifest["baseModel"]},
    }
    if manifest.get("config"):
        spec["config"] = manifest["config"]
    owner = {"apiVersion": kinds.API_VERSION, "kind": "Retriever", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {labels.RETRIEVER: meta["name"], labels.TYPE: manifest["type"]},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


async def _make(session: Session, wanted: Manifest, entry: dict[str, Any]) -> None:
    """The object, then its status: staged, with what the manifest says. Metrics are not in an artifact: absent, never invented."""
    manifest = entry["manifest"]
    made = await session.cluster.create(wanted)
    stamp = made["metadata"]["creationTimestamp"]
    artifact = {
        "uri": entry["uri"],
        "digest": entry["digest"],
        "dimensions": manifest.get("dimensions"),
        "embeddingSpace": manifest.get("embeddingSpace"),
    }
    conditions = [
        ("Trained", "True", "Rebuilt", f"from the manifest of {entry['uri']}"),
        ("Evaluated", "False", "Rebuilt", "metrics are not in the artifact; they were lost with the ModelVersion"),
    ]
    status = {
        "stage": "staged",
        "artifact": {k: v for k, v in artifact.items() if v is not None},
        "dimensions": manifest.get("dimensions"),
        "embeddingSpace": manifest.get("embeddingSpace"),
        "notes": "rebuilt from the artifact store",
        "conditions": [
            {"type": t, "status": s, "reason": r, "message": m, "lastTransitionTime": stamp}
            for t, s, r, m in conditions
        ],
    }
    while True:  # the operator may have looked at it in between
        made["status"] = {k: v for k, v in status.items() if v is not None}
        try:
            await session.cluster.replace_status(made)
            return
        except Exception as error:
            from attune.errors import Conflict

            if not isinstance(error, Conflict):
                raise
            made = await session.get("ModelVersion", wanted["metadata"]["name"])


async def _listed(session: Session, retriever: Retriever, image: str) -> list[dict[str, Any]]:
    job = list_job(retriever, image, f"attune-registry-{uuid4().hex[:8]}")
    await session.cluster.create(job)
    name = job["metadata"]["name"]
    try:
        pod = await _ended(session, name)
        text = await session.cluster.log_tail(session.namespace, pod["metadata"]["name"], lines=100_000)
        if pod["status"]["phase"] == "Failed":
            raise Problem(f"the artifact store could not be read: {text.strip()[-500:] or 'the Pod left no words'}")
        return [json.loads(line) for line in text.splitlines() if line.startswith('{"uri"')]
    finally:
        await session.cluster.delete(Ref("batch/v1", "Job", session.namespace, name))


async def _ended(session: Session, job: str) -> Manifest:
    until = monotonic() + SECONDS
    while True:
        pods = await session.pods({"batch.kubernetes.io/job-name": job})
        if pods and pods[-1].get("status", {}).get("phase") in {"Succeeded", "Failed"}:
            return pods[-1]
        if monotonic() > until:
            raise Problem(
                f"Job {job} did not end within {SECONDS:.0f} s; is its image there (--image), can its volume be mounted?"
            )
        await asyncio.sleep(0.3)


def _root(retriever: Retriever) -> str:
    layout = Layout(retriever.spec.storage.uri, retriever.metadata.namespace, retriever.metadata.name)
    return layout.version("").rstrip("/")


def list_job(retriever: Retriever, image: str, name: str) -> Manifest:
    """A Job that prints one line for each artifact of the Retriever."""
    root = _root(retriever)
    container: Manifest = {
        "name": "trainer",
        "image": image,
        "args": ["registry", root],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True},
    }
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if root.startswith("pvc://"):
        claim = root.removeprefix("pvc://").partition("/")[0]
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        container["volumeMounts"].append({"name": "store", "mountPath": f"{PVC_ROOT}/{claim}", "readOnly": True})
    if retriever.spec.storage.secret_ref is not None:
        container["envFrom"] = [{"secretRef": {"name": retriever.spec.storage.secret_ref.name}}]
    user = 65532
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": retriever.metadata.namespace},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": 600,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user},
                    "volumes": volumes,
                    "containers": [container],
                }
            },
        },
    }
