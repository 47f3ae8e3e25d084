"""Opens a version's artifact, once it was found right: digests of all files, then the golden answers.

Called by evaluation, by the index stage and by serving; the only way to a model that may answer traffic (invariant 4).
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attune.contract import ModelType
from attune_retrieval import hosted, manifest
from attune_retrieval.encoding import Advance, OnnxEncoder
from attune_retrieval.errors import BadConfig, BadData, StoreUnavailable
from attune_retrieval.hosted import HostedEncoder
from attune_retrieval.manifest import Manifest
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.runtimes import Precision, fastest_precision

log = logging.getLogger(__name__)
GOLDEN = "golden.json"
MIN_COSINE = 0.9999
MAX_SCORE_DIFFERENCE = 1e-3
TextEncoder = OnnxEncoder | HostedEncoder
Aside = Callable[[Callable[[], None]], None]
"""Does the work that it is given, now or in another thread, and returns when it is done."""
WantedPrecision = Literal["auto", "fp32"]
"""auto: bf16 where this processor has instructions for it and the golden answers stay right, else fp32."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A verified model. `model` is an encoder or a reranker, as `manifest.type` says."""

    model: TextEncoder | OnnxReranker
    manifest: Manifest
    digest: str

    @property
    def encoder(self) -> TextEncoder:
        """The model of an embedding version; TypeError for a reranker."""
        if not isinstance(self.model, TextEncoder):
            raise TypeError(f"{self.manifest.type.value} is no encoder")
        return self.model

    @property
    def reranker(self) -> OnnxReranker:
        """The model of a reranker version; TypeError for an encoder."""
        if not isinstance(self.model, OnnxReranker):
            raise TypeError(f"{self.manifest.type.value} is no reranker")
        return self.model


def open_verified(
    folder: Path,
    expected: str | None,
    advance: Advance | None = None,
    *,
    threads: int | None = None,
    precision: WantedPrecision = "fp32",
) -> Opened:
    """The model of the artifact in `folder`; BadData (ArtifactCorrupt) unless digests and golden answers are right.

    Where an API answers for the version it is asked for the golden texts, and may be away (StoreUnavailable) or refuse (BadConfig).
    `expected` is the sha256 of its manifest.json; None trusts the manifest that is there. `advance` hears 0..1. With `precision`
    auto an embedding model is computed in bf16 where that is faster here and its golden answers are right all the same.
    """
    return open_checked(folder, manifest.verified(folder, expected), advance, threads=threads, precision=precision)


def open_checked(
    folder: Path,
    described: Manifest,
    advance: Advance | None = None,
    *,
    threads: int | None = None,
    precision: WantedPrecision = "fp32",
    aside: Aside = lambda work: work(),
) -> Opened:
    """The second half of `open_verified`, for a manifest that `manifest.verified` gave: the golden answers.

    `aside` does what computes them: `priority.gently` where requests are answered meanwhile.
    """
    opened = partial(open_unverified, folder, described, threads=threads)
    # A reranker's score has three digits in bf16: near ones would tie, and no real one gives its golden answers.
    may = precision == "auto" and described.type is ModelType.EMBEDDING and described.openai is None
    if may and fastest_precision() == "bf16":
        try:
            return _checked(folder, described, lambda: opened(precision="bf16"), advance, aside)
        except BadData as problem:
            log.warning("tried in bf16 and computed in fp32, which takes twice the time: %s", problem)
    return _checked(folder, described, opened, advance, aside)


def _checked(
    folder: Path,
    described: Manifest,
    opened: Callable[[], TextEncoder | OnnxReranker],
    advance: Advance | None,
    aside: Aside,
) -> Opened:
    try:
        model = opened()
        golden: list[dict[str, Any]] = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
        if not golden:
            raise ValueError("no golden answers")
        if isinstance(model, HostedEncoder):
            hosted.check(folder, model, golden)
            return Opened(model, described, manifest.sha256(folder / manifest.NAME))
        aside(partial(_all_reproduced, folder, model, golden, advance))
    except (BadConfig, BadData, StoreUnavailable):
        raise
    except Exception as error:  # the runtimes and tokenizers raise their own kinds; the files are at fault
        raise BadData(
            f"{folder}: cannot be opened: {type(error).__name__}: {error}", reason=manifest.CORRUPT
        ) from error
    if isinstance(model, OnnxEncoder):
        model.rest()
    return Opened(model, described, manifest.sha256(folder / manifest.NAME))


def open_unverified(
    folder: Path, described: Manifest, *, threads: int | None = None, precision: Precision = "fp32"
) -> TextEncoder | OnnxReranker:
    """The model as the files say, right or not. For `open_verified`, and for the exporter that makes the golden answers.

    `precision` is an encoder's; rerankers are computed in fp32.
    """
    if described.openai is not None:
        return hosted.open_hosted(folder, described)
    if described.type is ModelType.RERANKER:
        return OnnxReranker(folder, max_length=described.max_sequence_length, threads=threads)
    return OnnxEncoder(
        folder,
        prompts=described.prompts,
        max_length=described.max_sequence_length,
        threads=threads,
        document_graph=described.document_graph,
        precision=precision,
    )


def _all_reproduced(
    folder: Path, model: OnnxEncoder | OnnxReranker, golden: Sequence[dict[str, Any]], advance: Advance | None
) -> None:
    for number, entry in enumerate(golden):
        _reproduces(folder, model, number, entry)
        if advance:
            advance((number + 1) / len(golden))


def _reproduces(folder: Path, model: OnnxEncoder | OnnxReranker, number: int, entry: dict[str, Any]) -> None:
    """Raise unless the model gives the recorded answer."""
    if isinstance(model, OnnxReranker):
        found = float(model.score([(entry["query"], entry["document"])])[0])
        if not abs(found - entry["score"]) <= MAX_SCORE_DIFFERENCE:
            raise _wrong(folder, number, f"score {found:.5f}, {entry['score']:.5f} recorded")
        return
    vector = model.encode([entry["text"]], entry["role"])[0]
    expected = np.asarray(entry["vector"], dtype=np.float32)
    if vector.shape != expected.shape:
        raise _wrong(folder, number, f"{vector.shape[0]} dimensions, {expected.shape[0]} recorded")
    cosine = float(np.dot(vector, expected))
    if not cosine >= MIN_COSINE:
        raise _wrong(folder, number, f"cosine {cosine:.6f} < {MIN_COSINE} to its recorded vector")


def _wrong(folder: Path, number: int, what: str) -> BadData:
    return BadData(
        f"{folder}: golden text {number} gives {what}; the files are damaged or the runtime differs.",
        reason=manifest.CORRUPT,
    )
