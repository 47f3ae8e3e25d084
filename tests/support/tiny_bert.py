"""A tiny BERT with random weights and a WordPiece vocabulary, and a snapshot it can learn from."""

import hashlib
import json
from pathlib import Path
from typing import Any

from attune.contract import ArtifactRef

COLOURS = ["red", "blue", "green", "white", "black", "brown", "pink", "grey", "gold", "silver"]
THINGS = ["house", "car", "tree", "river", "stone", "cloud", "horse", "ship", "road", "door", "lamp", "chair"]
VERBS = ["stands", "moves", "grows", "shines", "falls", "waits", "turns", "breaks", "sleeps", "burns"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def sentences() -> list[tuple[str, str]]:
    """Query and document pairs over a closed vocabulary; the pair of colour and thing is what joins them."""
    return [
        (
            f"{colour} {thing}",
            f"the {thing} {VERBS[(i + j) % len(VERBS)]} and is {colour} and {VERBS[(i * j) % len(VERBS)]}",
        )
        for i, colour in enumerate(COLOURS)
        for j, thing in enumerate(THINGS)
    ]


def build_tiny_model(folder: Path, *, pooling: str = "mean", seed: int = 0) -> Path:
    """2 layers, 32 dimensions, random weights: a real BERT in every respect but size."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    vocabulary = [*SPECIAL, "the", "and", "is", *COLOURS, *THINGS, *VERBS, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    backbone = folder / "backbone"
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(backbone)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(backbone)
    transformer = Transformer(str(backbone), max_seq_length=64)
    model = SentenceTransformer(modules=[transformer, Pooling(32, pooling_mode=pooling)], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def build_tiny_cross_encoder(folder: Path, *, seed: int = 0) -> Path:
    """The same tiny BERT with a head that gives one score, both random: a reranker that knows nothing yet."""
    import torch
    from sentence_transformers import CrossEncoder

    base = build_tiny_model(folder / "base", seed=seed)
    torch.manual_seed(seed)
    model = CrossEncoder(str(base), num_labels=1, local_files_only=True, device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_snapshot(folder: Path) -> ArtifactRef:
    """A published snapshot of the closed vocabulary: 96 training pairs, 12 for validation, 12 held out."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [
        {
            "query": query,
            "pos": text,
            "neg": [],
            "score": 1.0,
            "source": "archive",
            "queryId": f"q{n}",
            "docId": f"d{n:03}",
            "negIds": [],
        }
        for n, (query, text) in enumerate(sentences())
    ]
    for n, pair in enumerate(pairs):
        wrong = pairs[(n + 1) % len(pairs)]
        pair["neg"], pair["negIds"] = [wrong["pos"]], [wrong["docId"]]
    held_out, validation = pairs[::10], pairs[1::10]
    train = [pair for pair in pairs if pair not in held_out and pair not in validation]
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "validation.jsonl", validation)
    write_jsonl(folder / "corpus.jsonl", [{"_id": pair["docId"], "title": "", "text": pair["pos"]} for pair in pairs])
    write_jsonl(folder / "queries.jsonl", [{"_id": pair["queryId"], "text": pair["query"]} for pair in held_out])
    qrels = "".join(f"{pair['queryId']}\t{pair['docId']}\t1\n" for pair in held_out)
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": "attune.dev/dataset/v1alpha1", "files": files}))
    digest = "sha256:" + hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return ArtifactRef(name="dataset", uri=str(folder), digest=digest)
