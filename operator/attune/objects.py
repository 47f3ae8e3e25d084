"""Addresses and bodies of Kubernetes objects, for everyone who passes them on without looking inside."""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of one object; with a uid, of that very object and not of a later one with the same name."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None
