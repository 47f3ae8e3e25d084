"""PersistentVolumeClaims: for each pending claim of our class a folder on this machine, as a PersistentVolume."""

from __future__ import annotations

from pathlib import Path

from devcluster.node.api import Api, ApiError, Thing

CLASS = "folder"
PROVISIONER = "devcluster.attune.dev/folder"


def storage_class() -> Thing:
    """The default class."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "Immediate",
    }


def volume(claim: Thing, folder: Path) -> Thing:
    """The PersistentVolume for a claim; named by the claim's uid, so making it twice is AlreadyExists."""
    meta, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"folder-{meta['uid']}"},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "storageClassName": spec.get("storageClassName") or "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(folder / meta["uid"])},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
        },
    }


async def provide(api: Api, folder: Path) -> None:
    """Follow the claims for ever; one connection's life, the caller starts it again."""
    async for kind, thing in api.follow("/api/v1/persistentvolumeclaims"):
        for claim in thing.get("items") or [] if kind == "LIST" else [thing]:
            if kind == "DELETED" or claim["spec"].get("volumeName") or claim["spec"].get("storageClassName") != CLASS:
                continue
            made = volume(claim, folder)
            Path(made["spec"]["hostPath"]["path"]).mkdir(parents=True, exist_ok=True)
            try:
                await api.post("/api/v1/persistentvolumes", made)
            except ApiError as error:
                if error.status != 409:
                    raise
