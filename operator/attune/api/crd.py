"""The CustomResourceDefinitions, made from the models. `python -m attune.api.crd [--check] [--out crds]`.

Run by `make crds` and, with --check, by the tests: the files in `crds/` are never edited by hand.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from attune.api import kinds
from attune.api.ab_test import ABTest
from attune.api.base import Resource
from attune.api.kinds import Kind
from attune.api.model_version import ModelVersion
from attune.api.retriever import Retriever
from attune.api.rules import KEY, Rule
from attune.api.structural import structural
from attune.api.training_job import TrainingJob
from attune.api.training_schedule import TrainingSchedule

HEADER = "# Made by `python -m attune.api.crd` from operator/attune/api. Do not edit.\n"
RETRIEVER_NAME_LENGTH = 52
"""It begins names of Services and is a label value."""
VERSION_NAME_LENGTH = 63
"""It is a label value and names a collection."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 is shown with -o wide only."""

    name: str
    path: str
    description: str
    type: str = "string"
    priority: int = 0

    def as_schema(self) -> dict[str, Any]:
        wide = {"priority": self.priority} if self.priority else {}
        return {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description, **wide}


AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was created.", "date")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a CRD is made of, besides the model."""

    kind: Kind
    model: type[Resource]
    about: str
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()


def _named(length: int, why: str) -> tuple[Rule, ...]:
    """Names that begin other names or are label values; CRDs allow up to 253 characters and dots otherwise."""
    must = f"use at most {length} lower-case letters, digits and hyphens, the first a letter"
    return (
        Rule(
            f"self.metadata.name.size() <= {length} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            f"{why}; {must}",
            shown=f"'\"' + self.metadata.name + '\" {why}; {must}'",
            path=".metadata.name",
        ),
    )


DEFINITIONS: tuple[Definition, ...] = (
    Definition(
        kinds.RETRIEVER,
        Retriever,
        "A Retriever is what a RAG application calls: its embedding model, reranker, index, data, storage and "
        "rollback policy. "
        "It is the scope of `one active model per type`.",
        (
            Column("Embedding", ".status.embedding.active", "Embedding version that serves."),
            Column("Reranker", ".status.reranker.active", "Reranker version that serves."),
            Column("Test", ".status.summary.test", "Challenger and share of the running test."),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether everything it needs is there."),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready or not.", priority=1),
            AGE,
        ),
        _named(RETRIEVER_NAME_LENGTH, "cannot begin the name of a Service"),
    ),
    Definition(
        kinds.TRAINING_JOB,
        TrainingJob,
        "A TrainingJob is one fine-tuning run: prepare → train → evaluate. It makes one ModelVersion.",
        (
            Column("Type", ".spec.type", "embedding or reranker."),
            Column("Phase", ".status.phase", "Where the run is."),
            Column("Progress", ".status.summary.progress", "Share of the running stage that is done."),
            Column("ETA", ".status.summary.eta", "Time left for the running stage."),
            Column("Score", ".status.summary.score", "The number that evalThreshold was compared with."),
            Column("Version", ".status.modelVersion", "ModelVersion that the run makes."),
            Column("Retriever", ".spec.retriever", "Retriever it is for.", priority=1),
            Column("Message", ".status.message", "Why it is in this phase.", priority=1),
            AGE,
        ),
    ),
    Definition(
        kinds.MODEL_VERSION,
        ModelVersion,
        "A ModelVersion is one trained or imported model, with its metrics, its artifact and its stage.",
        (
            Column("Type", ".spec.type", "embedding or reranker."),
            Column("Version", ".spec.version", "Number.", "integer"),
            Column("Stage", ".status.stage", "training, evaluating, staged, active, deprecated or failed."),
            Column("NDCG", ".status.summary.ndcg", "nDCG@10 on held-out queries."),
            Column(
                "Improvement", ".status.summary.improvement", "Change of nDCG@10 against the version that was active."
            ),
            Column("Retriever", ".spec.retriever", "Retriever it belongs to.", priority=1),
            Column("Base", ".spec.baseModel", "Model it comes from.", priority=1),
            AGE,
        ),
        _named(VERSION_NAME_LENGTH, "cannot name a collection"),
    ),
    Definition(
        kinds.AB_TEST,
        ABTest,
        "An ABTest is one experiment between two versions, on live traffic.",
        (
            Column("A", ".status.modelA", "Version of arm A."),
            Column("B", ".spec.modelB", "Version of arm B, the challenger."),
            Column("Split", ".spec.trafficSplit", "Share of queries that B answers.", "number"),
            Column("Samples", ".status.summary.samples", "Distinct queries of A and of B."),
            Column("Phase", ".status.phase", "Where the test is."),
            Column("Winner", ".status.winner", "A, B or inconclusive."),
            Column("Retriever", ".spec.retriever", "Retriever it is about.", priority=1),
            Column("Recommendation", ".status.recommendation", "What to do.", priority=1),
            AGE,
        ),
    ),
    Definition(
        kinds.TRAINING_SCHEDULE,
        TrainingSchedule,
        "A TrainingSchedule prepares data every week and trains every month, if enough is new.",
        (
            Column("Retriever", ".spec.retriever", "Retriever it is for."),
            Column("Training", ".spec.training.schedule", "When training is considered."),
            Column("Suspend", ".spec.suspend", "Whether it is suspended.", "boolean"),
            Column("New-Pairs", ".status.newPairs", "Pairs that are new since the last training.", "integer"),
            Column("Last-Training", ".status.lastTraining", "Time since the last training.", "date"),
            Column("Next-Training", ".status.nextTraining", "When training is considered next."),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether something is started then."),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready or not.", priority=1),
            Column(
                "Told",
                '.status.conditions[?(@.type=="TrainingStarted")].message',
                "What became of the last time of training.",
                priority=1,
            ),
            AGE,
        ),
    ),
)


def definition(of: Definition) -> dict[str, Any]:
    """The CustomResourceDefinition as one would apply it."""
    kind = of.kind
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": {"app.kubernetes.io/part-of": "attune"}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "singular": kind.singular,
                "plural": kind.plural,
                "shortNames": list(kind.short_names),
                "categories": [kinds.CATEGORY],
            },
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.as_schema() for column in of.columns],
                    "schema": {"openAPIV3Schema": _schema(of)},
                }
            ],
        },
    }


def _schema(of: Definition) -> dict[str, Any]:
    fields = of.model.model_fields
    spec, status = (_model(fields[name].annotation) for name in ("spec", "status"))
    schema: dict[str, Any] = {
        "description": of.about,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{kinds.API_VERSION}.", "type": "string"},
            "kind": {"description": f"{of.kind.kind}.", "type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": structural(spec),
            "status": structural(status, defaults=False),
        },
    }
    if of.rules:
        schema[KEY] = [rule.as_schema() for rule in of.rules]
    return schema


def _model(annotation: object) -> type[BaseModel]:
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return annotation


def files() -> dict[str, str]:
    """File name → content of everything in `crds/`."""
    made = {f"{of.kind.group}_{of.kind.plural}.yaml": HEADER + _yaml(definition(of)) for of in DEFINITIONS}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(made),
    }
    return {**made, "kustomization.yaml": HEADER + _yaml(kustomization)}


class _Dumper(yaml.SafeDumper):
    """Without anchors: a part that occurs twice is written twice, as people expect of a CRD."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  as PyYAML calls it
        return True


def _yaml(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def stale(folder: Path) -> list[str]:
    """Files in the folder that differ from what the models say, or are missing."""
    return [
        name for name, text in files().items() if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the files, or with --check say which are stale."""
    parser = argparse.ArgumentParser(prog="python -m attune.api.crd", description="Make crds/ from the models.")
    parser.add_argument("--out", type=Path, default=Path("crds"), help="folder of the files (default: crds)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    given = parser.parse_args(argv)
    if given.check:
        old = stale(given.out)
        sys.stderr.writelines(f"{given.out / name} is not what the models say; run `make crds`\n" for name in old)
        return 1 if old else 0
    given.out.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (given.out / name).write_text(text)
        sys.stdout.write(f"{given.out / name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
