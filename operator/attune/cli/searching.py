"""search: the served Retriever asked from the command line. Directly, or through the API server's proxy."""

import ipaddress
from typing import Any

import aiohttp

from attune.api import labels, names
from attune.cli.session import Problem, Session
from attune.errors import ClusterError, Forbidden
from attune.objects import Manifest

SECONDS = 60.0
PATH = "/v1/search"


async def search(session: Session, retriever: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of /v1/search of a served Retriever; Problem with the server's own words where it refuses."""
    address = await _direct(session, retriever)
    if address is not None:
        return await ask(address, body)
    service = names.child_name(retriever, "serving")
    path = f"/api/v1/namespaces/{session.namespace}/services/{service}:http/proxy{PATH}"
    try:
        return (await session.transport.request("POST", path, body=body)).json()
    except Forbidden:
        raise
    except ClusterError as error:
        raise Problem(f"Service {service} did not answer well: {error}") from error


async def ask(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of /v1/search of the server at an address."""
    url = address.rstrip("/") + PATH
    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.post(url, json=body) as answer:
            status, found = answer.status, await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Problem(f"{url} did not answer well: {str(error) or type(error).__name__}") from error
    if status != 200 or not isinstance(found, dict) or "data" not in found:
        raise Problem(f"{url}: {_said(found)} (HTTP {status})")
    return found


def _said(found: Any) -> str:
    error = found.get("error") if isinstance(found, dict) else None
    return str(error["message"]) if isinstance(error, dict) and "message" in error else str(found)[:300]


async def _direct(session: Session, retriever: str) -> str | None:
    """The API server's proxy refuses loopback addresses, which Pods of a development cluster have: these are asked directly."""
    pods = await session.pods({labels.RETRIEVER: retriever, labels.COMPONENT: labels.SERVING})
    ready = [pod for pod in pods if _is_ready(pod)]
    if not ready:
        raise Problem(
            f"no serving Pod of Retriever {retriever} is ready; `kubectl attune status {retriever}` says why, or give --server URL"
        )
    address = ready[0]["status"].get("podIP") or ""
    if not address or not ipaddress.ip_address(address).is_loopback:
        return None
    return f"http://{address}:{_port(ready[0])}"


def _is_ready(pod: Manifest) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    going = pod["metadata"].get("deletionTimestamp") is not None
    return not going and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _port(pod: Manifest) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or ()]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == "http"), 8000)
