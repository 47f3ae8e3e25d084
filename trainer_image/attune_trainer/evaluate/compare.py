"""An embedding model against the active version, the base model and BM25, on one held-out set. Called by the evaluate stage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attune.contract import EvaluationConfig
from attune_retrieval.artifact import open_verified
from attune_retrieval.encoding import Encoder
from attune_retrieval.index.fusion import DEFAULT
from attune_retrieval.manifest import Manifest
from attune_retrieval.weighing import fusion_of
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import ByWords
from attune_trainer.evaluate.measure import (
    Measured,
    Searched,
    hybrid_intervals,
    intervals,
    measure_rankings,
    measure_with_words,
)

Advance = Callable[[float], None]
Parts = Callable[[float, float], Advance]
"""`report(start, end)` gives the function that hears the share of a part of the work."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An opened artifact, and what its manifest says."""

    encoder: Encoder
    manifest: Manifest

    @staticmethod
    def open(folder: Path, digest: str | None) -> "Candidate":
        """Verified by digests and golden vectors; BadData (ArtifactCorrupt) otherwise."""
        opened = open_verified(folder, digest)
        return Candidate(opened.encoder, opened.manifest)

    @property
    def dense_weight(self) -> float:
        """Share of its vectors in a hybrid search."""
        return fusion_of(self.manifest).dense_weight

    def is_import_of(self, base: str) -> bool:
        """Whether this is the untouched base model itself, so that it need not be measured twice."""
        return self.manifest.source == "import" and self.manifest.base_model == base

    def same_model(self, other: "Candidate") -> bool:
        """Whether both rank alike. Versions of one space may differ in how they read queries (method queryOnly, an adapter)."""
        mine, theirs = self.manifest, other.manifest
        if mine.embedding_space != theirs.embedding_space or mine.max_sequence_length != theirs.max_sequence_length:
            return False
        one_graph = mine.document_graph is None and theirs.document_graph is None
        return (one_graph and _weights(mine) == _weights(theirs)) or mine.files == theirs.files


def _weights(manifest: Manifest) -> list[str]:
    return [file.sha256 for file in manifest.files if file.path.endswith(".safetensors")]


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured on one set: by vectors alone, and fused with BM25 in the shares of each version."""

    candidate: Searched
    active: Searched | None
    base: Searched

    @property
    def other(self) -> Searched:
        """Whom the candidate is compared with."""
        return self.active or self.base


@dataclass(frozen=True, slots=True)
class _Measure:
    """Measures an encoder on one set."""

    held_out: HeldOut
    words: ByWords
    k: int

    def __call__(self, encoder: Encoder, dense_weight: float, advance: Advance) -> Searched:
        return measure_with_words(encoder, self.held_out, self.words, dense_weight, k=self.k, advance=advance)


@dataclass(frozen=True, slots=True)
class Contenders:
    """Who is compared. `base` is only called where the base model is neither of the other two."""

    candidate: Candidate
    active: Candidate | None
    base_name: str
    base: Callable[[], Encoder]

    @property
    def base_encoder(self) -> Encoder:
        """The base model: what a contender that is its import has open already, else loaded."""
        known = [one for one in (self.candidate, self.active) if one is not None and one.is_import_of(self.base_name)]
        return known[0].encoder if known else self.base()

    def on(self, held_out: HeldOut, *, k: int, report: Parts) -> Measurements:
        """Candidate, active version and base model on a set; who is the same model, with the same share, is measured once."""
        measure = _Measure(held_out, ByWords.over(held_out), k)
        candidate = measure(self.candidate.encoder, self.candidate.dense_weight, report(5, 40))
        active = self._active(candidate, measure, report(40, 65))
        return Measurements(candidate, active, self._base(candidate, active, measure, report(65, 98)))

    def _active(self, candidate: Searched, measure: _Measure, advance: Advance) -> Searched | None:
        if self.active is None:
            return None
        if self.active.same_model(self.candidate) and self.active.dense_weight == self.candidate.dense_weight:
            return candidate
        return measure(self.active.encoder, self.active.dense_weight, advance)

    def _base(self, candidate: Searched, active: Searched | None, measure: _Measure, advance: Advance) -> Searched:
        if self.candidate.is_import_of(self.base_name):
            return candidate
        if active is not None and self.active is not None and self.active.is_import_of(self.base_name):
            return active
        return measure(self.base(), DEFAULT.dense_weight, advance)


def compare(
    contenders: Contenders, held_out: HeldOut, config: EvaluationConfig, *, seed: int, report: Parts
) -> Comparison:
    """Measure all, compare the candidate with the active version or, where none is active, with the base model."""
    of_bm25 = measure_bm25(held_out, k=config.k)
    found = contenders.on(held_out, k=config.k, report=report)
    candidate, other = found.candidate, found.other
    drawn = {"resamples": config.resamples, "seed": seed}
    differences = intervals(candidate.alone, other.alone, held_out, **drawn)
    differences |= hybrid_intervals(candidate.hybrid, other.hybrid, held_out, **drawn)
    return Comparison(
        held_out,
        candidate.alone,
        found.active.alone if found.active else None,
        found.base.alone,
        of_bm25,
        differences,
        candidate.hybrid,
        other.hybrid,
    )


def measure_bm25(held_out: HeldOut, *, k: int) -> Measured:
    """BM25 over the same corpus; a document without a word of the query is not found."""
    positions, scores = Bm25(held_out.texts).search(list(held_out.queries.values()), max(k, 10))
    rankings = [
        [held_out.documents[position] for position, score in zip(row, row_scores, strict=True) if score > 0]
        for row, row_scores in zip(positions.tolist(), scores.tolist(), strict=True)
    ]
    return measure_rankings(rankings, held_out, k=k)
