"""Wrong manifests of Retrievers, and how a wrong manifest is written down: what is changed in a valid one, and what must be said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from api_objects import REMOVE


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

HOOK = {"name": "hook", "type": "webhook", "url": "http://ci/x"}


def told(*targets: dict[str, Any]) -> dict[str, Any]:
    """Targets of a Retriever; one without a name is called hook."""
    return {"spec.notifications": [{"name": "hook", **target} for target in targets]}


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
    bad(
        "a chat's address in the open",
        R,
        told({"type": "slack", "url": "https://hooks.slack.com/services/x"}),
        "is a secret",
        "in secretRef",
        at="spec.notifications[0].url",
    ),
    bad("a chat without an address", R, told({"type": "slack"}), "in secretRef", at="spec.notifications[0].secretRef"),
    bad("a webhook to nowhere", R, told({"type": "webhook"}), "give url", at="spec.notifications[0].secretRef"),
    bad(
        "an address beside a secret",
        R,
        told({"type": "webhook", "url": "http://ci/x", "secretRef": {"name": "ci"}}),
        "exclude each other",
        "into the Secret",
        at="spec.notifications[0].url",
    ),
    bad(
        "a webhook over ftp",
        R,
        told({"type": "webhook", "url": "ftp://ci/x"}),
        "ftp://ci/x",
        "https://host/path",
        at="spec.notifications[0].url",
    ),
    bad(
        "a password in a webhook",
        R,
        told({"type": "webhook", "url": "https://me:pw@ci/x"}),
        "credentials in secretRef",
        at="spec.notifications[0].url",
    ),
    bad("a pager", R, told({**HOOK, "type": "pager"}), "pager", "slack", "webhook", at="spec.notifications[0].type"),
    bad(
        "an event that never happens",
        R,
        told({**HOOK, "events": ["Trained"]}),
        "Trained",
        "TrainingSucceeded",
        at="spec.notifications[0].events[0]",
    ),
    bad("no event", R, told({**HOOK, "events": []}), "at least 1 items", at="spec.notifications[0].events"),
    bad(
        "a target in capitals",
        R,
        told({**HOOK, "name": "Team_Chat"}),
        "Team_Chat",
        "lower-case",
        at="spec.notifications[0].name",
    ),
    bad(
        "a target with a long name",
        R,
        told({**HOOK, "name": "the-channel-of-the-platform-team"}),
        "20",
        at="spec.notifications[0].name",
    ),
    bad("a target twice", R, told(HOOK, HOOK), "Duplicate value", at="spec.notifications[1]"),
    bad(
        "five targets",
        R,
        told(*({**HOOK, "name": f"hook-{n}"} for n in range(5))),
        "at most 4 items",
        at="spec.notifications",
    ),
    bad(
        "a template of a book's length",
        R,
        told({**HOOK, "template": "x" * 5000}),
        "4096",
        at="spec.notifications[0].template",
    ),
)
