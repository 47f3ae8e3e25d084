"""`manifest.json` of an artifact: what the model is, and the sha256 of every file. Read by evaluation and serving.

The digest of the manifest names the artifact: it changes when any byte of any file does.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from attune.contract import Contract, Dimensions, HostedModel, ModelType, TrainingConfig
from attune_retrieval.errors import BadData

NAME = "manifest.json"
CORRUPT = "ArtifactCorrupt"


class FileDigest(Contract):
    """One file of the artifact."""

    path: str
    bytes: int
    sha256: str


class Manifest(Contract):
    """Everything a reader needs to use the files, without the libraries that made them."""

    format: Literal["attune.dev/artifact/v1alpha1"] = "attune.dev/artifact/v1alpha1"
    type: ModelType = ModelType.EMBEDDING
    source: Literal["training", "import"]
    base_model: str
    license: str | None = None
    dimensions: int | None = Field(None, description="Length of its vectors; absent for rerankers.")
    max_sequence_length: int
    pooling: str | None = Field(None, description="Pooling of an embedding model; absent for rerankers.")
    normalized: bool = True
    prompts: dict[str, str] = Field(default_factory=dict)
    embedding_space: str | None = Field(
        None, description="Digest of weights, pooling, normalization and prompts of what embeds documents."
    )
    document_graph: str | None = Field(
        None, description="Graph that embeds documents, where onnx/model.onnx is for queries only (method queryOnly)."
    )
    matryoshka_dimensions: Dimensions | None = Field(
        None, description="Lengths below `dimensions` that its vectors were trained to be cut to."
    )
    dense_weight: float | None = Field(
        None, ge=0, le=1, description="Share of its scores where a search fuses them with BM25; absent: the default's."
    )
    rerank_weight: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of a reranker: its share beside the scores of the search it orders; absent: it alone.",
    )
    version: str | None = Field(None, description="Name of the ModelVersion it was made for.")
    dataset_digest: str | None = None
    config: TrainingConfig | None = None
    openai: HostedModel | None = Field(None, description="Set: an API gives the vectors, and there are no weights.")
    adapter: Literal["both", "query"] | None = Field(
        None, description="What adapter.safetensors maps of the API's vectors; absent: there is none."
    )
    libraries: dict[str, str] = Field(default_factory=dict)
    files: tuple[FileDigest, ...] = ()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def file_digests(folder: Path) -> tuple[FileDigest, ...]:
    """Every file below `folder` except the manifest itself, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return tuple(
        FileDigest(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=sha256(path))
        for path in files
    )


def embedding_space(weights: list[str], pooling: str, prompts: dict[str, str], *, normalized: bool = True) -> str:
    """Two models with equal values give equal vectors for equal texts; only then may they share an index."""
    parts = [*weights, pooling, f"normalized={normalized}", *(f"{role}={prompts[role]!r}" for role in sorted(prompts))]
    return "sha256:" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write(folder: Path, manifest: Manifest) -> str:
    """Write the manifest last; returns its digest."""
    (folder / NAME).write_text(manifest.to_json(indent=2) + "\n", encoding="utf-8")
    return sha256(folder / NAME)


def read(folder: Path) -> Manifest:
    """The manifest of an artifact folder; BadData where there is none or it cannot be read."""
    try:
        return Manifest.from_json((folder / NAME).read_bytes())
    except FileNotFoundError as error:
        raise BadData(f"{folder} is no artifact: it has no {NAME}.", reason=CORRUPT) from error
    except ValidationError as error:
        raise BadData(f"{folder / NAME} is damaged: {error}", reason=CORRUPT) from error


def verified(folder: Path, expected: str | None) -> Manifest:
    """The manifest, after its own digest (where one is expected) and that of every file were found right."""
    manifest = read(folder)
    found = sha256(folder / NAME)
    if expected is not None and found != expected:
        raise BadData(
            f"{folder / NAME} has digest {found}, expected {expected}: the artifact was changed.", reason=CORRUPT
        )
    for file in manifest.files:
        path = folder / file.path
        if not path.is_file():
            raise BadData(f"{path} is missing from the artifact.", reason=CORRUPT)
        if path.stat().st_size != file.bytes or sha256(path) != file.sha256:
            raise BadData(
                f"{path} does not have the digest of the manifest: it is damaged or was changed.", reason=CORRUPT
            )
    return manifest
