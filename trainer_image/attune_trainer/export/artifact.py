"""Writes artifacts: called by the train and import stages. `attune_retrieval.artifact` opens them.

An artifact folder is a plain sentence-transformers model (safetensors, tokenizer, modules) with three things beside it:
`onnx/model.onnx`, `golden.json` and `manifest.json`; with a side for queries and one for documents also `onnx/document/model.onnx`.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attune.contract import TrainingConfig
from attune_retrieval import manifest
from attune_retrieval.artifact import GOLDEN, MIN_COSINE
from attune_retrieval.encoding import OnnxEncoder, Role
from attune_trainer import towers
from attune_trainer.encode import TorchEncoder
from attune_trainer.errors import BadConfig
from attune_trainer.export import document_side, onnx_graph
from attune_trainer.export.document_side import DocumentSide

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)
GOLDEN_TEXTS: tuple[tuple[Role, str], ...] = (
    ("query", "How do I renew a certificate before it expires?"),
    ("query", "naïve café, 東京, Привет, 👋"),
    ("query", "a"),
    (
        "document",
        "Rotation replaces the key of a certificate. The old one stays valid until its clients have the new one.",
    ),
    ("document", "def main(argv: list[str]) -> int:\n    return 0"),
    ("document", "1234567890 --- !!! ???"),
    ("document", "A long document is cut where the model's window ends. " * 120),
)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights come from, for the manifest."""

    source: Literal["training", "import"]
    base_model: str
    license: str | None = None
    dataset_digest: str | None = None
    config: TrainingConfig | None = None
    version: str | None = None
    dense_weight: float | None = None
    rerank_weight: float | None = None
    curve: bytes | None = None
    """The training curve, as JSON."""
    documents: "Callable[[Path, manifest.Manifest], Mapping[str, bytes]]" = lambda _folder, _manifest: {}
    """Made once the rest is written: more files that go with it, by name (the model card)."""


@dataclass(frozen=True, slots=True)
class Written:
    """An artifact on the local disk, before it is published."""

    folder: Path
    digest: str
    manifest: manifest.Manifest


def write(
    model: "SentenceTransformer", folder: Path, provenance: Provenance, document: DocumentSide | None = None
) -> Written:
    """Write everything into the empty `folder`. Fails if the ONNX graphs do not reproduce `encode()`.

    With a `document` side, `model` is for queries only.
    """
    model.eval()
    model.cpu().float()
    folder.mkdir(parents=True, exist_ok=True)
    whole = model if document is None else towers.joined(towers.Towers(model, document.model.cpu().float()))
    whole.save_pretrained(str(folder), create_model_card=False)
    limit = int(model.max_seq_length or 512)
    if document is not None:
        _lift_tokenizer(folder)
    _fix_tokenizer(folder / "tokenizer.json", limit)
    onnx_graph.export(model, folder / "onnx" / "model.onnx")
    if document is not None:
        document.write_graph(folder)
    prompts = {role: str(text or "") for role, text in model.prompts.items() if role in {"query", "document"}}
    encoder = OnnxEncoder(
        folder, prompts=prompts, max_length=limit, document_graph=document_side.GRAPH if document else None
    )
    golden = _golden(TorchEncoder(whole), encoder)
    (folder / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    described = documented(folder, _manifest(model, folder, provenance, prompts, document), provenance)
    return Written(folder, manifest.write(folder, described), described)


def _lift_tokenizer(folder: Path) -> None:
    """Both sides have the same; readers of the graphs look for it beside the manifest."""
    for path in sorted(folder.glob("query_*/tokenizer.json"))[:1]:
        shutil.copyfile(path, folder / path.name)


def documented(folder: Path, described: manifest.Manifest, provenance: Provenance) -> manifest.Manifest:
    """Add the files for people that go with an artifact; the manifest lists them with the others."""
    more = provenance.documents(folder, described)
    for name, data in more.items():
        (folder / name).write_bytes(data)
    return described.model_copy(update={"files": manifest.file_digests(folder)}) if more else described


def _manifest(
    model: "SentenceTransformer",
    folder: Path,
    provenance: Provenance,
    prompts: dict[str, str],
    document: DocumentSide | None,
) -> manifest.Manifest:
    files = manifest.file_digests(folder)
    weights = [file.sha256 for file in files if file.path.endswith(".safetensors")]
    pooling = _pooling(model)
    space = document.embedding_space(pooling) if document else manifest.embedding_space(weights, pooling, prompts)
    trained_lengths = provenance.config.matryoshka_dimensions if provenance.config else None
    return manifest.Manifest(
        source=provenance.source,
        base_model=provenance.base_model,
        license=provenance.license,
        dimensions=int(model.get_embedding_dimension() or 0),
        max_sequence_length=int(model.max_seq_length or 512),
        pooling=pooling,
        prompts=prompts,
        embedding_space=space,
        document_graph=document_side.GRAPH if document else None,
        matryoshka_dimensions=trained_lengths if provenance.source == "training" else None,
        version=provenance.version,
        dense_weight=provenance.dense_weight,
        dataset_digest=provenance.dataset_digest,
        config=provenance.config,
        libraries={name: version(name) for name in ("torch", "transformers", "sentence-transformers")},
        files=files,
    )


def _pooling(model: "SentenceTransformer") -> str:
    return next((str(module.pooling_mode) for module in model if hasattr(module, "pooling_mode")), "none")


def _fix_tokenizer(path: Path, limit: int) -> None:
    """The file says by itself how texts are cut; padding is the batch's business."""
    if not path.is_file():
        raise BadConfig(
            "the model has no fast tokenizer (tokenizer.json), which serving needs; use a base model that has one.",
            reason="ExportFailed",
        )
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=limit)
    tokenizer.no_padding()
    tokenizer.save(str(path))


def _golden(reference: TorchEncoder, exported: OnnxEncoder) -> list[dict[str, object]]:
    """Texts and the vectors of the exported graph, which must agree with torch's."""
    golden: list[dict[str, object]] = []
    for role, text in GOLDEN_TEXTS:
        expected, found = reference.encode([text], role)[0], exported.encode([text], role)[0]
        cosine = float(expected @ found)
        if not cosine >= MIN_COSINE:
            raise BadConfig(
                f"the ONNX graph differs from the model: cosine {cosine:.6f} < {MIN_COSINE} for {text[:40]!r}; "
                "its pooling cannot be exported, use a base model with mean or cls pooling.",
                reason="ExportFailed",
            )
        golden.append({"role": role, "text": text, "vector": [round(float(value), 7) for value in found]})
    return golden
