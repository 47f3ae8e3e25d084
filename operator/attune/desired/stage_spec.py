"""StageSpecs: what a TrainingJob or an import asks of a stage, resolved against its Retriever."""

import hashlib
import json

from attune.api import ModelVersion, Retriever, SecretReference, TrainingJob, TrainingSchedule, VersionStage
from attune.contract import (
    ArtifactRef,
    DataSpec,
    EvaluationConfig,
    EvaluationSource,
    HardNegatives,
    IndexSpec,
    IndexWork,
    JudgeSource,
    Layout,
    ModelType,
    OwnerRef,
    RetireWork,
    Stage,
    StageSpec,
    SyntheticSource,
    TrainingConfig,
)
from attune.desired import hosted
from attune.observation import SeenModelVersion, SeenTrainingJob

VERSION_PREFIX = "version:"
TRAINED = frozenset({VersionStage.STAGED, VersionStage.ACTIVE, VersionStage.DEPRECATED})


def layout(retriever: Retriever) -> Layout:
    return Layout(retriever.spec.storage.uri, retriever.metadata.namespace, retriever.metadata.name)


def base_model_of(retriever: Retriever, model_type: ModelType) -> str | None:
    """The Retriever's base model of this type; None where it has no such model."""
    if model_type is ModelType.EMBEDDING:
        return retriever.spec.embedding.base_model
    return retriever.spec.reranker.base_model if retriever.spec.reranker else None


def training_config(seen: SeenTrainingJob, retriever: Retriever) -> TrainingConfig:
    """Everything that determines the weights, with every default filled in."""
    spec = seen.job.spec
    openai = hosted.openai_training(seen)
    own = spec.base_model or _in_index(seen) or base_model_of(retriever, spec.type) or ""
    base = hosted.base_model_name(openai) if openai else own
    if base.startswith(VERSION_PREFIX) and seen.base_version is not None:
        base = seen.base_version.spec.artifact.uri
    hyper, embedding = spec.hyperparameters, retriever.spec.embedding
    return TrainingConfig(
        base_model=base,
        query_prompt=embedding.query_prompt or "",
        document_prompt=embedding.document_prompt or "",
        split_ratio=spec.validation.split_ratio,
        early_stopping_patience=spec.validation.early_stopping_patience,
        min_improvement=spec.validation.min_improvement,
        method=hyper.method,
        lora=hyper.lora,
        matryoshka_dimensions=hyper.matryoshka_dimensions,
        loss=hyper.loss,
        epochs=hyper.epochs,
        batch_size=hyper.batch_size,
        learning_rate=hyper.learning_rate,
        warmup_steps=hyper.warmup_steps,
        max_sequence_length=hyper.max_sequence_length,
        precision=hyper.precision,
        seed=hyper.seed,
        hard_negatives=hyper.hard_negatives,
        openai=openai,
    )


def _in_index(seen: SeenTrainingJob) -> str | None:
    """What queryOnly starts from, unless it is told: the active version, whose vectors are in the index that is to stay valid."""
    if (
        seen.job.spec.hyperparameters.method != "queryOnly"
        or seen.active is None
        or seen.active.status.artifact is None
    ):
        return None
    return seen.active.status.artifact.uri


def import_config(retriever: Retriever, version: ModelVersion) -> TrainingConfig:
    """The configuration of an imported model: nothing is trained, nothing is mined."""
    if version.spec.config is not None:
        return version.spec.config
    return TrainingConfig(
        base_model=version.spec.base_model,
        query_prompt=retriever.spec.embedding.query_prompt or "",
        document_prompt=retriever.spec.embedding.document_prompt or "",
        hard_negatives=HardNegatives(per_query=0),
    )


def min_examples(seen: SeenTrainingJob) -> int:
    asked = seen.job.spec.data_source.min_examples
    return seen.defaults.min_examples if asked is None else asked


def data_spec(seen: SeenTrainingJob, retriever: Retriever) -> DataSpec:
    """The Retriever's sources that this run uses: unset means used where defined, false means not used.

    The archive is the corpus in any case; `archive: false` leaves its titles out of the training pairs.
    """
    wanted, has = seen.job.spec.data_source, retriever.spec.data
    return DataSpec(
        archive=has.archive if has else None,
        titles=wanted.archive is not False,
        leads=wanted.leads,
        feedback=has.feedback if has and wanted.feedback is not False else None,
        synthetic=_synthetic(retriever) if wanted.synthetic else None,
        evaluation=_evaluation(retriever),
        min_examples=min_examples(seen),
    )


def _synthetic(retriever: Retriever) -> SyntheticSource | None:
    """The Retriever's language model and limits, without the Secret: its key comes as an environment variable."""
    asked = retriever.spec.data.synthetic if retriever.spec.data else None
    if asked is None:
        return None
    return SyntheticSource(
        base_url=asked.llm.base_url,
        model=asked.llm.model,
        questions_per_article=asked.questions_per_article,
        max_articles=asked.max_articles,
        max_cost_usd=asked.max_cost_usd,
        price=asked.price,
        concurrency=asked.concurrency,
    )


def stage_secrets(retriever: Retriever, spec: StageSpec) -> tuple[SecretReference | None, ...]:
    """Secrets of a stage: the store's for all, the language model's where its questions are asked for, the judge's where it judges."""
    asked = retriever.spec.data.synthetic if retriever.spec.data else None
    llm = asked.llm.secret_ref if asked is not None and spec.data.synthetic is not None else None
    return (retriever.spec.storage.secret_ref, llm, judge_secret(retriever, spec.stage))


def last_trained(seen: SeenTrainingJob) -> ArtifactRef | None:
    """The snapshot behind the newest version of this type that was trained to the end, by whomever; imports do not count.

    One that failed its gates counts, as its data was tried; one whose training failed does not.
    """
    trained = [v for v in seen.siblings if v.spec.source.training_job and v.status.dataset and _is_trained(v)]
    newest = max(trained, key=lambda v: v.spec.version, default=None)
    if newest is None or newest.status.dataset is None:
        return None
    dataset = newest.status.dataset
    return ArtifactRef(name=newest.metadata.name, uri=dataset.uri, digest=dataset.digest)


def _is_trained(version: ModelVersion) -> bool:
    stage = version.status.stage
    return stage in TRAINED or (stage is VersionStage.FAILED and version.status.artifact is not None)


def for_training(seen: SeenTrainingJob, retriever: Retriever, stage: Stage) -> StageSpec:
    """The spec of one stage of a TrainingJob; `train` and `evaluate` follow the configuration recorded in the version."""
    job = seen.job
    config = training_config(seen, retriever)
    if seen.version is not None and seen.version.spec.config is not None:
        config = seen.version.spec.config
    dataset, artifact = job.status.dataset, job.status.artifact
    return StageSpec(
        stage=stage,
        type=job.spec.type,
        owner=owner_of(job),
        retriever=job.spec.retriever,
        storage=retriever.spec.storage.uri,
        config=config,
        data=data_spec(seen, retriever) if stage is Stage.PREPARE else DataSpec(),
        dataset=ArtifactRef(name="dataset", uri=dataset.uri, digest=dataset.digest) if dataset else None,
        last_trained=last_trained(seen) if stage is Stage.PREPARE else None,
        model=_target(seen.version, artifact.digest if artifact else None),
        active=artifact_of(seen.active) if stage is Stage.EVALUATE else None,
        first_stage=artifact_of(seen.first_stage),
        evaluation=evaluation_config(job),
        judge=judge_of(retriever, stage),
    )


def for_import(seen: SeenModelVersion, retriever: Retriever, stage: Stage) -> StageSpec:
    """The spec of one stage of an import: a held-out set, the export, the evaluation.

    Where the version names the digest of its artifact, the artifact is there already: it is verified, never written.
    """
    version = seen.version
    dataset, artifact = version.status.dataset, version.status.artifact
    data = DataSpec(
        archive=retriever.spec.data.archive if retriever.spec.data else None,
        evaluation=_evaluation(retriever),
        min_examples=0,
    )
    return StageSpec(
        stage=stage,
        type=version.spec.type,
        owner=owner_of(version),
        retriever=version.spec.retriever,
        storage=retriever.spec.storage.uri,
        config=import_config(retriever, version),
        data=data if stage is Stage.PREPARE else DataSpec(),
        dataset=ArtifactRef(name="dataset", uri=dataset.uri, digest=dataset.digest) if dataset else None,
        model=_target(version, artifact.digest if artifact else version.spec.artifact.digest),
        active=artifact_of(seen.active) if stage is Stage.EVALUATE else None,
        first_stage=artifact_of(seen.first_stage) if stage is Stage.EVALUATE else None,
        judge=judge_of(retriever, stage),
    )


def evaluation_config(job: TrainingJob) -> EvaluationConfig:
    """How the candidate is measured; the limits that it must keep stay with the operator."""
    asked = job.spec.evaluation
    return EvaluationConfig(
        score_metric=asked.score_metric,
        k=asked.k,
        judged_queries=asked.judged_queries,
        general=asked.general,
        max_general_drop=asked.max_general_drop,
    )


def judge_of(retriever: Retriever, stage: Stage) -> JudgeSource | None:
    """The language model that an evaluation asks; no other stage needs one."""
    judge = retriever.spec.judge
    if judge is None or stage is not Stage.EVALUATE:
        return None
    return JudgeSource(url=str(judge.base_url), model=judge.model)


def judge_secret(retriever: Retriever, stage: Stage) -> SecretReference | None:
    """The Secret with the judge's key, for the Job that asks it."""
    judge = retriever.spec.judge
    return judge.secret_ref if judge is not None and stage is Stage.EVALUATE else None


def index_spec(retriever: Retriever) -> IndexSpec:
    """Where the collections are: spec.index, with the artifact store's own folder as the default place of LanceDB."""
    index = retriever.spec.index
    return IndexSpec(
        store=index.store, uri=index.uri or layout(retriever).index, distance=index.distance, hybrid=index.hybrid
    )


def place_of(retriever: Retriever) -> str:
    """Digest of where and how vectors are kept: a collection built elsewhere does not count."""
    index = index_spec(retriever).model_dump(mode="json", exclude={"hybrid"})
    return "sha256:" + hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def for_index(version: ModelVersion, retriever: Retriever, collection: str) -> StageSpec:
    """Bring the collection of a version up to date with the archive: the first build and every refresh alike."""
    return _upkeep(version, retriever, Stage.INDEX).model_copy(
        update={
            "data": DataSpec(archive=retriever.spec.data.archive if retriever.spec.data else None, min_examples=0),
            "model": artifact_of(version),
            "index": IndexWork(index=index_spec(retriever), collection=collection, shards=retriever.spec.index.shards),
        }
    )


def for_retirement(version: ModelVersion, retriever: Retriever, work: RetireWork) -> StageSpec:
    """Delete what a version that is not kept leaves behind."""
    return _upkeep(version, retriever, Stage.RETIRE).model_copy(update={"retire": work})


def _upkeep(version: ModelVersion, retriever: Retriever, stage: Stage) -> StageSpec:
    return StageSpec(
        stage=stage,
        type=version.spec.type,
        owner=owner_of(version),
        retriever=version.spec.retriever,
        storage=retriever.spec.storage.uri,
        config=import_config(retriever, version),
    )


def artifact_of(version: ModelVersion | None) -> ArtifactRef | None:
    """The verified artifact of a version; None where there is none to compare with."""
    if version is None or version.status.artifact is None:
        return None
    artifact = version.status.artifact
    return ArtifactRef(name=version.metadata.name, uri=artifact.uri, digest=artifact.digest)


def _target(version: ModelVersion | None, digest: str | None) -> ArtifactRef | None:
    if version is None:
        return None
    return ArtifactRef(name=version.metadata.name, uri=version.spec.artifact.uri, digest=digest)


def _evaluation(retriever: Retriever) -> EvaluationSource | None:
    return retriever.spec.data.evaluation if retriever.spec.data else None


def owner_of(thing: TrainingJob | ModelVersion | TrainingSchedule) -> OwnerRef:
    meta = thing.metadata
    return OwnerRef(kind=thing.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
