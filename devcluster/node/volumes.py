"""A Pod's volumes as folders and files under its own root, and where each container sees them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from devcluster.node.api import Api, Thing
from devcluster.node.env import ConfigProblem, field


@dataclass(frozen=True, slots=True)
class Mount:
    """One bind mount: a real path, and the path that the container sees."""

    source: Path
    target: str
    read_only: bool = False


async def prepare(api: Api, pod: Thing, root: Path) -> dict[str, Path]:
    """Make every volume of the Pod; name → path. Raises ConfigProblem where something it needs is not there yet."""
    return {
        volume["name"]: await _volume(api, pod, volume, root / "volumes" / volume["name"])
        for volume in pod["spec"].get("volumes") or []
    }


def mounts(container: Thing, pod: Thing, volumes: dict[str, Path], termination_log: Path) -> list[Mount]:
    """What one container sees. The termination log is a file of its own."""
    known = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    made = []
    for wanted in container.get("volumeMounts") or []:
        source, volume = volumes[wanted["name"]], known[wanted["name"]]
        if wanted.get("subPath"):
            source = source / wanted["subPath"]
            if not source.exists():
                source.mkdir(parents=True)
        read_only = bool(wanted.get("readOnly")) or _read_only(volume)
        made.append(Mount(source, wanted["mountPath"].rstrip("/"), read_only))
    made.append(Mount(termination_log, container.get("terminationMessagePath") or "/dev/termination-log"))
    return made


def _read_only(volume: Thing) -> bool:
    """What the API server fills is not to be written to; a claim may say so, too."""
    if any(kind in volume for kind in ("configMap", "secret", "projected", "downwardAPI")):
        return True
    return bool((volume.get("persistentVolumeClaim") or {}).get("readOnly"))


async def _volume(api: Api, pod: Thing, volume: Thing, path: Path) -> Path:
    if "hostPath" in volume:
        return _host_path(volume["hostPath"])
    if "persistentVolumeClaim" in volume:
        return await _claim(api, pod, volume["persistentVolumeClaim"]["claimName"])
    path.mkdir(parents=True, exist_ok=True)
    for name, data in (await _files(api, pod, volume)).items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def _host_path(source: Thing) -> Path:
    """As the types say; without a type a missing folder is made, as container runtimes do."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind in {"", "DirectoryOrCreate"} and not path.exists():
        path.mkdir(parents=True)
    if kind == "FileOrCreate":
        path.touch()
    if (kind.startswith("Directory") and not path.is_dir()) or (kind.startswith("File") and not path.is_file()):
        raise ConfigProblem(f"hostPath type check failed: {path} is not a {kind.removesuffix('OrCreate').lower()}")
    return path


async def _files(api: Api, pod: Thing, volume: Thing) -> dict[str, bytes]:
    if "configMap" in volume:
        return await _keys(api, pod, "configmaps", volume["configMap"], volume["configMap"]["name"])
    if "secret" in volume:
        return await _keys(api, pod, "secrets", volume["secret"], volume["secret"]["secretName"])
    if "downwardAPI" in volume:
        return _downward(pod, volume["downwardAPI"])
    made: dict[str, bytes] = {}
    for source in (volume.get("projected") or {}).get("sources") or []:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            made[wanted["path"]] = await _token(api, pod, wanted)
        elif "configMap" in source:
            made |= await _keys(api, pod, "configmaps", source["configMap"], source["configMap"]["name"])
        elif "secret" in source:
            made |= await _keys(api, pod, "secrets", source["secret"], source["secret"]["name"])
        elif "downwardAPI" in source:
            made |= _downward(pod, source["downwardAPI"])
    return made


async def _keys(api: Api, pod: Thing, plural: str, source: Thing, name: str) -> dict[str, bytes]:
    found = await api.find(f"/api/v1/namespaces/{pod['metadata']['namespace']}/{plural}/{name}")
    if found is None:
        if source.get("optional"):
            return {}
        raise ConfigProblem(f'{plural[:-1]} "{name}" not found')
    if plural == "secrets":
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    else:
        data = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        data |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    items = source.get("items")
    missing = [item["key"] for item in items or [] if item["key"] not in data]
    if missing and not source.get("optional"):
        raise ConfigProblem(f"references non-existent {plural[:-1]} key: {missing[0]}")
    return {i["path"]: data[i["key"]] for i in items if i["key"] in data} if items else data


def _downward(pod: Thing, source: Thing) -> dict[str, bytes]:
    return {
        item["path"]: field(pod, item["fieldRef"]["fieldPath"]).encode()
        for item in source.get("items") or []
        if "fieldRef" in item
    }


async def _token(api: Api, pod: Thing, wanted: Thing) -> bytes:
    meta = pod["metadata"]
    account = pod["spec"].get("serviceAccountName") or "default"
    bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    spec: Thing = {"expirationSeconds": max(600, wanted.get("expirationSeconds") or 3600), "boundObjectRef": bound}
    if wanted.get("audience"):
        spec["audiences"] = [wanted["audience"]]
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    made = await api.post(f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token", body)
    return str(made["status"]["token"]).encode()


async def _claim(api: Api, pod: Thing, name: str) -> Path:
    found = await api.find(f"/api/v1/namespaces/{pod['metadata']['namespace']}/persistentvolumeclaims/{name}")
    if found is None or (found.get("status") or {}).get("phase") != "Bound":
        raise ConfigProblem(f'persistentvolumeclaim "{name}" is not bound')
    volume = await api.get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
    path = Path(volume["spec"]["hostPath"]["path"])
    path.mkdir(parents=True, exist_ok=True)
    return path
