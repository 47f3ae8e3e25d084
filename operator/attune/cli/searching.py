"""search: the served Retriever asked from the command line. Directly, or through the API server's proxy."""

import ipaddress
from typing import Any

import aiohttp

from attune.api import labels, names
from attune.cli.session import Problem, Session

PORT = 8000


async def search(session: Session, retriever: str, body: dict[str, Any], server: str | None) -> dict[str, Any]:
    """The answer of /v1/search; Problem with the server's own words where it refuses."""
    address = server or await _direct(session, retriever)
    if address is not None:
        return await _asked(address.rstrip("/") + "/v1/search", body)
    service = names.child_name(retriever, "serving")
    path = f"/api/v1/namespaces/{session.namespace}/services/{service}:http/proxy/v1/search"
    return (await session.transport.request("POST", path, body=body)).json()


async def _direct(session: Session, retriever: str) -> str | None:
    """The API server's proxy refuses loopback addresses, which Pods of a development cluster have: these are asked directly."""
    pods = await session.pods({labels.RETRIEVER: retriever, labels.COMPONENT: labels.SERVING})
    ready = [
        pod
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or ())
    ]
    if not ready:
        raise Problem(
            f"no serving Pod of Retriever {retriever} is ready; `kubectl attune status {retriever}` says why, or give --server URL"
        )
    address = ready[0]["status"].get("podIP") or ""
    return f"http://{address}:{PORT}" if address and ipaddress.ip_address(address).is_loopback else None


async def _asked(url: str, body: dict[str, Any]) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=60, sock_connect=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as client, client.post(url, json=body) as answer:
            found = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Problem(f"{url} did not answer well: {type(error).__name__}: {error}") from error
    if not isinstance(found, dict) or "error" in found:
        raise Problem(f"{url}: {found['error']['message'] if isinstance(found, dict) else found}")
    return found
