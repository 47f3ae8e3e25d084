"""Reasons for which a TrainingJob cannot run as it is written, or not yet. Lists of small functions over what was seen."""

from collections.abc import Callable
from datetime import UTC, datetime

from attune.api import ModelVersion, Retriever, conditions
from attune.contract import ModelType, TrainingConfig
from attune.decide import hosted
from attune.decide.gates import Problem
from attune.desired.stage_spec import VERSION_PREFIX, base_model_of, training_config
from attune.observation import SeenTrainingJob

Check = Callable[[SeenTrainingJob], Problem | None]


def fine_tuning_disabled(seen: SeenTrainingJob) -> Problem | None:
    if seen.defaults.finetune_enabled or seen.job.status.attempts:
        return None
    return Problem(
        "FineTuningDisabled", "the operator runs with FINETUNE_ENABLED=false; set it to true to start this job"
    )


def retriever_missing(seen: SeenTrainingJob) -> Problem | None:
    if seen.retriever is not None:
        return None
    name = seen.job.spec.retriever
    return Problem(
        "RetrieverNotFound", f"spec.retriever: no Retriever {name!r} in this namespace; apply it, or correct the name"
    )


def base_version_missing(seen: SeenTrainingJob) -> Problem | None:
    base = seen.job.spec.base_model or ""
    if not base.startswith(VERSION_PREFIX):
        return None
    name = base.removeprefix(VERSION_PREFIX)
    if seen.base_version is None:
        return Problem(
            "BaseVersionNotFound", f"spec.baseModel: no ModelVersion {name!r} in this namespace (`kubectl get mv`)"
        )
    if seen.base_version.status.artifact is None:
        return Problem("BaseVersionNotReady", f"spec.baseModel: ModelVersion {name!r} has no artifact yet")
    return None


def import_running(seen: SeenTrainingJob) -> Problem | None:
    """The version to compare with must exist before a candidate is measured against it."""
    retriever = seen.retriever
    if retriever is None or seen.active is not None or seen.job.status.attempts:
        return None
    if base_model_of(retriever, seen.job.spec.type) is None:
        return None
    return Problem(
        "WaitingForImport",
        f"version 1 of Retriever {retriever.metadata.name!r} ({base_model_of(retriever, seen.job.spec.type)}) is not active yet; "
        "`kubectl get mv` shows its import",
    )


def first_stage_missing(seen: SeenTrainingJob) -> Problem | None:
    """A reranker learns from, and is measured on, what the embedding model finds."""
    if seen.job.spec.type is not ModelType.RERANKER or seen.first_stage is not None or seen.job.status.attempts:
        return None
    if seen.retriever is None or base_model_of(seen.retriever, ModelType.RERANKER) is None:
        return None
    return Problem(
        "WaitingForEmbedding",
        f"Retriever {seen.job.spec.retriever!r} has no active embedding version yet, whose candidates a reranker orders; "
        "`kubectl get mv` shows its import",
    )


WAITS: tuple[Check, ...] = (
    fine_tuning_disabled,
    retriever_missing,
    base_version_missing,
    import_running,
    first_stage_missing,
)


def no_such_model(seen: SeenTrainingJob) -> Problem | None:
    retriever, kind = seen.retriever, seen.job.spec.type
    if retriever is None or base_model_of(retriever, kind) is not None:
        return None
    return Problem(
        "ModelNotDefined",
        f"spec.type: {kind.value}, but Retriever {retriever.metadata.name!r} has no spec.{kind.value}; "
        f"add spec.{kind.value}.baseModel there",
    )


def source_not_defined(seen: SeenTrainingJob) -> Problem | None:
    if seen.retriever is None:
        return None
    wanted, has = seen.job.spec.data_source, seen.retriever.spec.data
    for name in ("archive", "feedback", "synthetic"):
        if getattr(wanted, name) is True and getattr(has, name, None) is None:
            return Problem(
                "SourceNotDefined",
                f"spec.dataSource.{name}: true, but Retriever {seen.retriever.metadata.name!r} has no spec.data.{name}; define it there, "
                f"or leave dataSource.{name} out",
            )
    return None


def no_source(seen: SeenTrainingJob) -> Problem | None:
    if seen.retriever is None:
        return None
    wanted, has = seen.job.spec.data_source, seen.retriever.spec.data
    used = {name: getattr(has, name, None) is not None for name in ("archive", "feedback", "synthetic")}
    if any(used[name] and getattr(wanted, name) is not False for name in used):
        return None
    return Problem(
        "NoDataSource",
        f"no data to train on: Retriever {seen.retriever.metadata.name!r} defines none of spec.data.archive, feedback and synthetic "
        "that spec.dataSource leaves in use",
    )


def not_in_this_release(seen: SeenTrainingJob) -> Problem | None:
    spec = seen.job.spec
    unavailable = {
        f"spec.compute.engine: {spec.compute.engine}": spec.compute.engine != "Job",
    }
    asked = [field for field, is_asked in unavailable.items() if is_asked]
    if not asked:
        return None
    return Problem(
        "NotAvailable",
        f"{', '.join(asked)}: not available in this release; it trains in Jobs",
    )


REFUSALS: tuple[Check, ...] = (
    hosted.provider_mismatch,
    hosted.more_than_one_process,
    hosted.base_without_weights,
    not_in_this_release,
    no_such_model,
    source_not_defined,
    no_source,
)

LOSS_OF = {ModelType.EMBEDDING: "multipleNegativesRanking", ModelType.RERANKER: "bce"}
"""What an unset loss means (TrainingConfig.loss): said or not, it is the same training."""


def rolled_back_twin(seen: SeenTrainingJob) -> str | None:
    """Which version of the same data and configuration was taken back, when and why. Known once the data is prepared."""
    dataset, retriever = seen.job.status.dataset, seen.retriever
    if dataset is None or retriever is None:
        return None
    config = _spelt_out(training_config(seen, retriever), seen.job.spec.type)
    twins = [v for v in seen.siblings if _trained_on(v, dataset.digest) and _config_of(v) == config]
    back = [(*told, v.metadata.name) for v in twins if (told := _taken_back(v, retriever)) is not None]
    if not back:
        return None
    at, cause, name = max(back)
    return (
        f"{name}, trained with the same configuration on the same data ({dataset.examples} pairs, {dataset.digest[:19]}), "
        f"was taken back on {at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC: {cause.rstrip('.')}"
    )


def _trained_on(version: ModelVersion, digest: str) -> bool:
    return version.status.dataset is not None and version.status.dataset.digest == digest


def _config_of(version: ModelVersion) -> TrainingConfig | None:
    config = version.spec.config
    return _spelt_out(config, version.spec.type) if config is not None else None


def _spelt_out(config: TrainingConfig, model_type: ModelType) -> TrainingConfig:
    return config.model_copy(update={"loss": config.loss or LOSS_OF[model_type]})


def _taken_back(version: ModelVersion, retriever: Retriever) -> tuple[datetime, str] | None:
    """When and why, by its condition or, while that is to follow, by the quarantine; None once it was promoted again."""
    name, pointer = version.metadata.name, retriever.status.of(version.spec.type)
    if pointer is not None and pointer.active == name:
        return None
    told = conditions.get(version.status.conditions, "RolledBack")
    if told is not None and told.status == "True":
        return told.last_transition_time, told.message
    entry = next((q for q in retriever.status.quarantined or () if q.version == name), None)
    return (entry.at, entry.cause) if entry is not None else None


def rolled_back_before(seen: SeenTrainingJob) -> Problem | None:
    """The same training makes the same version, and that one broke."""
    twin = rolled_back_twin(seen)
    if twin is None or seen.job.spec.force:
        return None
    return Problem(
        "RolledBackBefore",
        f"{twin}. Create a TrainingJob with other data or another configuration (hyperparameters.seed is part of it), "
        "or with spec.force: true to train it all the same",
    )


BEFORE_TRAINING: tuple[Check, ...] = (rolled_back_before,)
"""Asked once the data is prepared, before a version number is reserved."""


def first(checks: tuple[Check, ...], seen: SeenTrainingJob) -> Problem | None:
    """The first check that finds a problem."""
    return next((problem for check in checks if (problem := check(seen))), None)
