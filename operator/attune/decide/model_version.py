"""The next step of a ModelVersion: training → evaluating → staged or failed; active follows the Retriever's pointer.

A trained version derives everything from its TrainingJob; an imported one runs its own stages
prepare → import → evaluate. Called by `reconcile`.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from attune.api import (
    Compute,
    ModelVersionStatus,
    Phase,
    PromotionResult,
    PromotionStatus,
    TrainingJob,
    VersionStage,
    kinds,
)
from attune.contract import Stage, StageResult
from attune.decide import gates, hosted
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event
from attune.decide.gates import Problem
from attune.decide.settled import decide_settled
from attune.decide.stages import Next, Run, Step, climb, started
from attune.desired import ab_test, stage_job, stage_spec
from attune.desired import hosted as desired_hosted
from attune.objects import Ref
from attune.observation import JobState, SeenModelVersion

SETTLED = frozenset({VersionStage.STAGED, VersionStage.ACTIVE, VersionStage.DEPRECATED, VersionStage.FAILED})
STAGE_OF_PHASE = {Phase.EVALUATING: VersionStage.EVALUATING}
IMPORT_BACKOFF_LIMIT = 2
WAIT_FOR_OTHERS = timedelta(seconds=30)


def decide_model_version(seen: SeenModelVersion, now: datetime) -> Decision:
    """Next step of a ModelVersion. Pure: no I/O, no clock."""
    version = seen.version
    if version.metadata.deletion_timestamp is not None:
        return NOTHING
    if version.status.stage in SETTLED:
        return decide_settled(seen, now)
    if version.spec.source.training_job is not None:
        return _follow_training(seen, now)
    if seen.retriever is None:
        return _wait(
            seen,
            f"spec.retriever: no Retriever {version.spec.retriever!r} in this namespace; apply it, or correct the name",
            now,
        )
    return _advance_import(seen, now)


def _follow_training(seen: SeenModelVersion, now: datetime) -> Decision:
    job, name = seen.training_job, seen.version.spec.source.training_job
    if job is None:
        problem = Problem("TrainingJobDeleted", f"TrainingJob {name} was deleted before this version was evaluated")
        failed, cancel = _failed(seen, _status(seen), problem, now), hosted.cancelling_orphan(seen)
        return replace(failed, ensure=cancel, events=(*failed.events, *hosted.told(cancel)))
    phase, run = job.status.phase, job.status
    artifact = run.artifact
    status = _status(
        seen,
        stage=STAGE_OF_PHASE.get(phase, VersionStage.TRAINING) if phase else VersionStage.TRAINING,
        artifact=artifact,
        training_metrics=artifact.training if artifact else None,
        dimensions=artifact.dimensions if artifact else None,
        embedding_space=artifact.embedding_space if artifact else None,
        dataset=run.dataset,
        evaluation_metrics=run.evaluation.metrics if run.evaluation else None,
        report=run.evaluation.report if run.evaluation else None,
    )
    if artifact is not None:
        status = said(
            status, Said("Trained", True, "Completed", _trained(status)), seen.version.metadata.generation, now
        )
    if run.evaluation is not None:
        status = _evaluated(status, run.evaluation, seen, now)
    if phase is Phase.SUCCEEDED:
        return _with_test(_staged(seen, _with_auto_promotion(seen, status, job), now), seen, job)
    if phase is Phase.FAILED:
        return _failed(
            seen, status, Problem(run.reason or "TrainingFailed", run.message or f"TrainingJob {name} failed"), now
        )
    return Decision(status=status)


def _with_auto_promotion(seen: SeenModelVersion, status: ModelVersionStatus, job: TrainingJob) -> ModelVersionStatus:
    """Noted where it outlives the run. A promotion by ABTest is a matter of the test."""
    if not _is_promoted_by_itself(seen, job) or job.spec.promotion.strategy != "Direct":
        return status
    waiting = PromotionStatus(auto=True, result=PromotionResult.PENDING, message="autoPromote: as soon as it can serve")
    return status.model_copy(update={"promotion": waiting})


def _with_test(decision: Decision, seen: SeenModelVersion, job: TrainingJob) -> Decision:
    """Where the run asks for it, its version goes on trial by a test of its own, which promotes it if it wins."""
    staged = getattr(decision.status, "stage", None) is VersionStage.STAGED
    if not staged or not _is_promoted_by_itself(seen, job) or job.spec.promotion.strategy != "ABTest":
        return decision
    test = ab_test.of_version(seen.version, job)
    told = Event("TestCreated", f"ABTest {test['metadata']['name']}: it is promoted if it wins on live traffic")
    return replace(decision, ensure=(*decision.ensure, test), events=(*decision.events, told))


def _is_promoted_by_itself(seen: SeenModelVersion, job: TrainingJob) -> bool:
    return seen.defaults.auto_promote if job.spec.auto_promote is None else job.spec.auto_promote


def _due(seen: SeenModelVersion) -> Stage | None:
    """The import's next stage. Without an archive there is nothing to prepare and nothing to evaluate on."""
    status = seen.version.status
    measurable = (
        seen.retriever is not None
        and seen.retriever.spec.data is not None
        and seen.retriever.spec.data.archive is not None
    )
    if status.artifact is None:
        return Stage.PREPARE if measurable and status.dataset is None else Stage.IMPORT
    return Stage.EVALUATE if status.dataset is not None else None


def _advance_import(seen: SeenModelVersion, now: datetime) -> Decision:
    due = _due(seen)
    if due is None:
        return _staged(seen, _unmeasured(seen, now), now)
    status = seen.version.status
    run = Run(due, seen.stage_jobs, tuple(status.attempts or ()), status.failures or 0, IMPORT_BACKOFF_LIMIT)
    step = climb(run, seen.defaults, now)
    if step.next is Next.CREATE:
        return _create(seen, run, now)
    if step.next is Next.DONE and step.result is not None:
        return _record(seen, due, step, step.result, now)
    updated = _status(seen, stage=_stage_of(due), attempts=step.attempts, failures=step.failures)
    if step.next is Next.FAILED:
        return _failed(seen, updated, Problem(step.reason, step.message), now)
    if step.next is Next.BACK_OFF and step.failures > run.failures:
        message = f"{due} failed, {step.reason}: {step.message}; attempt {step.failures + 1} of {run.backoff_limit + 1} follows"
        updated = said(
            updated, Said(_condition_of(due), False, step.reason, message), seen.version.metadata.generation, now
        )
        return Decision(status=updated, events=(Event("StageFailed", message, warning=True),), requeue_after=step.wait)
    if step.message and step.next is Next.WAIT:
        updated = said(
            updated, Said(_condition_of(due), False, "Waiting", step.message), seen.version.metadata.generation, now
        )
    return Decision(status=updated, requeue_after=step.wait or seen.defaults.progress_interval)


def _create(seen: SeenModelVersion, run: Run, now: datetime) -> Decision:
    assert seen.retriever is not None
    stage = stage_job.StageJob(
        spec=stage_spec.for_import(seen, seen.retriever, run.stage),
        attempt=run.number,
        api_version=kinds.API_VERSION,
        compute=Compute(),
        image=seen.defaults.trainer_image,
        secrets=(seen.retriever.spec.storage.secret_ref, stage_spec.judge_secret(seen.retriever, run.stage)),
        env=tuple(desired_hosted.env(desired_hosted.keys_of_import(seen, run.stage))),
    )
    status = _status(seen, stage=_stage_of(run.stage), attempts=started(run, stage.name, now))
    message = f"{run.stage}: Job {stage.name} created (attempt {run.number} of {run.backoff_limit + 1})"
    return Decision(
        status=status,
        apply=(stage_job.spec_config_map(stage),),
        create=(stage_job.job(stage),),
        events=(Event("StageStarted", message),),
        requeue_after=seen.defaults.progress_interval,
    )


def _record(seen: SeenModelVersion, stage: Stage, step: Step, result: StageResult, now: datetime) -> Decision:
    status = _status(seen, attempts=step.attempts)
    if stage is Stage.PREPARE:
        return Decision(status=status.model_copy(update={"dataset": result.dataset}), requeue_after=timedelta())
    if stage is Stage.IMPORT:
        model = result.model
        update = {
            "artifact": model,
            "dimensions": model.dimensions if model else None,
            "embedding_space": model.embedding_space if model else None,
        }
        status = said(
            status.model_copy(update=update),
            Said("Trained", True, "Imported", result.message),
            seen.version.metadata.generation,
            now,
        )
        return Decision(status=status, events=(Event("Imported", result.message),), requeue_after=timedelta())
    if result.evaluation is not None:
        told = {"evaluation_metrics": result.evaluation.metrics, "report": result.evaluation.report}
        status = _evaluated(status.model_copy(update=told), result.evaluation, seen, now)
    return _staged(seen, status, now)


def _staged(seen: SeenModelVersion, status: ModelVersionStatus, now: datetime) -> Decision:
    digest = status.artifact.digest if status.artifact else "none"
    verified = said(
        status,
        Said("ArtifactVerified", True, "DigestMatches", f"manifest {digest}"),
        seen.version.metadata.generation,
        now,
    )
    staged = verified.model_copy(update={"stage": VersionStage.STAGED})
    name = seen.version.metadata.name
    return Decision(status=staged, events=(Event("Staged", f"{name} is staged"),), requeue_after=timedelta())


def _failed(seen: SeenModelVersion, status: ModelVersionStatus, problem: Problem, now: datetime) -> Decision:
    """Failed for good: the condition of the step that failed carries the reason and the numbers."""
    kind = "Trained" if status.artifact is None else "Evaluated"
    if problem.reason in gates.REASONS:
        kind = "Evaluated"
    status = said(status, Said(kind, False, problem.reason, problem.message), seen.version.metadata.generation, now)
    status = status.model_copy(
        update={"stage": VersionStage.FAILED, "notes": f"{problem.reason}: {problem.message}"[:1024]}
    )
    live = [job for job in seen.stage_jobs if job.state not in {JobState.SUCCEEDED, JobState.FAILED}]
    namespace = seen.version.metadata.namespace
    return Decision(
        status=status,
        delete=tuple(Ref("batch/v1", "Job", namespace, job.name, job.uid) for job in live),
        events=(Event("Failed", f"{problem.reason}: {problem.message}", warning=True),),
    )


def _evaluated(
    status: ModelVersionStatus, evaluation: Any, seen: SeenModelVersion, now: datetime
) -> ModelVersionStatus:
    absent = "; ".join(f"{name} not measured: {why}" for name, why in sorted(evaluation.not_measured.items()))
    message = gates.compared(evaluation) + (f"; {absent}" if absent else "")
    return said(status, Said("Evaluated", True, "Completed", message), seen.version.metadata.generation, now)


def _unmeasured(seen: SeenModelVersion, now: datetime) -> ModelVersionStatus:
    message = "not measured: the Retriever defines no spec.data.archive to hold queries out of"
    return said(
        _status(seen), Said("Evaluated", False, "NoEvaluationData", message), seen.version.metadata.generation, now
    )


def _trained(status: ModelVersionStatus) -> str:
    metrics = status.training_metrics
    if metrics is None or metrics.loss is None:
        return "trained and exported"
    return f"loss {metrics.loss:.4f} after {metrics.epochs:g} epochs on {metrics.training_examples} pairs"


def _stage_of(stage: Stage) -> VersionStage:
    return VersionStage.EVALUATING if stage is Stage.EVALUATE else VersionStage.TRAINING


def _condition_of(stage: Stage) -> str:
    return "Evaluated" if stage is Stage.EVALUATE else "Trained"


def _wait(seen: SeenModelVersion, message: str, now: datetime) -> Decision:
    status = said(
        _status(seen), Said("Trained", False, "RetrieverNotFound", message), seen.version.metadata.generation, now
    )
    return Decision(status=status, requeue_after=WAIT_FOR_OTHERS)


def _status(seen: SeenModelVersion, **update: Any) -> ModelVersionStatus:
    return seen.version.status.model_copy(update={"observed_generation": seen.version.metadata.generation, **update})
