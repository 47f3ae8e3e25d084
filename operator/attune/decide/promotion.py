"""Requests for promotion and for the way back: which is next, what refuses it, what it waits for. Pure lists of small functions.

A request is `spec.promotion.requestID` on a ModelVersion, or a version that its TrainingJob promotes by itself. On a
version older than the active one it is a rollback. The Retriever decides alone (`retriever.py`): pointer, answer and
history are one write to its status, and the version takes the answer over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attune.api import ModelVersion, RetrieverStatus, VersionStage, conditions
from attune.contract import ModelType, VersionReport, VersionState
from attune.decide import retention
from attune.decide.gates import Problem
from attune.desired.serving import has_corpus
from attune.desired.stage_spec import place_of
from attune.observation import SeenReplica, SeenRetriever

AUTO = "auto"
"""The request ID of a version that is promoted without being asked for."""
RETURN = "rollback"
"""The request ID of a version that a rollback is to lead to, as soon as it has a collection."""
PASSING = frozenset({"StoreUnavailable", "IndexUnavailable", "Interrupted"})
"""Reasons of a replica that go away by themselves: waited for, never a refusal."""


@dataclass(frozen=True, slots=True)
class Request:
    """One unanswered request, with all that its gates look at."""

    version: ModelVersion
    request_id: str
    seen: SeenRetriever
    active: ModelVersion | None
    for_test: bool = False
    """Asked for by an ABTest, as its challenger or its winner: never a way back, however old the version is."""

    @property
    def name(self) -> str:
        return self.version.metadata.name

    @property
    def is_rollback(self) -> bool:
        """Whether it leads back: to a version older than the active one."""
        return not self.for_test and self.active is not None and self.version.spec.version < self.active.spec.version

    @property
    def reports(self) -> Iterator[tuple[SeenReplica, VersionReport]]:
        """What each replica says of this very artifact."""
        digest = self.version.status.artifact.digest if self.version.status.artifact else None
        for replica in self.seen.replicas:
            for report in replica.report.versions if replica.report else ():
                if report.name == self.name and report.digest == digest:
                    yield replica, report


# ---- which request is next


def next_request(seen: SeenRetriever, model_type: ModelType) -> Request | None:
    """The request to deal with now: a rollback before all others, then the one that is under way, then the oldest version's."""
    versions = sorted((v for v in seen.versions if v.spec.type is model_type), key=lambda v: v.spec.version)
    pointer = seen.retriever.status.of(model_type)
    active = next((v for v in versions if pointer and v.metadata.name == pointer.active), None)
    requests = [
        Request(v, request_id, seen, active)
        for v in versions
        if (request_id := unanswered(v, seen.retriever.status)) is not None
    ]
    candidate = seen.retriever.status.candidate(model_type)
    under_way = candidate.version if candidate else None
    return min(requests, key=lambda r: (not r.is_rollback, r.name != under_way, r.version.spec.version), default=None)


def unanswered(version: ModelVersion, status: RetrieverStatus) -> str | None:
    """The request ID that waits for an answer on this version; None where there is none."""
    promotion = version.status.promotion
    asked = version.spec.promotion.request_id if version.spec.promotion else None
    for request_id in (asked, AUTO if promotion and promotion.auto else None):
        if request_id is None or (promotion and promotion.answered(request_id)):
            continue
        if not any(o.version == version.metadata.name and o.request_id == request_id for o in status.outcomes or ()):
            return request_id
    return None


# ---- what refuses a request


def retired(request: Request) -> Problem | None:
    retirement = request.version.status.retirement
    if retirement is None:
        return None
    return Problem(
        "ArtifactDeleted",
        f"{request.name} is not kept any more and its files are deleted; train it again, or promote one of: "
        f"{', '.join(sorted(retention.kept(request.seen.retriever, request.seen.versions, request.version.spec.type))) or 'none'}",
    )


def not_staged(request: Request) -> Problem | None:
    status = request.version.status
    if status.stage in retention.SERVABLE and status.artifact is not None:
        return None
    taken_back = conditions.is_true(status.conditions, "RolledBack")
    if status.stage is VersionStage.FAILED and taken_back and status.artifact is not None:
        if request.request_id != AUTO and not request.for_test:
            return None
        return Problem("Quarantined", f"{request.name} was rolled back; only a request of somebody promotes it again")
    why = f": {status.notes}" if status.notes else ""
    return Problem(
        "NotStaged",
        f"{request.name} is {status.stage.value if status.stage else 'not started'}{why}; only a staged version can become "
        "active. Ask again, with a new requestID, when it is",
    )


def older_than_active(request: Request) -> Problem | None:
    if request.request_id != AUTO or not request.is_rollback or request.active is None:
        return None
    return Problem(
        "Superseded", f"{request.active.metadata.name} is newer and active; a version is not promoted over it by itself"
    )


def space_mismatch(request: Request) -> Problem | None:
    status = request.version.status
    if status.index is None or status.index.embedding_space in {None, status.embedding_space}:
        return None
    return Problem(
        "SpaceMismatch",
        f"collection {status.index.collection} is of embedding space {short(status.index.embedding_space)}, {request.name} of "
        f"{short(status.embedding_space)}; it needs an index of its own",
    )


def index_failed(request: Request) -> Problem | None:
    indexing = request.version.status.indexing
    if index_complete(request) or indexing is None or indexing.finished_at is None or indexing.reason is None:
        return None
    return Problem(
        "IndexIncomplete",
        f"the index of {request.name} is not complete: {indexing.reason}: {indexing.message}; it is tried again every ten "
        "minutes, ask again with a new requestID when condition IndexReady is True",
    )


def refused_by_a_replica(request: Request) -> Problem | None:
    for replica, report in request.reports:
        if report.state is VersionState.FAILED and report.reason not in PASSING:
            return Problem(
                report.reason or "NotServable", f"{replica.name} cannot serve {request.name}: {report.message}"
            )
    return None


REFUSALS: tuple[Callable[[Request], Problem | None], ...] = (
    retired,
    not_staged,
    older_than_active,
    space_mismatch,
    index_failed,
    refused_by_a_replica,
)


# ---- what a request waits for


def index_being_built(request: Request) -> str | None:
    if index_complete(request):
        return None
    indexing = request.version.status.indexing
    percent = indexing.progress.percent if indexing and indexing.progress else None
    return "its index is being built" + (f", {percent:.0f}%" if percent is not None else "")


def replicas_loading(request: Request) -> str | None:
    """Every serving Pod must have it loaded and verified. A rollback does not wait: it must not depend on the slowest one."""
    if request.is_rollback or request.active is None:
        return None
    waiting = [r for r in request.seen.replicas if not _could_answer(r, request)]
    serving = request.seen.retriever.spec.serving
    if not request.seen.replicas and serving.deploy and serving.replicas:
        return "there is no serving Pod yet"
    if not waiting:
        return None
    return (
        f"{len(waiting)} of {len(request.seen.replicas)} replicas: {waiting[0].name} {_state(waiting[0], request.name)}"
    )


def test_running(request: Request) -> str | None:
    """What nobody asked for by hand does not end a test."""
    pointer = request.seen.retriever.status.of(request.version.spec.type)
    if request.request_id != AUTO or pointer is None or pointer.split is None:
        return None
    return f"test {pointer.split.test} runs"


WAITS: tuple[Callable[[Request], str | None], ...] = (test_running, index_being_built, replicas_loading)


def _could_answer(replica: SeenReplica, request: Request) -> bool:
    """Loaded and verified, with the very collection that belongs to it."""
    status = request.version.status
    if replica.report is None or not replica.report.ready(
        request.name, status.artifact.digest if status.artifact else ""
    ):
        return False
    searched = status.index.collection if status.index and has_corpus(request.seen.retriever) else None
    return any(v.name == request.name and v.collection == searched for v in replica.report.versions)


def _state(replica: SeenReplica, name: str) -> str:
    if replica.report is None:
        return replica.waiting or "does not answer"
    report = next((v for v in replica.report.versions if v.name == name), None)
    if report is None:
        return replica.report.problem or "has not heard of it yet"
    return f"is {report.state.value}" + (f" ({report.reason}: {report.message})" if report.reason else "")


def index_complete(request: Request) -> bool:
    """No index is needed, or it is there, in the store that the Retriever names now."""
    retriever, index = request.seen.retriever, request.version.status.index
    if request.version.spec.type is not ModelType.EMBEDDING or not has_corpus(retriever):
        return True
    return index is not None and index.place == place_of(retriever)


def problem_of(request: Request) -> Problem | None:
    """The first gate that refuses."""
    return next((problem for gate in REFUSALS if (problem := gate(request))), None)


def wait_of(request: Request) -> str | None:
    """The first thing that is waited for."""
    return next((what for gate in WAITS if (what := gate(request))), None)


def short(digest: str | None) -> str:
    """`sha256:0f1e2d3c4b5a…`"""
    return "unknown" if digest is None else digest if len(digest) <= 20 else digest[:19] + "…"
