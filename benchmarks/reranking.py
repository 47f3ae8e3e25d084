"""What a trained reranker adds: nDCG@10 on graded topics, of the first stage's best 50 as they are and reordered.

Run by hand: `python -m benchmarks.reranking BASE_MODEL FIRST_STAGE --data DATA`. DATA holds archive.jsonl, labels.train.jsonl and
graded.topics.jsonl (Bitcoin Optech); FIRST_STAGE is the artifact of an embedding version, as benchmarks/quality.py leaves it in
build/quality/optech/models/attune. Trained on what was published before 2023, as a TrainingJob of type reranker would, by whole
lists; the topics are those of the newsletter's index, with two grades. Both stages go over articles without titles. The reranker
counts beside the first stage as much as its manifest says, as it does in a search. The same once more with the best 50 of a hybrid
search, as `/v1/search` does it; there also what other weights would have given.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from attune.contract import ArchiveSource, ArtifactRef, DataSpec, ModelType, OwnerRef, Stage, StageSpec, TrainingConfig
from attune_retrieval.artifact import open_verified
from attune_retrieval.weighing import fusion_of, rerank_weight_of
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.heldout import HeldOut, read
from attune_trainer.evaluate.measure import Measured, intervals, measure_rankings
from attune_trainer.evaluate.reranking import Rerankers, compare_rerankers, hybrid_search
from attune_trainer.train.search_weights import RERANK_WEIGHTS, mean_ndcg, scored
from benchmarks.machine import machine
from benchmarks.quality import RESAMPLES, Corpus, kept, optech, stage

RESULTS = Path(__file__).parent / "results" / "reranking.json"


def specs(corpus: Corpus, config: TrainingConfig, first: Path, work: Path) -> Any:
    """Function that makes the spec of a stage."""

    def make(which: Stage, dataset: ArtifactRef | None = None) -> StageSpec:
        archive = ArchiveSource(uri=str(corpus.archive))
        data = DataSpec(archive=archive, labels=str(corpus.labels), leads=True)
        return StageSpec(
            stage=which,
            type=ModelType.RERANKER,
            owner=OwnerRef(kind="Benchmark", namespace="bench", name="reranking", uid=work.name),
            retriever="quality",
            storage=str(work / "store"),
            config=config,
            data=data if which is Stage.PREPARE else DataSpec(),
            dataset=dataset,
            model=ArtifactRef(name="reranker", uri=str(work / "model")),
            first_stage=ArtifactRef(name="attune", uri=str(first)),
        )

    return make


def train(make: Any, work: Path) -> dict[str, Any]:
    def done() -> dict[str, Any]:
        began = time.monotonic()
        dataset = stage(make(Stage.PREPARE)).dataset
        reference = ArtifactRef(name="dataset", uri=dataset.uri, digest=dataset.digest)  # type: ignore[union-attr]
        model = stage(make(Stage.TRAIN, reference)).model
        training = model.training.model_dump(mode="json", by_alias=True, exclude_none=True)  # type: ignore[union-attr]
        return {
            "pairs": dataset.by_source,  # type: ignore[union-attr]
            "seconds": round(time.monotonic() - began, 1),
            "training": training,
        }

    return kept(work / "told.json", done)


def compared(work: Path, first: Path, held_out: HeldOut) -> dict[str, Any]:
    """The first stage's order against the reranker's: of the vectors' best, and of the hybrid search's."""
    from attune.contract import EvaluationConfig

    reranker, stage_before = open_verified(work / "model", None), open_verified(first, None)
    weight, dense = rerank_weight_of(reranker.manifest), fusion_of(stage_before.manifest).dense_weight
    contenders = Rerankers(reranker.reranker, None, stage_before.encoder, dense_weight=dense, candidate_weight=weight)
    found = compare_rerankers(contenders, held_out, EvaluationConfig(), seed=0, report=lambda *_: lambda _: None)
    fused = hybrid_search(stage_before.encoder, dense, held_out, lambda _: None)
    scores = scored(fused, held_out, reranker.reranker.score, lambda: None)
    plain = measure_rankings([list(one.names) for one in scores], held_out)
    better = measure_rankings([one.ranked(weight) for one in scores], held_out)
    return {
        "bm25": numbers(found.bm25),
        "firstStage": numbers(found.base),
        "reranked": numbers(found.candidate),
        **gain(found.candidate, found.base, held_out),
        "hybrid": {
            "firstStage": numbers(plain),
            "reranked": numbers(better),
            **gain(better, plain, held_out),
            "ndcgAt10ByWeight": {
                w: round(mean_ndcg([one.ranked(w) for one in scores], held_out), 5) for w in RERANK_WEIGHTS
            },
        },
        "weightBesideTheFirstStage": weight,
        "weightOfVectorsInTheHybridSearch": dense,
    }


def numbers(one: Measured) -> dict[str, Any]:
    return one.metrics().model_dump(by_alias=True, exclude_none=True)


def gain(better: Measured, plain: Measured, held_out: HeldOut) -> dict[str, Any]:
    bounds = intervals(better, plain, held_out, resamples=RESAMPLES, seed=0)["ndcgAt10"]
    by_query = better.per_query["ndcg_at10"] - plain.per_query["ndcg_at10"]
    return {"gain": round(float(by_query.mean()), 4), "interval": bounds.model_dump(), "verdict": verdict(bounds)}


def main(  # noqa: PLR0913  what can be tried by hand
    base_model: Path,
    first_stage: Path,
    data: Annotated[Path, typer.Option(help="Folder of the Optech corpus.")],
    work: Annotated[Path, typer.Option(help="Kept between runs.")] = Path("build/reranking"),
    epochs: int = 1,
    learning_rate: float = 1e-4,
    negatives: int = 3,
    loss: str = "listwise",
    length: int = 160,
) -> None:
    """Train a reranker, compare, write benchmarks/results/reranking.json."""
    started, work = machine(), work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    corpus = optech(data.absolute(), work)
    config = TrainingConfig.model_validate(
        {
            "base_model": str(base_model.absolute()),
            "epochs": epochs,
            "learning_rate": learning_rate,
            "max_sequence_length": length,
            "loss": loss,
            "hard_negatives": {"per_query": negatives},
            "split_ratio": corpus.split_ratio,
        }
    )
    told = train(specs(corpus, config, first_stage.absolute(), work), work)
    held_out = read(data / "archive.jsonl", data / "graded.topics.jsonl", None)
    result = {
        "what": "graded topics over all articles without titles; the first stage's best 50, and reordered",
        "machine": started,
        "queries": len(held_out.queries),
        "documents": len(held_out.documents),
        "recipe": config.model_dump(mode="json", by_alias=True, exclude={"base_model"}),
        "trained": told,
        **compared(work, first_stage, held_out),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
