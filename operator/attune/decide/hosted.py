"""What provider openai adds to decisions: which runs are refused, and when what the API still trains is cancelled. Pure.

The API knows nothing of TrainingJobs: a run that ends without its result (deleted, past its deadline, out of attempts) would go on
there, and cost. Suspension and eviction are no ends: the next Pod finds the job again.
"""

from collections.abc import Sequence

from attune.api import Attempt, Compute, ModelVersion, Retriever, labels
from attune.contract import ExitCode, OpenAITraining, Stage
from attune.decide.decision import Event
from attune.decide.gates import Problem
from attune.desired import hosted
from attune.desired.hosted import Remote
from attune.objects import Manifest
from attune.observation import SeenModelVersion, SeenTrainingJob


def provider_mismatch(seen: SeenTrainingJob) -> Problem | None:
    """What the schema cannot refuse where provider comes from FINETUNE_PROVIDER."""
    spec, given = seen.job.spec, seen.defaults.provider
    if spec.provider is not None:
        return None
    if given != "openai" and spec.openai is not None:
        return Problem(
            "ProviderMismatch", f"spec.openai is set, but FINETUNE_PROVIDER is {given}; set spec.provider: openai, too"
        )
    wrong = {
        "spec.type: reranker": spec.type.value == "reranker",
        f"spec.baseModel: {spec.base_model}": spec.base_model is not None,
        f"spec.hyperparameters.method: {spec.hyperparameters.method}": spec.hyperparameters.method != "full",
    }
    asked = [field for field, is_asked in wrong.items() if is_asked]
    if given != "openai" or not asked:
        return None
    return Problem(
        "ProviderMismatch",
        f"{', '.join(asked)}: not for provider openai, which FINETUNE_PROVIDER makes the default; set spec.provider: local",
    )


def more_than_one_process(seen: SeenTrainingJob) -> Problem | None:
    """There is nothing to share out: the API trains, or a map is trained in seconds."""
    compute = seen.job.spec.compute
    many = compute is not None and ((compute.nodes or 1) > 1 or (compute.processes_per_node or 1) > 1)
    if hosted.provider_of(seen) != "openai" or not many:
        return None
    return Problem(
        "OneProcess", "spec.compute: provider openai trains in one process; remove nodes and processesPerNode"
    )


def base_without_weights(seen: SeenTrainingJob) -> Problem | None:
    """A version that an API answers for has no weights to go on from."""
    if hosted.key_of(seen.base_version) is None:
        return None
    return Problem(
        "BaseVersionHasNoWeights",
        f"spec.baseModel: {seen.job.spec.base_model} is answered by an API, so there are no weights to train here; "
        "use provider: openai, or another baseModel",
    )


def cancelling(seen: SeenTrainingJob, attempts: Sequence[Attempt]) -> tuple[Manifest, ...]:
    """The Job that cancels at the API, where a run fails whose training there may go on.

    After an end that the train stage called final nothing is left to cancel: the API's job failed, or there never was one.
    """
    job, config = seen.job, hosted.recorded_training(seen)
    trained = [a for a in attempts if a.stage is Stage.TRAIN]
    owner = seen.retriever or seen.version
    if config is None or job.status.artifact is not None or not trained or ExitCode.is_final(trained[-1].exit_code):
        return ()
    if not _remote(config) or owner is None:
        return ()
    remote = Remote(job.metadata.name, job.metadata.uid, config.base_url, hosted.secret_of(job))
    return (hosted.cancel_job(remote, owner, job.spec.compute or Compute(), seen.defaults.trainer_image),)


def cancelling_orphan(seen: SeenModelVersion) -> tuple[Manifest, ...]:
    """The same, where the TrainingJob was deleted while its version was made."""
    version = seen.version
    config, run = version.spec.config, version.spec.source.training_job
    uid = (version.metadata.labels or {}).get(labels.TRAINING_JOB_UID)
    if config is None or config.openai is None or version.status.artifact is not None or run is None or uid is None:
        return ()
    if not _remote(config.openai):
        return ()
    owner: Retriever | ModelVersion = seen.retriever or version
    remote = Remote(run, uid, config.openai.base_url, version.spec.secret_ref)
    return (hosted.cancel_job(remote, owner, Compute(), seen.defaults.trainer_image),)


def told(cancel: Sequence[Manifest]) -> tuple[Event, ...]:
    """What users hear of it."""
    return tuple(
        Event("Cancelling", f"Job {job['metadata']['name']} cancels what the API still trains for this run")
        for job in cancel
    )


def _remote(config: OpenAITraining) -> bool:
    return config.method == "fineTune"
