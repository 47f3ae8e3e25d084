"""A training of the same data and configuration as a version that was taken back: what refuses it, and what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attune.api import ModelVersion, Phase, TrainingJob
from attune.contract import TrainingConfig
from attune.decide import decide_training_job, refusals
from attune.observation import SeenTrainingJob
from versions import DEFAULTS, NOW, a_retriever, a_version

DIGEST = "sha256:0123456789abcdef0123456789abcdef"
BACK = {
    "type": "RolledBack",
    "status": "True",
    "reason": "RolledBack",
    "message": "error rate 4.2% ≥ 3 × 1.0%, on 310 requests",
    "lastTransitionTime": "2026-03-14T09:30:00Z",
}
ACTIVE = {"embedding": {"active": "emb-v1"}}


def a_dataset(digest: str = DIGEST) -> dict[str, Any]:
    return {"uri": "pvc://store/d", "digest": digest, "examples": 1200}


def a_twin(number: int = 2, condition: dict[str, Any] | None = BACK, **config: Any) -> ModelVersion:
    """A version that a run with the defaults made, taken back since."""
    version = a_version(number, "failed", dataset=a_dataset(), conditions=[condition] if condition else None)
    made_of = TrainingConfig.model_validate({"baseModel": "pvc://models/minilm", **config})
    return version.model_copy(update={"spec": version.spec.model_copy(update={"config": made_of})})


def prepared(*siblings: ModelVersion, told: dict[str, Any] | None = None, **spec: Any) -> SeenTrainingJob:
    """A run whose data is prepared and whose version is to be reserved."""
    job = TrainingJob.model_validate(
        {
            "metadata": {"name": "again", "namespace": "team", "uid": "0000000a-0000-4000-8000-000000000000"},
            "spec": {"retriever": "news", "type": "embedding", **spec},
            "status": {"phase": "Preparing", "dataset": a_dataset()},
        }
    )
    active = a_version(1, "active")
    return SeenTrainingJob(
        job=job,
        defaults=replace(DEFAULTS, finetune_enabled=True),
        retriever=a_retriever(told or ACTIVE),
        active=active,
        taken_numbers=frozenset({1, 2, 3}),
        siblings=(active, *siblings),
    )


def test_it_is_refused_with_the_version_the_time_the_cause_and_the_way_out() -> None:
    problem = refusals.rolled_back_before(prepared(a_twin()))
    assert problem is not None
    assert problem.reason == "RolledBackBefore"
    assert problem.message == (
        "emb-v2, trained with the same configuration on the same data (1200 pairs, sha256:0123456789ab), was taken back "
        "on 2026-03-14 at 09:30 UTC: error rate 4.2% ≥ 3 × 1.0%, on 310 requests. Create a TrainingJob with other data or another "
        "configuration (hyperparameters.seed is part of it), or with spec.force: true to train it all the same"
    )


def test_the_run_fails_and_nothing_is_made() -> None:
    decision = decide_training_job(prepared(a_twin()), NOW)
    status = decision.status
    assert getattr(status, "phase", None) is Phase.FAILED
    assert getattr(status, "reason", None) == "RolledBackBefore"
    assert (decision.create, decision.apply, decision.ensure, decision.delete) == ((), (), (), ())
    assert [(e.reason, e.warning) for e in decision.events] == [("Failed", True)]


def test_with_force_the_number_is_reserved_and_an_event_says_what_was_passed_over() -> None:
    decision = decide_training_job(prepared(a_twin(), force=True), NOW)
    assert [m["metadata"]["name"] for m in decision.create] == ["emb-v4-20260315"]
    forced = next(e for e in decision.events if e.reason == "Forced")
    assert forced.message.startswith("spec.force is true: emb-v4-20260315 is trained although emb-v2, trained with")
    assert forced.message.endswith("taken back on 2026-03-14 at 09:30 UTC: error rate 4.2% ≥ 3 × 1.0%, on 310 requests")


def test_force_without_a_need_says_nothing() -> None:
    decision = decide_training_job(prepared(force=True), NOW)
    assert [e.reason for e in decision.events] == ["VersionReserved"]


@pytest.mark.parametrize(
    "spec",
    [
        {"hyperparameters": {"seed": 7}},
        {"hyperparameters": {"learningRate": 3e-5}},
        {"hyperparameters": {"hardNegatives": {"perQuery": 5}}},
        {"validation": {"splitRatio": 0.8}},
        {"baseModel": "BAAI/bge-small-en-v1.5"},
        {"hyperparameters": {"loss": "guided"}},
    ],
)
def test_another_configuration_is_another_training(spec: dict[str, Any]) -> None:
    assert refusals.rolled_back_before(prepared(a_twin(), **spec)) is None


@pytest.mark.parametrize(
    "spec",
    [
        {"evalThreshold": 0.5},
        {"autoPromote": True},
        {"backoffLimit": 7},
        {"baseModel": "pvc://models/minilm"},
        {"hyperparameters": {"loss": "multipleNegativesRanking"}},
        {"hyperparameters": {"learningRate": 0.00002}},
    ],
)
def test_what_does_not_change_the_weights_is_the_same_training(spec: dict[str, Any]) -> None:
    assert refusals.rolled_back_before(prepared(a_twin(), **spec)) is not None


def test_another_prompt_of_the_retriever_is_another_training() -> None:
    seen = prepared(a_twin())
    prompted = a_retriever(ACTIVE, embedding={"baseModel": "pvc://models/minilm", "queryPrompt": "query: "})
    assert refusals.rolled_back_before(replace(seen, retriever=prompted)) is None


def test_other_data_is_another_training() -> None:
    twin = a_twin()
    other = twin.status.model_copy(update={"dataset": twin.status.dataset.model_copy(update={"digest": "sha256:e"})})  # type: ignore[union-attr]
    assert refusals.rolled_back_before(prepared(twin.model_copy(update={"status": other}))) is None


@pytest.mark.parametrize("condition", [None, {**BACK, "status": "False", "reason": "Promoted"}])
def test_a_twin_that_was_never_taken_back_or_promoted_again_does_not_refuse(condition: dict[str, Any] | None) -> None:
    assert refusals.rolled_back_before(prepared(a_twin(condition=condition))) is None


def test_an_import_is_no_twin() -> None:
    imported = a_version(2, "failed", dataset=a_dataset(), conditions=[BACK])
    assert refusals.rolled_back_before(prepared(imported)) is None


def test_the_pointer_and_the_quarantine_come_before_the_condition_that_follows_them() -> None:
    fresh = {**ACTIVE, "quarantined": [{"version": "emb-v2", "cause": "errors", "at": "2026-03-15T11:59:00Z"}]}
    problem = refusals.rolled_back_before(prepared(a_twin(condition=None), told=fresh))
    assert problem is not None
    assert "taken back on 2026-03-15 at 11:59 UTC: errors. " in problem.message
    again = {"embedding": {"active": "emb-v2"}}
    assert refusals.rolled_back_before(prepared(a_twin(), told=again)) is None


def test_of_several_twins_the_last_one_taken_back_is_named() -> None:
    later = {**BACK, "lastTransitionTime": "2026-03-15T08:00:00Z"}
    problem = refusals.rolled_back_before(prepared(a_twin(3, later), a_twin(2)))
    assert problem is not None
    assert problem.message.startswith("emb-v3, ")


def test_before_the_data_is_known_nothing_is_refused() -> None:
    seen = prepared(a_twin())
    job = seen.job.model_copy(update={"status": seen.job.status.model_copy(update={"dataset": None})})
    assert refusals.rolled_back_before(replace(seen, job=job)) is None
