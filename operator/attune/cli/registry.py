"""registry rebuild: ModelVersions made again from the manifests in the artifact store, after they were lost.

The store may be a volume that only Pods can mount, so a Job of the trainer image reads it and prints what is there. The
objects are made here, with the rights of the caller, and name the digest of their artifact: the operator takes it as it
is, verified, and measures it again. What exists is left alone.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import uuid4

from attune.api import Retriever, kinds, labels
from attune.cli.logs import waiting_reason
from attune.cli.session import Problem, Say, Session
from attune.contract import Layout
from attune.errors import AlreadyExists, Invalid
from attune.objects import Manifest, Ref

LOOK_SECONDS = 0.3
PVC_ROOT = "/mnt/pvc"
USER = 65532
MADE, WOULD_BE_MADE, EXISTS, CONFLICT, UNUSABLE = "made", "would be made", "exists", "conflict", "unusable"
_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
_NUMBER = re.compile(r"-v(\d+)-")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which artifacts are looked for, and by which Pod."""

    image: str
    folder: str | None = None
    """Where they lie; None: where the operator puts them."""
    dry_run: bool = False
    timeout: float = 300.0


async def rebuild(session: Session, name: str, asked: Asked, say: Say) -> list[dict[str, Any]]:
    """Make what is missing. One entry an artifact: version, uri, digest, action and message."""
    raw = await session.get("Retriever", name)
    retriever = Retriever.model_validate(raw)
    root = asked.folder or Layout(retriever.spec.storage.uri, session.namespace, name).version("").rstrip("/")
    say(f"reading {root} with {asked.image}")
    found = await _listed(session, list_job(retriever, root, asked.image), asked.timeout)
    known = {v["metadata"]["name"]: v for v in await session.all_of("ModelVersion")}
    number = 1 + max((int(v["spec"]["version"]) for v in known.values()), default=0)
    number = max(number, 1 + max((_numbered(entry) or 0 for entry in found), default=0))
    done = []
    for entry in found:
        if "problem" in entry:
            done.append(_told(None, entry, UNUSABLE, entry["problem"]))
            continue
        wanted = version_of(entry, raw, number)
        number += _numbered(entry) is None
        old = known.get(wanted["metadata"]["name"])
        done.append(_compared(old, entry) if old else await _made(session, wanted, entry, dry_run=asked.dry_run))
    return done


def _compared(version: Manifest, entry: dict[str, Any]) -> dict[str, Any]:
    """An object of that name is there already."""
    artifact = (version.get("status") or {}).get("artifact") or version["spec"]["artifact"]
    name, digest = version["metadata"]["name"], artifact.get("digest")
    if digest in {None, entry["digest"]}:
        return _told(name, entry, EXISTS, "left alone")
    return _told(name, entry, CONFLICT, f"there is one with artifact {digest} at {artifact['uri']}; left alone")


async def _made(session: Session, wanted: Manifest, entry: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    name = wanted["metadata"]["name"]
    if dry_run:
        return _told(name, entry, WOULD_BE_MADE, f"version {wanted['spec']['version']}")
    try:
        await session.create(wanted)
    except AlreadyExists:
        return _told(name, entry, EXISTS, "somebody made it meanwhile; left alone")
    except Invalid as error:
        return _told(name, entry, UNUSABLE, str(error))
    return _told(name, entry, MADE, f"version {wanted['spec']['version']}; the operator verifies and measures it now")


def _told(version: str | None, entry: dict[str, Any], action: str, message: str) -> dict[str, Any]:
    return {
        "version": version,
        "uri": entry["uri"],
        "digest": entry.get("digest"),
        "action": action,
        "message": message,
    }


def version_of(entry: dict[str, Any], retriever: Manifest, spare_number: int) -> Manifest:
    """The ModelVersion that an artifact was made for. `entry` is a line of `attune-trainer registry`.

    Its number is in its name; a name without one gets `spare_number`. Metrics are not in an artifact: they are measured again.
    """
    manifest, meta = entry["manifest"], retriever["metadata"]
    spec: Manifest = {
        "retriever": meta["name"],
        "type": manifest["type"],
        "version": _numbered(entry) or spare_number,
        "baseModel": manifest["baseModel"],
        "artifact": {"uri": entry["uri"], "digest": entry["digest"]},
        "source": {"import": entry["uri"]},
    }
    if manifest.get("config"):
        spec["config"] = manifest["config"]
    owner = {"apiVersion": kinds.API_VERSION, "kind": "Retriever", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": _name_of(entry),
            "namespace": meta["namespace"],
            "labels": {labels.RETRIEVER: meta["name"], labels.TYPE: manifest["type"]},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def _name_of(entry: dict[str, Any]) -> str:
    folder = str(entry["uri"]).rstrip("/").rpartition("/")[2]
    return str(entry["manifest"].get("version") or _SUFFIX.sub("", folder))


def _numbered(entry: dict[str, Any]) -> int | None:
    number = _NUMBER.search(_name_of(entry)) if "manifest" in entry else None
    return int(number.group(1)) if number else None


# ---- the Pod that reads the store


async def _listed(session: Session, job: Manifest, seconds: float) -> list[dict[str, Any]]:
    name = job["metadata"]["name"]
    await session.create(job)
    try:
        pod = await _ended(session, name, seconds)
        path = await session.cluster.discovery.path("v1", "Pod", session.namespace)
        lines = [line async for line in session.transport.lines(f"{path}/{pod['metadata']['name']}/log")]
    finally:
        await session.cluster.delete(Ref("batch/v1", "Job", session.namespace, name))
    if pod["status"]["phase"] == "Failed":
        words = " ".join(line for line in lines[-5:] if line.strip())
        raise Problem(f"the artifact store could not be read: {words or 'the Pod left no words'}")
    told = [json.loads(line) for line in lines if line.startswith(('{"uri"', '{"artifacts"'))]
    if not told or told[-1].get("artifacts") != len(told) - 1:
        raise Problem(f"the log of Pod {pod['metadata']['name']} is not whole; try again")
    return told[:-1]


async def _ended(session: Session, job: str, seconds: float) -> Manifest:
    until = monotonic() + seconds
    while True:
        pods = await session.pods({"batch.kubernetes.io/job-name": job})
        status = pods[-1].get("status") or {} if pods else {}
        if status.get("phase") in {"Succeeded", "Failed"}:
            return pods[-1]
        if monotonic() > until:
            why = waiting_reason(status) if pods else "no Pod was made; `kubectl get events` tells more"
            raise Problem(
                f"the Pod that reads the store did not end within {seconds:g} s: {why}. Is its image there (--image), "
                "can the volume be mounted (a volume that is in use by another node cannot)?"
            )
        await asyncio.sleep(LOOK_SECONDS)


def list_job(retriever: Retriever, root: str, image: str) -> Manifest:
    """A Job that prints one line for each artifact below `root`."""
    container: Manifest = {
        "name": "trainer",
        "image": image,
        "args": ["registry", root],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
    if root.startswith("pvc://"):
        claim = root.removeprefix("pvc://").partition("/")[0]
        volumes.append({"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        container["volumeMounts"].append({"name": "store", "mountPath": f"{PVC_ROOT}/{claim}", "readOnly": True})
    if retriever.spec.storage.secret_ref is not None:
        container["envFrom"] = [{"secretRef": {"name": retriever.spec.storage.secret_ref.name}}]
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
        "volumes": volumes,
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"attune-registry-{uuid4().hex[:8]}", "namespace": retriever.metadata.namespace},
        "spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 600, "template": {"spec": pod}},
    }
