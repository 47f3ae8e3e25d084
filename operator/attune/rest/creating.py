"""Creating objects so that a lost answer and a retry make one. Used by `routes.training` and `routes.ab_tests`.

Nothing is kept here: the object itself carries digests of who asked with which Idempotency-Key for what. A key holds as long as
the object exists.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header

from attune.api import labels
from attune.api.kinds import Kind
from attune.objects import Manifest
from attune.rest.desk import Desk
from attune.rest.problems import Refused

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key with the same body, from the same user in the same namespace, does it once.",
    ),
]
REPLAYED = {"idempotency-replayed": "true"}


@dataclass(frozen=True, slots=True)
class Wish:
    """An object to create."""

    kind: Kind
    name: str | None
    stem: str
    """What a name that is made begins with."""
    spec: Manifest
    key: str | None


def wish(kind: Kind, sent: Any, retriever: str, key: str | None) -> Wish:
    """From the body as it was sent: unknown fields are for the API server to refuse, absent ones for it to fill in."""
    given = without_nulls(sent)
    name = given.pop("name", None)
    return Wish(kind, name, retriever[:200], given, key)


async def create_once(desk: Desk, wanted: Wish) -> tuple[Manifest, bool]:
    """The object, and whether an earlier request had made it."""
    if wanted.key is None:
        metadata: Manifest = {"name": wanted.name} if wanted.name else {"generateName": f"{wanted.stem}-"}
        return await desk.create(wanted.kind, metadata, wanted.spec), False
    key, body = digest(desk, wanted.key), _hash(wanted.kind.kind, wanted.name, wanted.spec)
    made = await _made_before(desk, wanted, key, body)
    if made is not None:
        return made, True
    metadata = {
        "name": wanted.name or made_name(wanted, key),
        "labels": {labels.IDEMPOTENCY_KEY: key},
        "annotations": {labels.IDEMPOTENCY_BODY: body},
    }
    try:
        return await desk.create(wanted.kind, metadata, wanted.spec), False
    except Refused as refused:
        if refused.reason != "AlreadyExists":
            raise
        made = await _made_before(desk, wanted, key, body)  # two at once: the other one was quicker
        if made is None:
            raise
        return made, True


async def _made_before(desk: Desk, wanted: Wish, key: str, body: str) -> Manifest | None:
    """By its label; for a caller who may not list, by the name that this key makes."""
    if await desk.may("list", wanted.kind):
        found = await desk.labelled(wanted.kind, labels.IDEMPOTENCY_KEY, key)
    else:
        named = (
            await desk.find(wanted.kind, wanted.name or made_name(wanted, key))
            if await desk.may("get", wanted.kind)
            else None
        )
        known = (named or {"metadata": {}})["metadata"].get("labels") or {}
        found = [named] if named is not None and known.get(labels.IDEMPOTENCY_KEY) == key else []
    if not found:
        return None
    made = found[0]
    if (made["metadata"].get("annotations") or {}).get(labels.IDEMPOTENCY_BODY) != body:
        raise reused(f"{wanted.kind.kind} {made['metadata']['name']} with another body")
    return made


def made_name(wanted: Wish, key: str) -> str:
    """The name that a key stands for."""
    return f"{wanted.stem}-{key[:10]}"


def reused(of: str) -> Refused:
    """422: a key stands for one request."""
    return Refused(
        422,
        "IdempotencyKeyReused",
        f"this Idempotency-Key made {of}; a key stands for one request: send another",
        field="Idempotency-Key",
    )


def digest(desk: Desk, key: str) -> str:
    """Of a key: nobody meets somebody else's."""
    return _hash(desk.user, desk.namespace, key)


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def without_nulls(value: Any) -> Any:
    """null means absent: the API server fills its defaults in then."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value
