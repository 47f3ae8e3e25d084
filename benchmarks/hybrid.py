"""How the words and the vectors of a search are best fused: dense alone, BM25 alone, reciprocal rank, weighted z-scores.

Run by hand: `python benchmarks/hybrid.py DATA MODEL`. DATA holds archive.jsonl and labels.dev.jsonl; MODEL is an exported artifact or a
sentence-transformers folder. Searches LanceDB through the very code that serving uses, over articles without their titles.
"""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from attune.contract import IndexSpec
from attune_retrieval.index import Collection, Document, Fusion, Hit, Identity, open_store
from attune_retrieval.index.fusion import fuse
from attune_trainer.evaluate.by_hand import open_encoder
from attune_trainer.evaluate.heldout import HeldOut, read
from attune_trainer.evaluate.measure import measure_rankings
from benchmarks.machine import machine

DEEPEST = 200
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)
DEPTHS = (50, 100, 200)
RESULTS = Path(__file__).parent / "results" / "hybrid.json"
Lists = list[tuple[Any, list[Hit], list[Hit]]]


def candidates(collection: Collection, vectors: Any, held_out: HeldOut) -> Lists:
    """Both rankings of every query, as deep as any rule needs."""
    return [
        (vector, collection.dense(vector, DEEPEST), collection.by_words(query, DEEPEST))
        for vector, query in zip(vectors, held_out.queries.values(), strict=True)
    ]


def ndcg(rankings: list[list[str]], held_out: HeldOut) -> float:
    return round(float(measure_rankings(rankings, held_out).per_query["ndcg_at10"].mean()), 4)


def fused(collection: Collection, lists: Lists, fusion: Fusion, held_out: HeldOut) -> float:
    rankings = [
        [h.id for h in fuse(collection, v, dense[: fusion.depth], words[: fusion.depth], "cosine", fusion)[:10]]
        if words
        else [h.id for h in dense[:10]]
        for v, dense, words in lists
    ]
    return ndcg(rankings, held_out)


def main(data: Path, model: Path) -> None:
    """Write benchmarks/results/hybrid.json."""
    started, held_out = machine(), read(data / "archive.jsonl", data / "labels.dev.jsonl", None)
    encoder = open_encoder(model)
    documents = [Document(i, "", text) for i, text in zip(held_out.documents, held_out.texts, strict=True)]
    with TemporaryDirectory() as folder:
        store = open_store(IndexSpec(store="lancedb", uri=f"file://{folder}"))
        vectors = encoder.encode(held_out.texts, "document")
        collection = store.create("bench", Identity("bench", int(vectors.shape[1])))
        collection.write(documents, vectors, new=True)
        collection.finish()
        lists = candidates(collection, encoder.encode(list(held_out.queries.values()), "query"), held_out)
        result: dict[str, Any] = {
            "what": "nDCG@10 on labelled queries over all articles without titles",
            "machine": started,
            "model": model.name,
            "queries": len(held_out.queries),
            "documents": len(documents),
            "dense": ndcg([[h.id for h in dense[:10]] for _, dense, _ in lists], held_out),
            "words": ndcg([[h.id for h in words[:10]] for _, _, words in lists], held_out),
            "reciprocalRank": {
                depth: fused(collection, lists, Fusion("reciprocalRank", depth=depth), held_out) for depth in DEPTHS
            },
            "zScore": {
                f"weight {weight}, depth {depth}": fused(collection, lists, Fusion("zScore", weight, depth), held_out)
                for weight in WEIGHTS
                for depth in DEPTHS
            },
            "default": fused(collection, lists, Fusion(), held_out),
        }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
