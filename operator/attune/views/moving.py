"""May this version be asked for, forward or back? Pure lists of small functions of stored objects.

Called by `kubectl attune promote` and `rollback`, which let the operator say the rest, and by the REST API, which tells its caller
at once what the operator would refuse. A refusal says what is so; each caller adds its own way out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from attune.api import ModelVersion, Retriever
from attune.decide import promotion
from attune.objects import Manifest
from attune.observation import Defaults, SeenRetriever

ALREADY_ACTIVE = "AlreadyActive"
ARTIFACT_DELETED = "ArtifactDeleted"
ANSWERED = "AnsweredAlready"
TAKEN_BACK = "Quarantined"
OLDER, NEWER = "OlderThanActive", "NewerThanActive"
UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class Asked:
    """A version that somebody wants to serve, with its Retriever and the version that serves now."""

    version: Manifest
    retriever: Manifest
    current: Manifest | None = None
    """The active version; None where nothing serves, or it is gone."""
    request_id: str | None = None
    sure: bool = False
    """The other way round, or a version that was taken back, is meant."""
    back: bool = False

    @property
    def name(self) -> str:
        return str(self.version["metadata"]["name"])

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.version.get("status") or {}
        return found

    @property
    def active(self) -> str | None:
        found: str | None = pointer(self.retriever, self.version["spec"]["type"]).get("active")
        return found


@dataclass(frozen=True, slots=True)
class Refusal:
    """A word for programs, and what is so."""

    reason: str
    fact: str


Gate = Callable[[Asked], Refusal | None]


def pointer(retriever: Manifest, kind: str) -> dict[str, Any]:
    """Which versions of this type serve; empty while none does."""
    found: dict[str, Any] = (retriever.get("status") or {}).get(kind) or {}
    return found


def first(gates: tuple[Gate, ...], asked: Asked) -> Refusal | None:
    """The first gate that is closed."""
    return next((refusal for gate in gates if (refusal := gate(asked)) is not None), None)


def artifact_deleted(asked: Asked) -> Refusal | None:
    if not asked.status.get("retirement"):
        return None
    return Refusal(ARTIFACT_DELETED, f"{asked.name} is not kept any more, its files are deleted")


def answered_already(asked: Asked) -> Refusal | None:
    known = asked.status.get("promotion") or {}
    if asked.request_id is None:
        return None
    if asked.request_id == known.get("handledRequestID"):
        outcome = f"{known.get('result')}: {known.get('message')}"
        return Refusal(ANSWERED, f"request {asked.request_id} on {asked.name} was answered already ({outcome})")
    if asked.request_id in (known.get("earlierRequestIDs") or ()):
        return Refusal(ANSWERED, f"request {asked.request_id} on {asked.name} was answered before")
    return None


def taken_back(asked: Asked) -> Refusal | None:
    listed = (asked.retriever.get("status") or {}).get("quarantined") or []
    found = next((q for q in listed if q["version"] == asked.name), None)
    if asked.sure or found is None:
        return None
    return Refusal(TAKEN_BACK, f"{asked.name} was taken back: {found['cause']}")


def other_way_round(asked: Asked) -> Refusal | None:
    if asked.sure or asked.current is None:
        return None
    number, current = int(asked.version["spec"]["version"]), int(asked.current["spec"]["version"])
    if not asked.back and number < current:
        return Refusal(OLDER, f"{asked.name} is older than {asked.active}, which serves, so this is a rollback")
    if asked.back and number > current:
        return Refusal(NEWER, f"{asked.name} is newer than {asked.active}, which serves, so this is no rollback")
    return None


UNMEANT: tuple[Gate, ...] = (artifact_deleted, answered_already, taken_back, other_way_round)
"""What the caller surely did not mean; the operator may see it otherwise."""


def active_already(asked: Asked) -> Refusal | None:
    if asked.active != asked.name:
        return None
    return Refusal(ALREADY_ACTIVE, f"{asked.name} is active already")


def refused_by_the_operator(asked: Asked) -> Refusal | None:
    """The gates of `attune.decide.promotion`, but for what only replicas know."""
    try:
        version, retriever = ModelVersion.model_validate(asked.version), Retriever.model_validate(asked.retriever)
        current = ModelVersion.model_validate(asked.current) if asked.current is not None else None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        return Refusal(UNREADABLE, f"{asked.name} or its Retriever cannot be read: {where}: {error.errors()[0]['msg']}")
    versions = tuple(v for v in (current, version) if v is not None)
    seen = SeenRetriever(retriever, Defaults(trainer_image=""), versions)
    problem = promotion.problem_of(promotion.Request(version, asked.request_id or "", seen, current))
    return Refusal(problem.reason, problem.message) if problem is not None else None


ALL: tuple[Gate, ...] = (active_already, *UNMEANT, refused_by_the_operator)
"""Every reason that is known before the operator looks."""


def pending(version: Manifest) -> str | None:
    """The request on this version that waits for an answer."""
    asked: str | None = (version["spec"].get("promotion") or {}).get("requestID")
    known = (version.get("status") or {}).get("promotion") or {}
    answered = {known.get("handledRequestID"), *(known.get("earlierRequestIDs") or ())}
    return asked if asked is not None and asked not in answered else None
