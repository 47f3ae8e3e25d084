"""Malformed manifests against a real API server: each is refused with a message that names field, value and remedy.

`pytest tests/cluster/test_api_malformed.py -s` prints the table.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
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


def bad(name: str, kind: str, change: dict[str, Any], *words: str, at: str = "") -> Bad:
    """`at` is the field that must be named; the one that is changed, unless it is another."""
    return Bad(name, kind, change, at or next(iter(change)), words)


def update(name: str, kind: str, before: dict[str, Any], change: dict[str, Any], *words: str, at: str = "") -> Bad:
    return Bad(name, kind, change, at or next(iter(change)), words, before)


R, T, V, A, S = "Retriever", "TrainingJob", "ModelVersion", "ABTest", "TrainingSchedule"
LONG = "a-retriever-whose-name-goes-on-until-it-is-too-long-x"
SUCCESS = {"name": "answerAccepted", "role": "success"}
PRIMARY = {"name": "clickThrough", "role": "primary"}
GUARDRAIL = {"name": "latencyP99", "role": "guardrail"}
RERANKER = {"spec.type": "reranker"}
EXPERIMENT = {"metrics": [PRIMARY]}

RETRIEVERS = (
    bad("no spec", R, {"spec": REMOVE}, "Required value"),
    bad("no embedding", R, {"spec.embedding": REMOVE}, "Required value"),
    bad("no storage", R, {"spec.storage": REMOVE}, "Required value"),
    bad("name too long", R, {"metadata.name": LONG}, LONG, "at most 52"),
    bad("name begins with a digit", R, {"metadata.name": "7news"}, "7news", "the first a letter"),
    bad("name with a dot", R, {"metadata.name": "news.eu"}, "news.eu", "letters, digits and hyphens"),
    bad("base model with a space", R, {"spec.embedding.baseModel": "bge small"}, "bge small", "hub id"),
    bad("base model over http", R, {"spec.embedding.baseModel": "https://hf.co/BAAI/bge"}, "https://hf.co", "s3://"),
    bad(
        "base model a relative file",
        R,
        {"spec.embedding.baseModel": "file://models/bge"},
        "file://models",
        "file:///path",
    ),
    bad("base model a version", R, {"spec.embedding.baseModel": "version:emb-v1"}, "version:emb-v1", "hub id"),
    bad("empty reranker", R, {"spec.reranker": {}}, "Required value", at="spec.reranker.baseModel"),
    bad("storage on ftp", R, {"spec.storage.uri": "ftp://host/models"}, "ftp://host/models", "pvc://claim/path"),
    bad("storage a bare path", R, {"spec.storage.uri": "/models"}, '"/models"', "file:///path"),
    bad("storage without a bucket", R, {"spec.storage.uri": "s3:///models"}, "s3:///models", "s3://bucket/path"),
    bad("claim name in capitals", R, {"spec.storage.uri": "pvc://Store/x"}, "pvc://Store/x", "pvc://claim/path"),
    bad("storage leaves the volume", R, {"spec.storage.uri": "pvc://store/../../etc"}, "..", "without it"),
    bad(
        "secret with a capital",
        R,
        {"spec.storage.secretRef": {"name": "S3_KEYS"}},
        "S3_KEYS",
        "lower-case",
        at="spec.storage.secretRef.name",
    ),
    bad(
        "archive over ftp", R, {"spec.data.archive.uri": "ftp://host/a.jsonl"}, "ftp://host", "gs://bucket", "https://"
    ),
    bad("password in archive uri", R, {"spec.data.archive.uri": "https://me:pw@host/a"}, "password", "secretRef"),
    bad("archive as xml", R, {"spec.data.archive.format": "xml"}, "xml", "jsonl", "parquet"),
    bad(
        "archive without uri", R, {"spec.data.archive": {"format": "csv"}}, "Required value", at="spec.data.archive.uri"
    ),
    bad("empty column name", R, {"spec.data.archive.fields.title": ""}, "at least 1 chars"),
    bad("password in feedback uri", R, {"spec.data.feedback.uri": "https://me:pw@host/f"}, "password", "secretRef"),
    bad(
        "rating in words",
        R,
        {"spec.data.feedback": {"uri": "pvc://d/f", "positiveRating": "good"}},
        "number",
        at="spec.data.feedback.positiveRating",
    ),
    bad(
        "a negative rating above the positive one",
        R,
        {"spec.data.feedback": {"uri": "pvc://d/f", "negativeRating": 4}},
        "must be below positiveRating",
        at="spec.data.feedback.negativeRating",
    ),
    bad(
        "a highest rating that is not positive",
        R,
        {"spec.data.feedback": {"uri": "pvc://d/f", "maxRating": 1}},
        "no rating can be positive",
        at="spec.data.feedback.maxRating",
    ),
    bad(
        "a lowest rating that is positive",
        R,
        {"spec.data.feedback": {"uri": "pvc://d/f", "minRating": 5}},
        "no rating is left to be negative",
        at="spec.data.feedback.minRating",
    ),
    bad(
        "a limit of cost without a price",
        R,
        {"spec.data.synthetic": {"llm": {"baseURL": "http://vllm/v1", "model": "q"}, "maxCostUSD": 5}},
        "inputPerMillionUSD",
        "maxArticles",
        at="spec.data.synthetic.price",
    ),
    bad(
        "questions without articles",
        R,
        {"spec.data": {"synthetic": {"llm": {"baseURL": "http://vllm:8000/v1", "model": "q"}}}},
        "define data.archive",
        at="spec.data.synthetic",
    ),
    bad(
        "a thousand questions an article",
        R,
        {"spec.data.synthetic": {"llm": {"baseURL": "http://vllm/v1", "model": "q"}, "questionsPerArticle": 1000}},
        "1000",
        "less than or equal to 20",
        at="spec.data.synthetic.questionsPerArticle",
    ),
    bad("qdrant without uri", R, {"spec.index": {"store": "qdrant"}}, "http://host:6333", at="spec.index.uri"),
    bad(
        "pgvector with http",
        R,
        {"spec.index": {"store": "pgvector", "uri": "http://db"}},
        "http://db",
        "postgresql://",
        at="spec.index.uri",
    ),
    bad(
        "password in index uri",
        R,
        {"spec.index": {"store": "pgvector", "uri": "postgresql://u:p@db/x"}},
        "secretRef",
        at="spec.index.uri",
    ),
    bad("unknown store", R, {"spec.index.store": "milvus"}, "milvus", "lancedb", "pgvector", "qdrant"),
    bad("minus one replica", R, {"spec.serving.replicas": -1}, "-1", "greater than or equal to 0"),
    bad(
        "memory in words",
        R,
        {"spec.serving.resources.limits": {"memory": "2 gigs"}},
        "2 gigs",
        "4Gi",
        at="spec.serving.resources.limits[memory]",
    ),
    bad(
        "judge without a scheme",
        R,
        {"spec.judge": {"baseURL": "api.openai.com", "model": "m"}},
        "api.openai.com",
        "https://host",
        at="spec.judge.baseURL",
    ),
    bad(
        "judge without a model",
        R,
        {"spec.judge": {"baseURL": "https://api.openai.com/v1"}},
        "Required value",
        at="spec.judge.model",
    ),
    bad("window in days", R, {"spec.rollback.window": "1d"}, '"1d"', "no days"),
    bad("window without a unit", R, {"spec.rollback.window": "900"}, '"900"', "15m"),
    bad("window too long", R, {"spec.rollback.window": "48h"}, '"48h"', "1m to 24h"),
    bad("multiplier of one", R, {"spec.rollback.errorRateMultiplier": 1}, "greater than 1"),
    bad("error rate in percent", R, {"spec.rollback.minErrorRate": 5}, "5", "less than or equal to 1"),
    bad("rollback that nothing triggers", R, {"spec.rollback.inlineGuard": False}, "nothing watches", "prometheus.url"),
    bad("no version kept", R, {"spec.history.keepVersions": 0}, "greater than or equal to 1"),
)

TRAINING_JOBS = (
    bad("no retriever", T, {"spec.retriever": REMOVE}, "Required value"),
    bad("no type", T, {"spec.type": REMOVE}, "Required value"),
    bad("retriever in capitals", T, {"spec.retriever": "News"}, '"News"', "lower-case"),
    bad("unknown type", T, {"spec.type": "llm"}, "llm", "embedding", "reranker"),
    bad("unknown provider", T, {"spec.provider": "azure"}, "azure", "local", "openai"),
    bad("rerankers at openai", T, {**RERANKER, "spec.provider": "openai"}, "provider: local", at="spec.provider"),
    bad("openai of a local job", T, {"spec.openai": {}, "spec.provider": "local"}, "set provider: openai"),
    bad(
        "a base model at openai",
        T,
        {"spec.baseModel": "BAAI/bge", "spec.provider": "openai"},
        "openai.model",
        "remove baseModel",
    ),
    bad(
        "a method of local training at openai",
        T,
        {"spec.hyperparameters": {"method": "lora"}, "spec.provider": "openai"},
        "openai.method",
        at="spec.hyperparameters.method",
    ),
    bad(
        "one side of a fine-tuned model",
        T,
        {"spec.openai": {"method": "fineTune", "side": "query"}},
        "use method adapter",
        at="spec.openai.side",
    ),
    bad(
        "a key in the address",
        T,
        {"spec.openai": {"baseURL": "https://me:key@host/v1"}},
        "secretRef",
        at="spec.openai.baseURL",
    ),
    bad("version without a name", T, {"spec.baseModel": "version:"}, '"version:"', "version:NAME"),
    bad(
        "nothing to train on",
        T,
        {"spec.dataSource": {"archive": False, "feedback": False}},
        "nothing is left to train on",
        "set one of",
    ),
    bad("no examples needed", T, {"spec.dataSource.minExamples": 0}, "greater than or equal to 1"),
    bad("archive as a word", T, {"spec.dataSource.archive": "yes"}, "boolean"),
    bad("half an epoch", T, {"spec.hyperparameters.epochs": 0.5}, "integer"),
    bad("no epochs", T, {"spec.hyperparameters.epochs": 0}, "greater than or equal to 1"),
    bad("batch of one", T, {"spec.hyperparameters.batchSize": 1}, "greater than or equal to 2"),
    bad("learning rate of zero", T, {"spec.hyperparameters.learningRate": 0}, "greater than 0"),
    bad("learning rate as text", T, {"spec.hyperparameters.learningRate": "2e-5"}, "number"),
    bad("negative seed", T, {"spec.hyperparameters.seed": -1}, "-1", "greater than or equal to 0"),
    bad(
        "margin above one",
        T,
        {"spec.hyperparameters.hardNegatives.relativeMargin": 1.2},
        "1.2",
        "less than or equal to 1",
        at="relativeMargin",
    ),
    bad("reranker's loss for an embedding", T, {"spec.hyperparameters.loss": "bce"}, "bce", "guided"),
    bad(
        "embedding's loss for a reranker",
        T,
        {**RERANKER, "spec.hyperparameters.loss": "guided"},
        "listwise",
        at="spec.hyperparameters.loss",
    ),
    bad(
        "query-only reranker",
        T,
        {**RERANKER, "spec.hyperparameters.method": "queryOnly"},
        "full or lora",
        at="spec.hyperparameters.method",
    ),
    bad(
        "adapters without lora",
        T,
        {"spec.hyperparameters.lora": {"rank": 8}},
        "set method: lora",
        at="spec.hyperparameters.lora",
    ),
    bad(
        "adapters of no rank",
        T,
        {"spec.hyperparameters.method": "lora", "spec.hyperparameters.lora": {"rank": 0}},
        "greater than or equal to 1",
        at="rank",
    ),
    bad(
        "lengths that do not ascend",
        T,
        {"spec.hyperparameters.matryoshkaDimensions": [128, 64]},
        "the shortest first",
        at="spec.hyperparameters.matryoshkaDimensions",
    ),
    bad("a length twice", T, {"spec.hyperparameters.matryoshkaDimensions": [64, 64]}, "each length once"),
    bad(
        "documents cut that are not trained",
        T,
        {"spec.hyperparameters.method": "queryOnly", "spec.hyperparameters.matryoshkaDimensions": [64]},
        "full or lora",
        at="spec.hyperparameters.matryoshkaDimensions",
    ),
    bad(
        "scores that are cut",
        T,
        {**RERANKER, "spec.hyperparameters.matryoshkaDimensions": [64]},
        "no vectors to cut",
        at="spec.hyperparameters.matryoshkaDimensions",
    ),
    bad("nothing held out", T, {"spec.validation.splitRatio": 1}, "less than 1"),
    bad("threshold in percent", T, {"spec.evalThreshold": 85}, "85", "less than or equal to 1"),
    bad("unknown metric", T, {"spec.evaluation.scoreMetric": "ndcg"}, "ndcg", "ndcgAt10"),
    bad("test without its rules", T, {"spec.promotion.strategy": "ABTest"}, "needs abTest", at="spec.promotion.abTest"),
    bad("rules without a test", T, {"spec.promotion.abTest": EXPERIMENT}, "use strategy ABTest"),
    bad("no nodes", T, {"spec.compute.nodes": 0}, "greater than or equal to 1"),
    bad(
        "toleration of nothing",
        T,
        {"spec.compute.tolerations": [{"value": "x"}]},
        "add key",
        at="spec.compute.tolerations[0].key",
    ),
    bad("suspend as a word", T, {"spec.suspend": "no"}, "boolean"),
    bad("negative retries", T, {"spec.backoffLimit": -1}, "-1", "greater than or equal to 0"),
    bad("deadline of zero", T, {"spec.activeDeadlineSeconds": 0}, "greater than or equal to 1"),
)

MODEL_VERSIONS = (
    bad("name with a dot", V, {"metadata.name": "emb.v2"}, "emb.v2", "at most 63"),
    bad("version zero", V, {"spec.version": 0}, "greater than or equal to 1"),
    bad("two sources", V, {"spec.source.import": "BAAI/bge"}, "either trainingJob", "or import", at="spec.source"),
    bad("no source", V, {"spec.source": {}}, "either trainingJob", "or import"),
    bad("trained without config", V, {"spec.config": REMOVE}, "give config"),
    bad("artifact over http", V, {"spec.artifact.uri": "http://host/m"}, "http://host/m", "s3://bucket"),
    bad("short digest", V, {"spec.artifact.digest": "sha256:abc"}, "sha256:abc", "64 hexadecimal digits"),
    bad("epochs out of bounds in config", V, {"spec.config.epochs": 1000}, "less than or equal to 100"),
    bad("empty request", V, {"spec.promotion.requestID": ""}, "at least 1 chars"),
)

AB_TESTS = (
    bad("no metrics", A, {"spec.metrics": REMOVE}, "Required value"),
    bad("empty metrics", A, {"spec.metrics": []}, "at least 1 items"),
    bad("no primary metric", A, {"spec.metrics": [SUCCESS]}, "exactly one metric must have role primary"),
    bad("two primary metrics", A, {"spec.metrics": [PRIMARY, {**PRIMARY, "name": "x"}]}, "exactly one metric"),
    bad(
        "the same metric twice",
        A,
        {"spec.metrics": [PRIMARY, {**SUCCESS, "name": "clickThrough"}]},
        "clickThrough",
        at="spec.metrics[1]",
    ),
    bad(
        "guardrail without a margin",
        A,
        {"spec.metrics": [PRIMARY, GUARDRAIL]},
        "e.g. 0.02",
        at="spec.metrics[1].nonInferiorityMargin",
    ),
    bad(
        "margin without a guardrail",
        A,
        {"spec.metrics.0.nonInferiorityMargin": 0.1},
        "role: guardrail",
        at="nonInferiorityMargin",
    ),
    bad("all traffic to B", A, {"spec.trafficSplit": 1}, "less than 1"),
    bad("no traffic to B", A, {"spec.trafficSplit": 0}, "greater than 0"),
    bad("slower is better", A, {"spec.metrics.0.name": "latency"}, "better when they are lower", at="direction"),
    bad(
        "a size for a method without",
        A,
        {"spec.analysis.samples": 500},
        "fixedHorizon only",
        at="spec.analysis.samples",
    ),
    bad("split in percent", A, {"spec.trafficSplit": "20%"}, "number"),
    bad("A is B", A, {"spec.modelA": "emb-v2-20260315"}, "same version", "leave modelA out", at="spec.modelB"),
    bad("a year", A, {"spec.maxDuration": "8760h"}, '"8760h"', "2160h"),
    bad("alpha of zero", A, {"spec.analysis.alpha": 0}, "greater than 0"),
    bad("unknown method", A, {"spec.analysis.method": "bayesian"}, "bayesian", "sequential"),
    bad("interval below a second", A, {"spec.analysis.interval": "500ms"}, '"500ms"', "from 10s"),
)

SCHEDULES = (
    bad("no template", S, {"spec.template": REMOVE}, "Required value"),
    bad("template without type", S, {"spec.template": {}}, "Required value", at="spec.template.type"),
    bad("minute 61", S, {"spec.training.schedule": "61 2 1 * *"}, "61 2 1", "minute hour"),
    bad("four fields", S, {"spec.training.schedule": "0 2 1 *"}, "0 2 1 *", "@weekly"),
    bad("schedule in words", S, {"spec.dataPreparation.schedule": "every sunday"}, "every sunday"),
    bad("unknown time zone", S, {"spec.timeZone": "Mars/Phobos"}, "Mars/Phobos", "Europe/Berlin"),
    bad("replace what runs", S, {"spec.concurrencyPolicy": "Replace"}, "Replace", "Forbid"),
    bad("bad job in the template", S, {"spec.template.hyperparameters.loss": "bce"}, "guided"),
    bad("negative history", S, {"spec.historyLimit": -1}, "-1", "greater than or equal to 0"),
)

UPDATES = (
    update("another type", T, {}, RERANKER, "immutable", "create another TrainingJob", at="spec.type"),
    update("another retriever", T, {}, {"spec.retriever": "other"}, "immutable"),
    update("other hyperparameters", T, {}, {"spec.hyperparameters.epochs": 5}, "immutable", at="spec.hyperparameters"),
    update("another model later", T, {"spec.openai": {"model": "a"}}, {"spec.openai": {"model": "b"}}, "immutable"),
    update("a base model later", T, {}, {"spec.baseModel": "BAAI/bge"}, "immutable"),
    update("a base model no more", T, {"spec.baseModel": "BAAI/bge"}, {"spec.baseModel": REMOVE}, "immutable"),
    update("a lower threshold", T, {}, {"spec.evalThreshold": 0.1}, "immutable"),
    update("another source", T, {}, {"spec.dataSource.feedback": False}, "immutable", at="spec.dataSource"),
    update("force later", T, {}, {"spec.force": True}, "immutable", "create another TrainingJob", at="spec.force"),
    update("another number", V, {}, {"spec.version": 3}, "immutable", "create another ModelVersion"),
    update("another artifact", V, {}, {"spec.artifact.digest": "sha256:" + "1" * 64}, "immutable", at="spec.artifact"),
    update("another config", V, {}, {"spec.config.seed": 7}, "immutable", at="spec.config"),
    update("a lower split", A, {"spec.trafficSplit": 0.5}, {"spec.trafficSplit": 0.4}, "only be raised", "cancel"),
    update(
        "other metrics",
        A,
        {},
        {"spec.metrics.0.direction": "decrease"},
        "immutable",
        "another ABTest",
        at="spec.metrics",
    ),
    update("another B", A, {}, {"spec.modelB": "emb-v3-20260401"}, "immutable"),
    update("fewer samples", A, {}, {"spec.minSamples": 10}, "immutable"),
    update("another alpha", A, {}, {"spec.analysis.alpha": 0.2}, "immutable", at="spec.analysis"),
    update("uncancelled", A, {"spec.cancel": True}, {"spec.cancel": False}, "stays so"),
    update("a schedule's other retriever", S, {}, {"spec.retriever": "other"}, "immutable"),
)

CREATED = (*RETRIEVERS, *TRAINING_JOBS, *MODEL_VERSIONS, *AB_TESTS, *SCHEDULES)


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> ApiServer:
    return ApiServer(kubeconfig, namespace)


def assert_refused(answer: Any, row: Bad) -> None:
    assert isinstance(answer, Refusal), f"{row.name}: accepted"
    assert answer.code == 422, answer.message
    about = [message for at, message in answer.causes if at.endswith(row.field)]
    assert about, f"{row.name}: no complaint about {row.field}, but {answer.causes}"
    for word in row.words:
        assert any(word in message for message in about), f"{row.name}: {word!r} is not said in {about}"
    sys.stdout.write(f"{row.kind:17}{row.name:34}{row.field}: {about[0]}\n")


def test_every_malformed_manifest_is_refused_by_field_value_and_remedy(api: ApiServer) -> None:
    assert len(CREATED) >= 45
    sys.stdout.write("\n")
    for row in CREATED:
        change = dict(row.change)
        name = change.pop("metadata.name", "example")
        assert_refused(api.create(manifest(row.kind, change, name)), row)


def test_every_forbidden_change_is_refused_by_field_and_remedy(api: ApiServer) -> None:
    sys.stdout.write("\n")
    for number, row in enumerate(UPDATES):
        name = f"u{number}"
        stored = api.apply(manifest(row.kind, row.before, name))
        assert not isinstance(stored, Refusal), stored
        assert_refused(api.apply(manifest(row.kind, {**(row.before or {}), **row.change}, name)), row)


def test_names_of_rows_are_unique() -> None:
    names = [(row.kind, row.name) for row in (*CREATED, *UPDATES)]
    assert len(set(names)) == len(names)
