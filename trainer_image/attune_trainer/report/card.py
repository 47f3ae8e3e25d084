"""The model card: a README.md in the form of the Hugging Face hub, YAML first. Called by `files`.

With the artifact goes what is known when it is exported; the evaluation writes a card with its numbers beside its report.
"""

import re
from typing import Any

import yaml

from attune.contract import ModelType
from attune_trainer.report import words
from attune_trainer.report.facts import About, Report
from attune_trainer.report.page import environment

TEMPLATE = "card.md.jinja"
HUB_ID = re.compile(r"^[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*$")
PIPELINES = {ModelType.EMBEDDING: "sentence-similarity", ModelType.RERANKER: "text-ranking"}
HUB_METRICS = {
    "ndcgAt10": "ndcg_at_10",
    "mrrAt10": "mrr_at_10",
    "recallAt10": "recall_at_10",
    "faithfulness": "faithfulness",
    "relevance": "answer_relevance",
}


def card(about: About, report: Report | None = None) -> str:
    """Markdown. Without a report: what is known before the evaluation."""
    front = yaml.safe_dump(front_matter(about, report), sort_keys=False, allow_unicode=True)
    body = environment().get_template(TEMPLATE)
    told = body.render(about=about, report=report, words=words, limits=words.limits(about, report))
    return f"---\n{front}---\n{told}"


def front_matter(about: About, report: Report | None) -> dict[str, Any]:
    """What the hub reads. A base model that is no hub id is named in the text only."""
    kind = "cross-encoder" if about.type is ModelType.RERANKER else "sentence-transformers"
    found: dict[str, Any] = {
        "license": about.license or words.UNKNOWN_LICENCE,
        **({"base_model": about.base_model} if HUB_ID.match(about.base_model) else {}),
        "library_name": "sentence-transformers",
        "pipeline_tag": PIPELINES[about.type],
        "tags": ["attune", kind, "information-retrieval"],
    }
    if report is not None and (results := _results(report)):
        found["metrics"] = [one["type"] for one in results]
        task = {"type": "information-retrieval", "name": "Information Retrieval"}
        data = {"type": "held-out", "name": f"held-out queries of {report.retriever}"}
        found["model-index"] = [{"name": about.name, "results": [{"task": task, "dataset": data, "metrics": results}]}]
    return found


def _results(report: Report) -> list[dict[str, Any]]:
    return [
        {"type": name, "value": value, "name": words.METRICS[key][0]}
        for key, name in HUB_METRICS.items()
        if (value := words.of(report.evaluation.metrics, key)) is not None
    ]
