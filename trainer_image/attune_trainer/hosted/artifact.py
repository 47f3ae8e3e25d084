"""Writes the artifact of a version that an API answers for; `attune_retrieval.hosted` opens it. Called by `hosted.stages`."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from attune.contract import HostedModel
from attune_retrieval import hosted, manifest
from attune_retrieval.artifact import GOLDEN
from attune_retrieval.hosted import ADAPTER_FILE, WEIGHT, Adapter, HostedEncoder
from attune_trainer.export.artifact import GOLDEN_TEXTS, Provenance, Written, documented


def write_hosted(model: HostedModel, adapter: Adapter | None, folder: Path, provenance: Provenance) -> Written:
    """Into the empty `folder`. Asks the API for the golden texts: BadConfig, StoreUnavailable where it does not answer."""
    from safetensors.numpy import save_file

    config = provenance.config
    assert config is not None
    folder.mkdir(parents=True, exist_ok=True)
    if adapter is not None:
        save_file({WEIGHT: np.ascontiguousarray(adapter.weight)}, folder / ADAPTER_FILE)
    prompts = {"query": config.query_prompt, "document": config.document_prompt}
    encoder = HostedEncoder(model, prompts=prompts, max_length=config.max_sequence_length, adapter=adapter)
    golden = hosted.golden(encoder, GOLDEN_TEXTS)
    (folder / GOLDEN).write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")
    files = manifest.file_digests(folder)
    described = manifest.Manifest(
        source=provenance.source,
        base_model=provenance.base_model,
        dimensions=len(golden[0]["vector"]),
        max_sequence_length=config.max_sequence_length,
        prompts=prompts,
        embedding_space=space_of(model, adapter, files, prompts),
        version=provenance.version,
        dataset_digest=provenance.dataset_digest,
        config=config,
        openai=model,
        adapter=adapter.side if adapter is not None else None,
        libraries={name: version(name) for name in ("torch", "openai")},
        files=files,
    )
    described = documented(folder, described, provenance)
    return Written(folder, manifest.write(folder, described), described)


def space_of(
    model: HostedModel, adapter: Adapter | None, files: tuple[manifest.FileDigest, ...], prompts: dict[str, str]
) -> str:
    """Of the document vectors: an adapter of the query side leaves them, and with them the index, as they are."""
    if adapter is not None and adapter.side == "query":
        return manifest.embedding_space([], model.name, {"document": prompts["document"]})
    weights = [file.sha256 for file in files if file.path == ADAPTER_FILE]
    return manifest.embedding_space(weights, model.name, prompts)
