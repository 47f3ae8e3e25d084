"""Malformed manifests against a real API server: each is refused with a message that names field, value and remedy.

`pytest tests/cluster/test_api_malformed.py -s` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from api_objects import REMOVE, ApiServer, Refusal, manifest

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Bad:
    """One wrong manifest: what is changed in the valid one, the field that must be named, words that must be said."""

    name: str
    kind: str
    change: dict[str, Any]
    field: str
    words: tuple[str, ...]
    before: dict[str, Any] | None = None
    """Set for updates: the manifest that is stored first."""


def bad(name: str, kind: str, change: dict[str, Any], at: str, *words: str) -> Bad:
    return Bad(name, kind, change, at, words)


def update(name: str, kind: str, before: dict[str, Any], change: dict[str, Any], at: str, *words: str) -> Bad:
    return Bad(name, kind, change, at, words, before)


R, T, V, A, S = "Retriever", "TrainingJob", "ModelVersion", "ABTest", "TrainingSchedule"
LONG = "a-retriever-whose-name-goes-on-until-it-is-too-long-x"
SUCCESS = {"name": "answerAccepted", "role": "success"}
PRIMARY = {"name": "clickThrough", "role": "primary"}
GUARDRAIL = {"name": "latencyP99", "role": "guardrail"}
RERANKER = {"spec.type": "reranker"}
EXPERIMENT = {"metrics": [PRIMARY]}

RETRIEVERS = (
    bad("no spec", R, {"spec": REMOVE}, "spec", "Required value"),
    bad("no embedding", R, {"spec.embedding": REMOVE}, "spec.embedding", "Required value"),
    bad("no storage", R, {"spec.storage": REMOVE}, "spec.storage", "Required value"),
    bad("name too long", R, {"metadata.name": LONG}, "metadata.name", LONG, "at most 52"),
    bad("name begins with a digit", R, {"metadata.name": "7news"}, "metadata.name", "7news", "the first a letter"),
    bad("name with a dot", R, {"metadata.name": "news.eu"}, "metadata.name", "news.eu", "letters, digits and hyphens"),
    bad("base model with a space", R, {"spec.embedding.baseModel": "bge small"}, "spec.embedding.baseModel", "bge small", "hub id"),
    bad("base model over http", R, {"spec.embedding.baseModel": "https://hf.co/BAAI/bge"}, "spec.embedding.baseModel", "https://hf.co", "s3://"),
    bad("base model a relative file", R, {"spec.embedding.baseModel": "file://models/bge"}, "spec.embedding.baseModel", "file://models", "file:///path"),
    bad("base model a version", R, {"spec.embedding.baseModel": "version:emb-v1"}, "spec.embedding.baseModel", "version:emb-v1", "hub id"),
    bad("empty reranker", R, {"spec.reranker": {}}, "spec.reranker.baseModel", "Required value"),
    bad("storage on ftp", R, {"spec.storage.uri": "ftp://host/models"}, "spec.storage.uri", "ftp://host/models", "pvc://claim/path"),
    bad("storage a bare path", R, {"spec.storage.uri": "/models"}, "spec.storage.uri", '"/models"', "file:///path"),
    bad("storage without a bucket", R, {"spec.storage.uri": "s3:///models"}, "spec.storage.uri", "s3:///models", "s3://bucket/path"),
    bad("claim name in capitals", R, {"spec.storage.uri": "pvc://Store/x"}, "spec.storage.uri", "pvc://Store/x", "pvc://claim/path"),
    bad("storage leaves the volume", R, {"spec.storage.uri": "pvc://store/../../etc"}, "spec.storage.uri", "..", "without it"),
    bad("secret with a capital", R, {"spec.storage.secretRef": {"name": "S3_KEYS"}}, "spec.storage.secretRef.name", "S3_KEYS", "lower-case"),
    bad("archive over https", R, {"spec.data.archive.uri": "https://host/a.jsonl"}, "spec.data.archive.uri", "https://host", "gs://bucket"),
    bad("archive as xml", R, {"spec.data.archive.format": "xml"}, "spec.data.archive.format", "xml", "jsonl", "parquet"),
    bad("archive without uri", R, {"spec.data.archive": {"format": "csv"}}, "spec.data.archive.uri", "Required value"),
    bad("empty column name", R, {"spec.data.archive.fields.title": ""}, "spec.data.archive.fields.title", "at least 1 chars"),
    bad("password in feedback uri", R, {"spec.data.feedback.uri": "https://me:pw@host/f"}, "spec.data.feedback.uri", "password", "secretRef"),
    bad("rating in words", R, {"spec.data.feedback": {"uri": "pvc://d/f", "positiveRating": "good"}}, "spec.data.feedback.positiveRating", "number"),
    bad(
        "questions without articles",
        R,
        {"spec.data": {"synthetic": {"llm": {"baseURL": "http://vllm:8000/v1", "model": "q"}}}},
        "spec.data.synthetic",
        "define data.archive",
    ),
    bad(
        "a thousand questions an article",
        R,
        {"spec.data.synthetic": {"llm": {"baseURL": "http://vllm/v1", "model": "q"}, "questionsPerArticle": 1000}},
        "spec.data.synthetic.questionsPerArticle",
        "1000",
        "less than or equal to 20",
    ),
    bad("qdrant without uri", R, {"spec.index": {"store": "qdrant"}}, "spec.index.uri", "http://host:6333"),
    bad("pgvector with http", R, {"spec.index": {"store": "pgvector", "uri": "http://db"}}, "spec.index.uri", "http://db", "postgresql://"),
    bad("password in index uri", R, {"spec.index": {"store": "pgvector", "uri": "postgresql://u:p@db/x"}}, "spec.index.uri", "secretRef"),
    bad("unknown store", R, {"spec.index.store": "milvus"}, "spec.index.store", "milvus", "lancedb", "pgvector", "qdrant"),
    bad("minus one replica", R, {"spec.serving.replicas": -1}, "spec.serving.replicas", "-1", "greater than or equal to 0"),
    bad("memory in words", R, {"spec.serving.resources.limits": {"memory": "2 gigs"}}, "spec.serving.resources.limits[memory]", "2 gigs", "4Gi"),
    bad("judge without a scheme", R, {"spec.judge": {"baseURL": "api.openai.com", "model": "m"}}, "spec.judge.baseURL", "api.openai.com", "https://host"),
    bad("judge without a model", R, {"spec.judge": {"baseURL": "https://api.openai.com/v1"}}, "spec.judge.model", "Required value"),
    bad("window in days", R, {"spec.rollback.window": "1d"}, "spec.rollback.window", '"1d"', "no days"),
    bad("window without a unit", R, {"spec.rollback.window": "900"}, "spec.rollback.window", '"900"', "15m"),
    bad("window too long", R, {"spec.rollback.window": "48h"}, "spec.rollback.window", '"48h"', "1m to 24h"),
    bad("multiplier of one", R, {"spec.rollback.errorRateMultiplier": 1}, "spec.rollback.errorRateMultiplier", "greater than 1"),
    bad("error rate in percent", R, {"spec.rollback.minErrorRate": 5}, "spec.rollback.minErrorRate", "5", "less than or equal to 1"),
    bad("rollback that nothing triggers", R, {"spec.rollback.inlineGuard": False}, "spec.rollback.inlineGuard", "nothing watches", "prometheus.url"),
    bad("no version kept", R, {"spec.history.keepVersions": 0}, "spec.history.keepVersions", "greater than or equal to 1"),
)

TRAINING_JOBS = (
    bad("no retriever", T, {"spec.retriever": REMOVE}, "spec.retriever", "Required value"),
    bad("no type", T, {"spec.type": REMOVE}, "spec.type", "Required value"),
    bad("retriever in capitals", T, {"spec.retriever": "News"}, "spec.retriever", '"News"', "lower-case"),
    bad("unknown type", T, {"spec.type": "llm"}, "spec.type", "llm", "embedding", "reranker"),
    bad("unknown provider", T, {"spec.provider": "azure"}, "spec.provider", "azure", "local", "openai"),
    bad("rerankers at openai", T, {**RERANKER, "spec.provider": "openai"}, "spec.provider", "provider: local"),
    bad("version without a name", T, {"spec.baseModel": "version:"}, "spec.baseModel", '"version:"', "version:NAME"),
    bad(
        "nothing to train on",
        T,
        {"spec.dataSource": {"archive": False, "feedback": False}},
        "spec.dataSource",
        "nothing is left to train on",
        "set one of",
    ),
    bad("no examples needed", T, {"spec.dataSource.minExamples": 0}, "spec.dataSource.minExamples", "greater than or equal to 1"),
    bad("archive as a word", T, {"spec.dataSource.archive": "yes"}, "spec.dataSource.archive", "boolean"),
    bad("half an epoch", T, {"spec.hyperparameters.epochs": 0.5}, "spec.hyperparameters.epochs", "integer"),
    bad("no epochs", T, {"spec.hyperparameters.epochs": 0}, "spec.hyperparameters.epochs", "greater than or equal to 1"),
    bad("batch of one", T, {"spec.hyperparameters.batchSize": 1}, "spec.hyperparameters.batchSize", "greater than or equal to 2"),
    bad("learning rate of zero", T, {"spec.hyperparameters.learningRate": 0}, "spec.hyperparameters.learningRate", "greater than 0"),
    bad("learning rate as text", T, {"spec.hyperparameters.learningRate": "2e-5"}, "spec.hyperparameters.learningRate", "number"),
    bad("negative seed", T, {"spec.hyperparameters.seed": -1}, "spec.hyperparameters.seed", "-1", "greater than or equal to 0"),
    bad("margin above one", T, {"spec.hyperparameters.hardNegatives.relativeMargin": 1.2}, "relativeMargin", "1.2", "less than or equal to 1"),
    bad("reranker's loss for an embedding", T, {"spec.hyperparameters.loss": "bce"}, "spec.hyperparameters.loss", "bce", "guided"),
    bad("embedding's loss for a reranker", T, {**RERANKER, "spec.hyperparameters.loss": "guided"}, "spec.hyperparameters.loss", "listwise"),
    bad("query-only reranker", T, {**RERANKER, "spec.hyperparameters.method": "queryOnly"}, "spec.hyperparameters.method", "full or lora"),
    bad("nothing held out", T, {"spec.validation.splitRatio": 1}, "spec.validation.splitRatio", "less than 1"),
    bad("threshold in percent", T, {"spec.evalThreshold": 85}, "spec.evalThreshold", "85", "less than or equal to 1"),
    bad("unknown metric", T, {"spec.evaluation.scoreMetric": "ndcg"}, "spec.evaluation.scoreMetric", "ndcg", "ndcgAt10"),
    bad("test without its rules", T, {"spec.promotion.strategy": "ABTest"}, "spec.promotion.abTest", "needs abTest"),
    bad("rules without a test", T, {"spec.promotion.abTest": EXPERIMENT}, "spec.promotion.abTest", "use strategy ABTest"),
    bad("no nodes", T, {"spec.compute.nodes": 0}, "spec.compute.nodes", "greater than or equal to 1"),
    bad("toleration of nothing", T, {"spec.compute.tolerations": [{"value": "x"}]}, "spec.compute.tolerations[0].key", "add key"),
    bad("suspend as a word", T, {"spec.suspend": "no"}, "spec.suspend", "boolean"),
    bad("negative retries", T, {"spec.backoffLimit": -1}, "spec.backoffLimit", "-1", "greater than or equal to 0"),
    bad("deadline of zero", T, {"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds", "greater than or equal to 1"),
)

MODEL_VERSIONS = (
    bad("version zero", V, {"spec.version": 0}, "spec.version", "greater than or equal to 1"),
    bad("two sources", V, {"spec.source.import": "BAAI/bge"}, "spec.source", "either trainingJob", "or import"),
    bad("no source", V, {"spec.source": {}}, "spec.source", "either trainingJob", "or import"),
    bad("trained without config", V, {"spec.config": REMOVE}, "spec.config", "give config"),
    bad("artifact over http", V, {"spec.artifact.uri": "http://host/m"}, "spec.artifact.uri", "http://host/m", "s3://bucket"),
    bad("short digest", V, {"spec.artifact.digest": "sha256:abc"}, "spec.artifact.digest", "sha256:abc", "64 hexadecimal digits"),
    bad("epochs out of bounds in config", V, {"spec.config.epochs": 1000}, "spec.config.epochs", "less than or equal to 100"),
    bad("empty request", V, {"spec.promotion.requestID": ""}, "spec.promotion.requestID", "at least 1 chars"),
)

AB_TESTS = (
    bad("no metrics", A, {"spec.metrics": REMOVE}, "spec.metrics", "Required value"),
    bad("empty metrics", A, {"spec.metrics": []}, "spec.metrics", "at least 1 items"),
    bad("no primary metric", A, {"spec.metrics": [SUCCESS]}, "spec.metrics", "exactly one metric must have role primary"),
    bad("two primary metrics", A, {"spec.metrics": [PRIMARY, {**PRIMARY, "name": "x"}]}, "spec.metrics", "exactly one metric"),
    bad("the same metric twice", A, {"spec.metrics": [PRIMARY, {**SUCCESS, "name": "clickThrough"}]}, "spec.metrics[1]", "clickThrough"),
    bad("guardrail without a margin", A, {"spec.metrics": [PRIMARY, GUARDRAIL]}, "spec.metrics[1].nonInferiorityMargin", "e.g. 0.02"),
    bad("margin without a guardrail", A, {"spec.metrics.0.nonInferiorityMargin": 0.1}, "nonInferiorityMargin", "role: guardrail"),
    bad("all traffic to B", A, {"spec.trafficSplit": 1}, "spec.trafficSplit", "less than 1"),
    bad("split in percent", A, {"spec.trafficSplit": "20%"}, "spec.trafficSplit", "number"),
    bad("A is B", A, {"spec.modelA": "emb-v2-20260315"}, "spec.modelB", "same version", "leave modelA out"),
    bad("a year", A, {"spec.maxDuration": "8760h"}, "spec.maxDuration", '"8760h"', "2160h"),
    bad("alpha of zero", A, {"spec.analysis.alpha": 0}, "spec.analysis.alpha", "greater than 0"),
    bad("unknown method", A, {"spec.analysis.method": "bayesian"}, "spec.analysis.method", "bayesian", "sequential"),
    bad("interval below a second", A, {"spec.analysis.interval": "500ms"}, "spec.analysis.interval", '"500ms"', "from 10s"),
)

SCHEDULES = (
    bad("no template", S, {"spec.template": REMOVE}, "spec.template", "Required value"),
    bad("template without type", S, {"spec.template": {}}, "spec.template.type", "Required value"),
    bad("minute 61", S, {"spec.training.schedule": "61 2 1 * *"}, "spec.training.schedule", "61 2 1", "minute hour"),
    bad("four fields", S, {"spec.training.schedule": "0 2 1 *"}, "spec.training.schedule", "0 2 1 *", "@weekly"),
    bad("schedule in words", S, {"spec.dataPreparation.schedule": "every sunday"}, "spec.dataPreparation.schedule", "every sunday"),
    bad("unknown time zone", S, {"spec.timeZone": "Mars/Phobos"}, "spec.timeZone", "Mars/Phobos", "Europe/Berlin"),
    bad("replace what runs", S, {"spec.concurrencyPolicy": "Replace"}, "spec.concurrencyPolicy", "Replace", "Forbid"),
    bad("bad job in the template", S, {"spec.template.hyperparameters.loss": "bce"}, "spec.template.hyperparameters.loss", "guided"),
    bad("negative history", S, {"spec.historyLimit": -1}, "spec.historyLimit", "-1", "greater than or equal to 0"),
)

UPDATES = (
    update("another type", T, {}, RERANKER, "spec.type", "immutable", "create another TrainingJob"),
    update("another retriever", T, {}, {"spec.retriever": "other"}, "spec.retriever", "immutable"),
    update("other hyperparameters", T, {}, {"spec.hyperparameters.epochs": 5}, "spec.hyperparameters", "immutable"),
    update("a base model later", T, {}, {"spec.baseModel": "BAAI/bge"}, "spec.baseModel", "immutable"),
    update("a base model no more", T, {"spec.baseModel": "BAAI/bge"}, {"spec.baseModel": REMOVE}, "spec.baseModel", "immutable"),
    update("a lower threshold", T, {}, {"spec.evalThreshold": 0.1}, "spec.evalThreshold", "immutable"),
    update("another source", T, {}, {"spec.dataSource.feedback": False}, "spec.dataSource", "immutable"),
    update("another number", V, {}, {"spec.version": 3}, "spec.version", "immutable", "create another ModelVersion"),
    update("another artifact", V, {}, {"spec.artifact.digest": "sha256:" + "1" * 64}, "spec.artifact", "immutable"),
    update("another config", V, {}, {"spec.config.seed": 7}, "spec.config", "immutable"),
    update("a lower split", A, {"spec.trafficSplit": 0.5}, {"spec.trafficSplit": 0.4}, "spec.trafficSplit", "only be raised", "cancel"),
    update("other metrics", A, {}, {"spec.metrics.0.direction": "decrease"}, "spec.metrics", "immutable", "another ABTest"),
    update("another B", A, {}, {"spec.modelB": "emb-v3-20260401"}, "spec.modelB", "immutable"),
    update("fewer samples", A, {}, {"spec.minSamples": 10}, "spec.minSamples", "immutable"),
    update("another alpha", A, {}, {"spec.analysis.alpha": 0.2}, "spec.analysis", "immutable"),
    update("uncancelled", A, {"spec.cancel": True}, {"spec.cancel": False}, "spec.cancel", "stays so"),
    update("a schedule's other retriever", S, {}, {"spec.retriever": "other"}, "spec.retriever", "immutable"),
)

CREATED = (*RETRIEVERS, *TRAINING_JOBS, *MODEL_VERSIONS, *AB_TESTS, *SCHEDULES)


@pytest.fixture
def api(kubeconfig: str, namespace: str) -> ApiServer:
    server = ApiServer(kubeconfig, namespace)
    server.install_crds()
    return server


def assert_refused(answer: Any, row: Bad) -> None:
    assert isinstance(answer, Refusal), f"{row.name}: accepted"
    assert answer.code == 422, answer.message
    about = [message for at, message in answer.causes if at.endswith(row.field)]
    assert about, f"{row.name}: no complaint about {row.field}, but {answer.causes}"
    for word in row.words:
        assert any(word in message for message in about), f"{row.name}: {word!r} is not said in {about}"
    print(f"{row.kind:17}{row.name:34}{row.field}: {about[0]}")


def test_every_malformed_manifest_is_refused_by_field_value_and_remedy(api: ApiServer) -> None:
    assert len(CREATED) >= 45
    print()
    for row in CREATED:
        change = dict(row.change)
        name = change.pop("metadata.name", "example")
        assert_refused(api.create(manifest(row.kind, change, name)), row)


def test_every_forbidden_change_is_refused_by_field_and_remedy(api: ApiServer) -> None:
    print()
    for number, row in enumerate(UPDATES):
        name = f"u{number}"
        stored = api.apply(manifest(row.kind, row.before, name))
        assert not isinstance(stored, Refusal), stored
        assert_refused(api.apply(manifest(row.kind, {**(row.before or {}), **row.change}, name)), row)


def test_names_of_rows_are_unique() -> None:
    names = [(row.kind, row.name) for row in (*CREATED, *UPDATES)]
    assert len(set(names)) == len(names)
