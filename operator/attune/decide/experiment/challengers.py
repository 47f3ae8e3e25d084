"""Which ABTests of a Retriever may run, and which is next. Pure; shared by the test's own decision and the Retriever's.

Both read the same objects and must come to the same answer, so the rules stand here once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from attune.api import (
    ABTest,
    ABTestPhase,
    ModelVersion,
    PromotionResult,
    Retriever,
    TestOutcome,
    VersionStage,
    conditions,
)
from attune.contract import ModelType
from attune.decide import retention
from attune.decide.gates import Problem

FINAL = frozenset({ABTestPhase.CONCLUDED, ABTestPhase.CANCELLED, ABTestPhase.FAILED})


@dataclass(frozen=True, slots=True)
class Entry:
    """A test that wants to run, with what its rules look at."""

    test: ABTest
    retriever: Retriever
    versions: tuple[ModelVersion, ...]
    """All versions that it names, whatever Retriever they are of."""

    @property
    def challenger(self) -> ModelVersion | None:
        return self.named(self.test.spec.model_b)

    @property
    def active(self) -> str | None:
        """The version that serves, of the challenger's type."""
        pointer = self.retriever.status.of(self.challenger.spec.type) if self.challenger else None
        return pointer.active if pointer else None

    def named(self, name: str | None) -> ModelVersion | None:
        return next((v for v in self.versions if v.metadata.name == name), None)


def unknown_version(entry: Entry) -> Problem | None:
    for field, name in (("modelB", entry.test.spec.model_b), ("modelA", entry.test.spec.model_a)):
        if name is not None and entry.named(name) is None:
            return Problem(
                "UnknownVersion",
                f"spec.{field}: there is no ModelVersion {name} in this namespace; `kubectl get mv` lists them",
            )
    return None


def other_retriever(entry: Entry) -> Problem | None:
    mine = entry.retriever.metadata.name
    for version in (entry.challenger, entry.named(entry.test.spec.model_a)):
        if version is not None and version.spec.retriever != mine:
            return Problem(
                "OtherRetriever",
                f"{version.metadata.name} is a version of Retriever {version.spec.retriever}, and this test splits the traffic of "
                f"{mine}; both versions must be its own",
            )
    return None


def other_type(entry: Entry) -> Problem | None:
    a, b = entry.named(entry.test.spec.model_a), entry.challenger
    if a is None or b is None or a.spec.type is b.spec.type:
        return None
    return Problem(
        "OtherType",
        f"{a.metadata.name} is of type {a.spec.type.value}, {b.metadata.name} of type {b.spec.type.value}; they do not answer the "
        "same requests",
    )


def already_active(entry: Entry) -> Problem | None:
    if entry.active != entry.test.spec.model_b:
        return None
    return Problem(
        "AlreadyActive", f"{entry.test.spec.model_b} is the active version; there is nothing to compare it with"
    )


def a_not_active(entry: Entry) -> Problem | None:
    asked = entry.test.spec.model_a
    if asked is None or entry.active in {None, asked}:
        return None
    return Problem(
        "NotActive",
        f"spec.modelA is {asked}, and {entry.active} serves; leave modelA out to use the active version, or promote {asked} first",
    )


def not_servable(entry: Entry) -> Problem | None:
    version = entry.challenger
    if version is None:
        return None
    name, status = version.metadata.name, version.status
    if entry.retriever.status.is_quarantined(name) or conditions.is_true(status.conditions, "RolledBack"):
        return Problem("Quarantined", f"{name} was rolled back: {status.notes}; a test is no way around that")
    if not_yet(version) or (retention.could_serve(version) and status.artifact is not None):
        return None
    stage = "being deleted" if status.retirement is not None else status.stage.value if status.stage else "not started"
    why = f" ({status.notes})" if status.notes else ""
    return Problem("NotStaged", f"{name} is {stage}{why}; only a staged version can be tested")


REFUSALS: tuple[Callable[[Entry], Problem | None], ...] = (
    unknown_version,
    other_retriever,
    other_type,
    already_active,
    a_not_active,
    not_servable,
)


def problem_of(entry: Entry) -> Problem | None:
    """The first rule that refuses."""
    return next((problem for rule in REFUSALS if (problem := rule(entry))), None)


def not_yet(version: ModelVersion) -> bool:
    """Still on its way to be staged: waited for, as it may be the very test that its TrainingJob made."""
    return version.status.stage in {None, VersionStage.TRAINING, VersionStage.EVALUATING}


def wants_to_run(test: ABTest) -> bool:
    """Not started, not ended, not on its way out."""
    return (
        test.status.phase in {None, ABTestPhase.PENDING}
        and not test.spec.cancel
        and test.metadata.deletion_timestamp is None
    )


def in_line(
    retriever: Retriever, tests: Iterable[ABTest], versions: tuple[ModelVersion, ...], model_type: ModelType
) -> tuple[ABTest, ...]:
    """Tests of this type that may run, in the order in which they will: the oldest first."""
    waiting = [
        test
        for test in tests
        if wants_to_run(test)
        and test.spec.retriever == retriever.metadata.name
        and outcome_of(retriever, test) is None
        and problem_of(entry := Entry(test, retriever, versions)) is None
        and entry.challenger is not None
        and not not_yet(entry.challenger)
        and entry.challenger.spec.type is model_type
    ]
    return tuple(sorted(waiting, key=lambda t: (t.metadata.creation_timestamp or "", t.metadata.name)))


def outcome_of(retriever: Retriever, test: ABTest) -> TestOutcome | None:
    """What the Retriever has answered this test, and no other one of its name."""
    return next((o for o in retriever.status.test_outcomes or () if o.uid == test.metadata.uid), None)


def asks_for_promotion(test: ABTest) -> bool:
    """Whether its winner is to be promoted, and was not yet."""
    asked = test.status.promotion
    if test.spec.cancel:
        return False
    return test.status.phase is ABTestPhase.CONCLUDED and asked is not None and asked.result is PromotionResult.PENDING
