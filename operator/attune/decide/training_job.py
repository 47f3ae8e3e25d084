"""The next step of a TrainingJob: prepare → train → evaluate, one Job at a time. Called by `reconcile`."""

from datetime import datetime, timedelta
from typing import Any

from attune.api import Compute, Phase, TrainingJob, TrainingJobStatus, kinds
from attune.contract import Stage, StageResult
from attune.decide import gates, hosted, refusals
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event, observed
from attune.decide.gates import Candidate, Problem
from attune.decide.stages import Next, Run, Step, climb, started
from attune.desired import hosted as desired_hosted
from attune.desired import model_version, stage_job, stage_spec
from attune.objects import Ref
from attune.observation import JobState, SeenTrainingJob

PHASE_OF = {Stage.PREPARE: Phase.PREPARING, Stage.TRAIN: Phase.TRAINING, Stage.EVALUATE: Phase.EVALUATING}
CONDITION_OF = {Stage.PREPARE: "DataPrepared", Stage.TRAIN: "Trained", Stage.EVALUATE: "Evaluated"}
TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED})
VERSION_DONE = frozenset({"staged", "active", "deprecated", "failed"})
WAIT_FOR_OTHERS = timedelta(seconds=30)
LONGEST_FAREWELL = timedelta(minutes=10)
"""So long after its ttl a run stays for those who are still to be told of it."""


def decide_training_job(seen: SeenTrainingJob, now: datetime) -> Decision:
    """Next step of a TrainingJob. Pure: no I/O, no clock."""
    job = seen.job
    if job.metadata.deletion_timestamp is not None:
        return NOTHING
    if job.status.phase in TERMINAL:
        return observed(_expire(seen, now), job.status, job.metadata.generation)
    if deadline := _deadline_passed(job, now):
        return _fail(seen, deadline, now)
    if job.spec.suspend:
        return _suspend(seen, now)
    if problem := refusals.first(refusals.WAITS, seen):
        return _wait(seen, problem, now)
    if problem := refusals.first(refusals.REFUSALS, seen):
        return _fail(seen, problem, now)
    if _version_deleted(seen):
        name = job.status.model_version
        return _fail(
            seen, Problem("ModelVersionDeleted", f"ModelVersion {name} was deleted while its training ran"), now
        )
    if _due(job) is not Stage.PREPARE and seen.version is None:
        problem = refusals.first(refusals.BEFORE_TRAINING, seen)
        return _fail(seen, problem, now) if problem else _reserve_version(seen, now)
    return _advance(seen, now)


def _due(job: TrainingJob) -> Stage:
    """The first stage without a recorded result."""
    if job.status.dataset is None:
        return Stage.PREPARE
    return Stage.TRAIN if job.status.artifact is None else Stage.EVALUATE


def _version_deleted(seen: SeenTrainingJob) -> bool:
    return seen.job.status.model_version is not None and seen.version is None


def _run(seen: SeenTrainingJob) -> Run:
    status = seen.job.status
    return Run(
        _due(seen.job), seen.stage_jobs, tuple(status.attempts or ()), status.failures or 0, seen.job.spec.backoff_limit
    )


def _advance(seen: SeenTrainingJob, now: datetime) -> Decision:
    run = _run(seen)
    step = climb(run, seen.defaults, now)
    if step.next is Next.CREATE:
        return _create(seen, run, now)
    if step.next is Next.DONE and step.result is not None:
        return _record(seen, run.stage, step, step.result, now)
    if step.next is Next.FAILED:
        return _fail(seen, Problem(step.reason, step.message), now, step, stage=run.stage)
    if step.next is Next.BACK_OFF:
        return _back_off(seen, run, step)
    return _follow(seen, run, step, now)


def _create(seen: SeenTrainingJob, run: Run, now: datetime) -> Decision:
    assert seen.retriever is not None
    spec = stage_spec.for_training(seen, seen.retriever, run.stage)
    stage = stage_job.StageJob(
        spec=spec,
        attempt=run.number,
        api_version=kinds.API_VERSION,
        compute=seen.job.spec.compute or Compute(),
        image=seen.defaults.trainer_image,
        secrets=stage_spec.stage_secrets(seen.retriever, spec),
        env=tuple(desired_hosted.env(desired_hosted.keys_of_run(seen, run.stage))),
    )
    status = _status(
        seen,
        phase=PHASE_OF[run.stage],
        reason="StageStarted",
        message=f"{run.stage}: Job {stage.name} created (attempt {run.number} of {run.backoff_limit + 1})",
        attempts=started(run, stage.name, now),
        progress=None,
        start_time=seen.job.status.start_time or now,
    )
    status = _with_suspended(status, False, seen, now)
    return Decision(
        status=status,
        apply=stage_job.beside(stage),
        create=(stage_job.job(stage),),
        events=(Event("StageStarted", status.message or ""),),
        requeue_after=seen.defaults.progress_interval,
    )


def _follow(seen: SeenTrainingJob, run: Run, step: Step, now: datetime) -> Decision:
    """The Job is there and not finished: resume it if it is suspended, report how far it is."""
    job = step.job
    assert job is not None
    message = f"{run.stage}: Job {job.name} {job.state.value.lower()}" + (f"; {step.message}" if step.message else "")
    status = _status(
        seen,
        phase=PHASE_OF[run.stage],
        reason="Stage" + job.state.value,
        message=message,
        attempts=step.attempts,
        progress=job.progress or seen.job.status.progress,
        start_time=seen.job.status.start_time or now,
    )
    status = _with_suspended(status, False, seen, now)
    queued = seen.job.spec.compute is not None and seen.job.spec.compute.queue_name  # Kueue decides when its Jobs run
    ours = job.suspended and not queued
    resume = (stage_job.suspension(job.name, seen.job.metadata.namespace, False),) if ours else ()
    events = (Event("Resumed", f"Job {job.name} resumes"),) if resume else ()
    return Decision(status=status, apply=resume, events=events, requeue_after=seen.defaults.progress_interval)


def _back_off(seen: SeenTrainingJob, run: Run, step: Step) -> Decision:
    fresh = step.failures > run.failures
    message = (
        f"{run.stage} failed, {step.reason}: {step.message}; attempt {step.failures + 1} of {run.backoff_limit + 1} follows"
        if fresh
        else step.message
    )
    status = _status(
        seen,
        phase=PHASE_OF[run.stage],
        reason="BackOff",
        message=message,
        attempts=step.attempts,
        failures=step.failures,
        progress=None,
    )
    events = (Event("StageFailed", message, warning=True),) if fresh else ()
    return Decision(status=status, events=events, requeue_after=step.wait)


def _record(seen: SeenTrainingJob, stage: Stage, step: Step, result: StageResult, now: datetime) -> Decision:
    """A stage is done: its result goes into status, and what follows is decided at the next look."""
    if stage is Stage.EVALUATE:
        return _judge(seen, step, result, now)
    update: dict[str, Any] = {"dataset": result.dataset} if stage is Stage.PREPARE else {"artifact": result.model}
    status = _status(
        seen, reason=f"{CONDITION_OF[stage]}", message=result.message, attempts=step.attempts, progress=None, **update
    )
    status = said(
        status, Said(CONDITION_OF[stage], True, result.reason, result.message), seen.job.metadata.generation, now
    )
    return Decision(status=status, events=(Event(CONDITION_OF[stage], result.message),), requeue_after=timedelta())


def _judge(seen: SeenTrainingJob, step: Step, result: StageResult, now: datetime) -> Decision:
    evaluation = result.evaluation
    if evaluation is None:
        return _fail(
            seen, Problem("NotMeasured", f"evaluate left no numbers: {result.message}"), now, step, stage=Stage.EVALUATE
        )
    told = gates.compared(evaluation)
    asked = seen.job.spec
    serves_hybrid = seen.retriever is None or seen.retriever.spec.index.hybrid
    problem = gates.first_problem(
        Candidate(evaluation, asked.eval_threshold, asked.evaluation.max_general_drop, serves_hybrid)
    )
    status = _status(seen, evaluation=evaluation, attempts=step.attempts)
    status = said(status, Said("Evaluated", True, result.reason, told), seen.job.metadata.generation, now)
    if problem:
        why = problem.message if told in problem.message else f"{problem.message}; {told}"
        return _end(seen, status, Phase.FAILED, Problem(problem.reason, why), now)
    return _end(seen, status, Phase.SUCCEEDED, Problem("Succeeded", f"{status.model_version}: {told}"), now)


def _reserve_version(seen: SeenTrainingJob, now: datetime) -> Decision:
    """Creating the ModelVersion reserves its number; a lost race is AlreadyExists, and the next look takes the next number."""
    assert seen.retriever is not None
    number = max(seen.taken_numbers, default=0) + 1
    config = stage_spec.training_config(seen, seen.retriever)
    manifest = model_version.trained(seen.job, seen.retriever, config, number, now)
    name = manifest["metadata"]["name"]
    status = _status(seen, reason="VersionReserved", message=f"ModelVersion {name} reserved", model_version=name)
    twin = refusals.rolled_back_twin(seen)
    forced = (Event("Forced", f"spec.force is true: {name} is trained although {twin}"),) if twin else ()
    return Decision(
        status=status,
        create=(manifest,),
        events=(*forced, Event("VersionReserved", status.message or "")),
        requeue_after=timedelta(),
    )


def _wait(seen: SeenTrainingJob, problem: Problem, now: datetime) -> Decision:
    phase = seen.job.status.phase or Phase.PENDING
    phase = Phase.PENDING if phase is Phase.SUSPENDED else phase
    status = _status(seen, phase=phase, reason=problem.reason, message=problem.message)
    status = _with_suspended(status, False, seen, now)
    events = (Event(problem.reason, problem.message),) if seen.job.status.reason != problem.reason else ()
    return Decision(status=status, events=events, requeue_after=WAIT_FOR_OTHERS)


def _suspend(seen: SeenTrainingJob, now: datetime) -> Decision:
    """The running Job is suspended: its Pod gets SIGTERM, writes a checkpoint and goes."""
    running = _run(seen).job
    live = running if running and running.state not in {JobState.SUCCEEDED, JobState.FAILED} else None
    message = (
        f"spec.suspend is true; Job {live.name} is suspended and resumes from its checkpoint"
        if live
        else "spec.suspend is true"
    )
    status = _status(seen, phase=Phase.SUSPENDED, reason="Suspended", message=message, start_time=None)
    status = _with_suspended(status, True, seen, now)
    apply = (stage_job.suspension(live.name, seen.job.metadata.namespace, True),) if live and not live.suspended else ()
    events = (Event("Suspended", message),) if seen.job.status.phase is not Phase.SUSPENDED else ()
    return Decision(status=status, apply=apply, events=events)


def _fail(
    seen: SeenTrainingJob, problem: Problem, now: datetime, step: Step | None = None, stage: Stage | None = None
) -> Decision:
    """The end. A stage Job that still runs is deleted; what it wrote stays in the store."""
    status = _status(seen)
    if step is not None:
        status = status.model_copy(update={"attempts": step.attempts, "failures": step.failures})
    if stage is not None:
        status = said(
            status, Said(CONDITION_OF[stage], False, problem.reason, problem.message), seen.job.metadata.generation, now
        )
    return _end(seen, status, Phase.FAILED, problem, now)


def _end(seen: SeenTrainingJob, status: TrainingJobStatus, phase: Phase, why: Problem, now: datetime) -> Decision:
    succeeded = phase is Phase.SUCCEEDED
    done = status.model_copy(
        update={
            "phase": phase,
            "reason": why.reason,
            "message": why.message,
            "completion_time": now,
            "progress": None,
        }
    )
    done = said(
        done,
        Said("Complete" if succeeded else "Failed", True, why.reason, why.message),
        seen.job.metadata.generation,
        now,
    )
    live = [j for j in seen.stage_jobs if j.state not in {JobState.SUCCEEDED, JobState.FAILED}]
    namespace = seen.job.metadata.namespace
    cancel = () if succeeded else hosted.cancelling(seen, done.attempts or ())
    return Decision(
        status=done,
        ensure=cancel,
        delete=tuple(Ref("batch/v1", "Job", namespace, job.name, job.uid) for job in live),
        events=(Event(phase.value, f"{why.reason}: {why.message}", warning=not succeeded), *hosted.told(cancel)),
        requeue_after=_ttl(seen.job),
    )


def _expire(seen: SeenTrainingJob, now: datetime) -> Decision:
    """Terminal is terminal. Only ttlSecondsAfterFinished still acts, once the version has taken over its numbers."""
    job, ttl = seen.job, _ttl(seen.job)
    if ttl is None or job.status.completion_time is None:
        return NOTHING
    left = job.status.completion_time + ttl - now
    if left > timedelta():
        return Decision(requeue_after=left)
    if seen.version is not None and seen.version.status.stage not in VERSION_DONE:
        return Decision(requeue_after=seen.defaults.progress_interval)
    if job.status.pending_notifications and left > -LONGEST_FAREWELL:
        return Decision(requeue_after=WAIT_FOR_OTHERS)
    meta = job.metadata
    return Decision(delete=(Ref(kinds.API_VERSION, "TrainingJob", meta.namespace, meta.name, meta.uid),))


def _ttl(job: TrainingJob) -> timedelta | None:
    seconds = job.spec.ttl_seconds_after_finished
    return None if seconds is None else timedelta(seconds=seconds)


def _deadline_passed(job: TrainingJob, now: datetime) -> Problem | None:
    seconds, start = job.spec.active_deadline_seconds, job.status.start_time
    if seconds is None or start is None or job.spec.suspend or now < start + timedelta(seconds=seconds):
        return None
    return Problem(
        "DeadlineExceeded",
        f"active for {(now - start).total_seconds():.0f} s, longer than activeDeadlineSeconds {seconds}, in phase {job.status.phase}",
    )


def _status(seen: SeenTrainingJob, **update: Any) -> TrainingJobStatus:
    known: dict[str, Any] = {"observed_generation": seen.job.metadata.generation}
    if seen.version is not None:  # also when the write that first named it was lost
        known["model_version"] = seen.version.metadata.name
    return seen.job.status.model_copy(update={**known, **update})


def _with_suspended(status: TrainingJobStatus, value: bool, seen: SeenTrainingJob, now: datetime) -> TrainingJobStatus:
    """The Suspended condition appears with the first suspension and then stays, False while running."""
    known = any(c.type == "Suspended" for c in status.conditions or ())
    if not value and not known:
        return status
    reason = "SuspendRequested" if value else "Resumed"
    return said(
        status,
        Said("Suspended", value, reason, f"spec.suspend is {str(value).lower()}"),
        seen.job.metadata.generation,
        now,
    )
