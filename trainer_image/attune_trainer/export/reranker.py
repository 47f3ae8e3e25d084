"""Writes a cross-encoder as an artifact: weights, tokenizer, one ONNX graph with the sigmoid in it, golden scores, manifest.

Read by `attune_retrieval.reranking`. Called by the train and import stages.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import ModelType
from attune_retrieval import manifest
from attune_retrieval.artifact import GOLDEN, MAX_SCORE_DIFFERENCE
from attune_retrieval.reranking import OnnxReranker
from attune_trainer import cross_encoder
from attune_trainer.errors import BadConfig
from attune_trainer.export.artifact import Provenance, Written, documented
from attune_trainer.export.onnx_graph import plain_attention, saved

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

GOLDEN_PAIRS: tuple[tuple[str, str], ...] = (
    (
        "How do I renew a certificate before it expires?",
        "Rotation replaces the key of a certificate before it expires.",
    ),
    ("How do I renew a certificate before it expires?", "The river falls and the ship waits."),
    ("naïve café, 東京, Привет, 👋", "1234567890 --- !!! ???"),
    ("a", "b"),
    ("long", "A long document is cut where the model's window ends. " * 120),
)


def write_reranker(model: "CrossEncoder", folder: Path, provenance: Provenance) -> Written:
    """Write everything into the empty `folder`. BadConfig (ExportFailed) if the graph does not reproduce the model."""
    model.eval()
    model.cpu().float()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(str(folder), create_model_card=False)
    _fix_tokenizer(folder / "tokenizer.json")
    _export(model, folder / "onnx" / "model.onnx")
    limit = int(model.max_length or cross_encoder.DEFAULT_LENGTH)
    golden = _golden(model, OnnxReranker(folder, max_length=limit))
    (folder / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    described = manifest.Manifest(
        type=ModelType.RERANKER,
        source=provenance.source,
        base_model=provenance.base_model,
        license=provenance.license,
        max_sequence_length=limit,
        version=provenance.version,
        rerank_weight=provenance.rerank_weight,
        dataset_digest=provenance.dataset_digest,
        config=provenance.config,
        libraries={name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
        files=manifest.file_digests(folder),
    )
    described = documented(folder, described, provenance)
    return Written(folder, manifest.write(folder, described), described)


def _fix_tokenizer(path: Path) -> None:
    """Cutting and padding are the reader's business."""
    if not path.is_file():
        raise BadConfig(
            "the model has no fast tokenizer (tokenizer.json), which serving needs; use a base model that has one.",
            reason="ExportFailed",
        )
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(path))


def _export(model: "CrossEncoder", path: Path) -> None:
    import torch
    from torch import Tensor

    auto_model: Any = model[0].auto_model
    inputs = ["input_ids", "attention_mask"]
    if "token_type_ids" in model.tokenizer.model_input_names:
        inputs.append("token_type_ids")

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = auto_model

        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
            given: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask}
            if token_type_ids is not None:
                given["token_type_ids"] = token_type_ids
            return torch.sigmoid(self.model(**given).logits)

    example = torch.ones((2, 8), dtype=torch.int64)
    examples = [example, example.clone(), torch.zeros((2, 8), dtype=torch.int64)][: len(inputs)]
    with plain_attention(auto_model):
        saved(Graph(), examples, inputs, "score", path)


def _golden(model: "CrossEncoder", exported: OnnxReranker) -> list[dict[str, object]]:
    """Pairs and the scores of the exported graph, which must agree with torch's."""
    expected, found = cross_encoder.scores(model, GOLDEN_PAIRS), exported.score(GOLDEN_PAIRS)
    golden: list[dict[str, object]] = []
    for (query, document), wanted, score in zip(GOLDEN_PAIRS, expected, map(float, found), strict=True):
        if not abs(wanted - score) <= MAX_SCORE_DIFFERENCE:
            raise BadConfig(
                f"the ONNX graph differs from the model: score {score:.5f}, {wanted:.5f} by the model, for {query[:40]!r}; "
                "use another base model.",
                reason="ExportFailed",
            )
        golden.append({"query": query, "document": document, "score": round(score, 7)})
    return golden
