"""The only way to the cluster: a desk in the name of one caller, in one namespace. Every method reviews the right it needs, then acts.

`Gate` hands desks out; nothing else of this process has a handle on the cluster, so a route cannot forget to ask. `routing` reviews what
a route declares before its body is read; the desk reviews again where it acts (the answer is remembered, so that costs nothing).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.requests import Request

from attune.api import labels
from attune.api.kinds import AB_TEST, GROUP, KINDS, MODEL_VERSION, TRAINING_JOB, Kind
from attune.cluster.reviews import Right
from attune.cluster.transport import MERGE, Transport
from attune.cluster.watching import collection
from attune.errors import ClusterError, NotFound
from attune.objects import Manifest
from attune.rest.access import Caller, Reviewer
from attune.rest.mirror import Mirror, Room, stripped
from attune.rest.problems import Refused, missing, of_cluster
from attune.rest.settings import ApiSettings

log = structlog.get_logger(__name__)

FIELD_MANAGER = "attune-api"
WRITTEN = frozenset({MODEL_VERSION, TRAINING_JOB, AB_TEST})
"""Kinds that routes write to; whatever the caller's rights, no others."""


@dataclass(frozen=True, slots=True)
class House:
    """What the API's own account can reach. Held by the gate and by desks alone."""

    transport: Transport
    reviewer: Reviewer
    mirrors: Mapping[str, Mirror]
    settings: ApiSettings


class Desk:
    """One caller in one namespace."""

    def __init__(self, house: House, caller: Caller, namespace: str) -> None:
        self._house = house
        self._caller = caller
        self._namespace = namespace

    @property
    def namespace(self) -> str:
        """All that is done here is done in it."""
        return self._namespace

    @property
    def user(self) -> str:
        """Name of the caller."""
        return self._caller.user.name

    @property
    def groups(self) -> tuple[str, ...]:
        """Of the caller."""
        return self._caller.user.groups

    @property
    def settings(self) -> ApiSettings:
        """Of the process."""
        return self._house.settings

    # ---- rights

    async def may(self, verb: str, kind: Kind, name: str = "") -> bool:
        """Whether the caller could do it with kubectl."""
        right = Right(verb, kind.plural, self.namespace, name)
        try:
            return await self._house.reviewer.allowed(self._caller, right)
        except ClusterError as error:
            raise of_cluster(error) from error

    async def demand(self, verb: str, kind: Kind, name: str = "") -> None:
        """403 where the caller could not."""
        if not await self.may(verb, kind, name):
            right = Right(verb, kind.plural, self.namespace, name)
            raise Refused(
                403,
                "Forbidden",
                f"{self.user} cannot {right}; ask whoever gives rights there: the verb {verb} on {kind.plural}.{GROUP}",
            )

    # ---- reading

    async def get(self, kind: Kind, name: str) -> Manifest:
        """One object, as the API server has it now; 404."""
        found = await self.find(kind, name)
        if found is None:
            raise missing(kind.kind, name, self.namespace)
        return found

    async def find(self, kind: Kind, name: str) -> Manifest | None:
        """One object, as the API server has it now."""
        await self.demand("get", kind, name)
        try:
            answer = await self._house.transport.request("GET", self._path(kind, name))
            return stripped(answer.json(), kind)
        except NotFound:
            return None
        except ClusterError as error:
            raise of_cluster(error) from error

    async def listed(self, kind: Kind) -> Room:
        """All objects of a kind in the namespace, as watched."""
        await self.demand("list", kind)
        found = self._house.mirrors[kind.kind]
        found.must_be_fresh(self.settings.stale_seconds)
        return found.room(self.namespace)

    async def all_of(self, kind: Kind) -> list[Manifest]:
        """All objects of a kind in the namespace, as watched: the newest first."""
        return [entry.manifest() for entry in (await self.listed(kind)).entries()]

    async def labelled(self, kind: Kind, label: str, value: str) -> list[Manifest]:
        """Those with a label, as the API server has them now."""
        await self.demand("list", kind)
        try:
            query = {"labelSelector": f"{label}={value}"}
            answer = await self._house.transport.request("GET", self._path(kind), query=query)
        except ClusterError as error:
            raise of_cluster(error) from error
        return [stripped(item, kind) for item in answer.json().get("items") or []]

    async def watched(self, kind: Kind, name: str) -> Room:
        """For a stream about one object."""
        await self.demand("watch", kind, name)
        return self._house.mirrors[kind.kind].room(self.namespace)

    # ---- writing

    async def create(self, kind: Kind, metadata: Manifest, spec: Manifest) -> Manifest:
        """POST in the API's name, with the caller's in an annotation. Unknown fields are refused, as kubectl does."""
        await self.demand("create", kind)
        annotations = {**metadata.get("annotations", {}), labels.REQUESTED_BY: self.user}
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {**metadata, "namespace": self.namespace, "annotations": annotations},
            "spec": spec,
        }
        return await self._write("POST", self._path(kind), kind, body)

    async def merge(self, kind: Kind, name: str, uid: str, spec: Manifest) -> Manifest:
        """Change some fields of the spec of that very object."""
        await self.demand("patch", kind, name)
        metadata = {"uid": uid, "annotations": {labels.REQUESTED_BY: self.user}}
        return await self._write("PATCH", self._path(kind, name), kind, {"metadata": metadata, "spec": spec})

    async def delete(self, kind: Kind, name: str, uid: str) -> None:
        """Delete that very object; absent is fine."""
        await self.demand("delete", kind, name)
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._house.transport.request("DELETE", self._path(kind, name), body=body)
        except NotFound:
            return
        except ClusterError as error:
            raise of_cluster(error) from error
        log.info("deleted", kind=kind.kind, namespace=self.namespace, name=name, user=self.user)

    async def _write(self, method: str, path: str, kind: Kind, body: Manifest) -> Manifest:
        if kind not in WRITTEN:
            raise Refused(403, "Forbidden", f"the API writes no {kind.plural}")
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        content_type = MERGE if method == "PATCH" else "application/json"
        try:
            answer = await self._house.transport.request(
                method, path, body=body, query=query, content_type=content_type
            )
        except ClusterError as error:
            raise of_cluster(error) from error
        stored = stripped(answer.json(), kind)
        self._house.mirrors[kind.kind].wrote(stored)
        log.info(
            "wrote",
            method=method,
            kind=kind.kind,
            namespace=self.namespace,
            name=stored["metadata"]["name"],
            user=self.user,
        )
        return stored

    def _path(self, kind: Kind, name: str | None = None) -> str:
        path = collection(kind, self.namespace)
        return path if name is None else f"{path}/{quote(name, safe='')}"

    # ---- all rights at once

    async def rights(self, verbs: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Which of these verbs the caller has, by plural of the kind."""
        asked = [(kind, verb) for kind in KINDS for verb in verbs.get(kind.plural, ())]
        answers = await asyncio.gather(*(self.may(verb, kind) for kind, verb in asked))
        yes = [pair for pair, answer in zip(asked, answers, strict=True) if answer]
        return {kind.plural: tuple(v for k, v in yes if k is kind) for kind in KINDS if kind.plural in verbs}


class Gate:
    """Hands out desks. The middleware puts it into the scope of each request; `routing` alone asks it."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def caller(self, request: Request) -> Caller:
        """Of a request; 401 where nobody is known by its token."""
        try:
            caller = await self._house.reviewer.caller(request.headers.get("authorization"))
        except ClusterError as error:
            raise of_cluster(error) from error
        request.scope["attune.user"] = caller.user.name
        return caller

    def desk(self, caller: Caller, namespace: str) -> Desk:
        """For a caller, in a namespace."""
        return Desk(self._house, caller, namespace)

    @property
    def settings(self) -> ApiSettings:
        """Of the process."""
        return self._house.settings
