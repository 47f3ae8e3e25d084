"""From (apiVersion, kind) to the URL path, asked of the API server once a group. Used by `client` and `runtime`.

Asking instead of a table: it works for every kind, and a missing CRD is told apart from a missing object.
"""

from dataclasses import dataclass
from urllib.parse import quote

from attune.cluster.transport import Transport
from attune.errors import NotFound


@dataclass(frozen=True, slots=True)
class Resource:
    """How the API server names a kind in its paths."""

    plural: str
    namespaced: bool


class Discovery:
    """Remembers what kinds a group has; asks again for a kind that it does not know (CRDs may come later)."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._known: dict[str, dict[str, Resource]] = {}

    async def path(self, api_version: str, kind: str, namespace: str | None) -> str:
        """Path of the collection, of all namespaces when none is given; raises NotFound for an unknown kind."""
        resource = await self.resource(api_version, kind)
        scope = f"/namespaces/{quote(namespace, safe='')}" if resource.namespaced and namespace else ""
        return f"{_root(api_version)}{scope}/{resource.plural}"

    async def resource(self, api_version: str, kind: str) -> Resource:
        """How the kind is named; raises NotFound with what to do about it."""
        known = self._known.get(api_version, {})
        if kind not in known:
            known = self._known[api_version] = await self.kinds(api_version)
        if kind not in known:
            raise NotFound(
                f"the cluster has no kind {kind} in {api_version}; "
                "if it is one of ours: kubectl apply --server-side -k crds/"
            )
        return known[kind]

    async def kinds(self, api_version: str) -> dict[str, Resource]:
        """What the group version has now; empty when it is absent."""
        try:
            answer = (await self._transport.request("GET", _root(api_version))).json()
        except NotFound:
            return {}
        return {
            item["kind"]: Resource(item["name"], bool(item["namespaced"]))
            for item in answer.get("resources") or []
            if "/" not in item["name"]
        }


def _root(api_version: str) -> str:
    """`/api/v1` for the core group, `/apis/<group>/<version>` for the others."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
