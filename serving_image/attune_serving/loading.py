"""One version, from its description to something that may answer: fetched, verified, its collection found. Called by `shelf`.

The only way to a model that answers traffic: digests of all files, golden answers reproduced, and (embedding) a collection
of its very space (invariants 4 and 5). Blocking; runs in a thread.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attune.contract import IndexSpec, ModelType, ServedUpstream, ServedVersion
from attune_retrieval import manifest
from attune_retrieval.artifact import GOLDEN, Opened, TextEncoder, WantedPrecision, open_checked
from attune_retrieval.errors import BadData, RetrievalError, StoreUnavailable
from attune_retrieval.graph import Floats, Tokens
from attune_retrieval.hosted import HostedEncoder
from attune_retrieval.index import Collection, Fusion, Identity, Store, open_store
from attune_retrieval.index.fusion import DEFAULT
from attune_retrieval.manifest import Manifest
from attune_retrieval.priority import gently
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.runtimes import Precision
from attune_retrieval.weighing import ALONE, fusion_of, rerank_weight_of
from attune_serving.cache import Cache, SeenCollection
from attune_serving.upstream import check_golden

PAUSE_SECONDS = 0.05
"""After each golden answer."""
MIN_SHARE = 0.9
"""A collection with fewer of the documents that it had when it was complete is not the one that was verified."""


class NotServable(Exception):
    """It cannot answer now. `reason` is one CamelCase word, as in VersionReport."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(eq=False, slots=True)
class Model:
    """A verified version in memory. `close` gives its memory back."""

    version: ServedVersion
    opened: Opened | None
    store: Store | None
    collection: Collection | None
    searched: IndexSpec | None
    upstream: ServedUpstream | None = None

    @property
    def encoder(self) -> TextEncoder:
        if self.opened is None:
            raise TypeError(f"{self.version.name} is closed")
        return self.opened.encoder

    @property
    def reranker(self) -> OnnxReranker:
        if self.opened is None:
            raise TypeError(f"{self.version.name} is closed")
        return self.opened.reranker

    @property
    def precision(self) -> Precision | None:
        """What it is computed in here; None where another server computes it."""
        computed = self.opened.model if self.opened and self.upstream is None else None
        return None if computed is None or isinstance(computed, HostedEncoder) else computed.graph.precision

    @property
    def fusion(self) -> Fusion:
        """How a hybrid search weighs its vectors against words: as its own validation set wanted it, else the default."""
        return DEFAULT if self.opened is None else fusion_of(self.opened.manifest)

    @property
    def rerank_weight(self) -> float:
        """How much a reranker counts beside the search whose candidates it orders."""
        return ALONE if self.opened is None else rerank_weight_of(self.opened.manifest)

    def run(self, batch: Sequence[Tokens]) -> Floats:
        """Compute one batch: unit vectors, or scores as shape (len(batch), 1)."""
        if self.version.type is ModelType.RERANKER:
            return self.reranker.run(batch).reshape(-1, 1)
        encoder = self.encoder
        if isinstance(encoder, HostedEncoder):
            raise TypeError(
                f"{self.version.name} is answered by {encoder.model.base_url}; nothing of it is computed here"
            )
        return encoder.run(batch)

    def close(self) -> None:
        """Nobody uses it any more."""
        self.opened = None
        self.collection = None
        if self.store is not None:
            self.store.close()
            self.store = None


def load(
    version: ServedVersion,
    index: IndexSpec | None,
    upstream: ServedUpstream | None,
    cache: Cache,
    precision: WantedPrecision = "fp32",
) -> Model:
    """The version, ready to answer. NotServable says why it is not."""
    try:
        opened = _opened(version, cache, precision)
        _is_described(version, opened)
        through = upstream if version.path == "upstream" else None
        if version.path == "upstream" and through is None:
            raise NotServable(
                "UpstreamMissing", f"{version.name} is to be answered by an upstream, and none is configured"
            )
        if through is not None:
            check_golden(through, version, cache.folder(version.digest) / GOLDEN, opened.manifest.prompts)
        if version.collection is None or index is None:
            return Model(version, opened, None, None, None, through)
        store, collection = _searchable(version, index, opened, cache)
        return Model(version, opened, store, collection, index, through)
    except NotServable:
        raise
    except RetrievalError as error:
        raise NotServable(error.reason, str(error)) from error
    except OSError as error:
        raise NotServable("StoreUnavailable", f"{version.uri}: {error}") from error


def _opened(version: ServedVersion, cache: Cache, precision: WantedPrecision) -> Opened:
    """Verified files. What is damaged in the cache is fetched anew once; what is damaged in the store is not kept."""
    cached = cache.has(version.digest)
    try:
        return _fetched_and_opened(version, cache, precision)
    except BadData as error:
        cache.drop(version.digest)
        if error.reason == "DataNotFound":  # the store answers, and has no such folder: it may come back
            raise NotServable("ArtifactMissing", str(error)) from error
        if not cached:
            raise
    try:
        return _fetched_and_opened(version, cache, precision)
    except BadData:
        cache.drop(version.digest)
        raise


def _fetched_and_opened(version: ServedVersion, cache: Cache, precision: WantedPrecision) -> Opened:
    """With little priority, and golden answers one at a time with a pause: others are being answered."""

    def checked() -> tuple[Path, Manifest]:
        folder = cache.fetch(version.uri, version.digest)
        return folder, manifest.verified(folder, version.digest)

    folder, described = gently(checked)
    return open_checked(folder, described, lambda _: time.sleep(PAUSE_SECONDS), precision=precision, aside=gently)


def _is_described(version: ServedVersion, opened: Opened) -> None:
    """The artifact is what the configuration says it is."""
    described = opened.manifest
    if described.type is not version.type:
        raise NotServable(
            "TypeMismatch", f"{version.name} is said to be {version.type.value}, its artifact is {described.type.value}"
        )
    if version.dimensions is not None and described.dimensions != version.dimensions:
        raise NotServable(
            "DimensionMismatch",
            f"{version.name} is said to have {version.dimensions} dimensions, its artifact has {described.dimensions}",
        )
    if version.embedding_space is not None and described.embedding_space != version.embedding_space:
        raise NotServable(
            "SpaceMismatch",
            f"{version.name} is said to be of embedding space {version.embedding_space}, its artifact is of "
            f"{described.embedding_space}",
        )


def _searchable(version: ServedVersion, index: IndexSpec, opened: Opened, cache: Cache) -> tuple[Store, Collection]:
    """The collection, of this model's space and of about the size it had. While its store is away, one that was seen before."""
    space, dimensions = opened.manifest.embedding_space, opened.manifest.dimensions
    if space is None or dimensions is None or version.collection is None:
        raise NotServable(
            "SpaceMismatch", f"{version.name} has no embedding space in its manifest; it cannot be searched"
        )
    store = open_store(index)
    try:
        collection = store.open(version.collection, Identity(space, dimensions, index.distance))
        documents = collection.describe().documents
    except StoreUnavailable as error:
        known = cache.seen(version.digest)
        store.close()
        if known is None or (known.collection, known.space) != (version.collection, space):
            raise NotServable("IndexUnavailable", str(error)) from error
        return _later(version.collection, index, Identity(space, dimensions, index.distance))
    except BaseException:
        store.close()
        raise
    if version.documents is not None and documents < MIN_SHARE * version.documents:
        store.close()
        raise NotServable(
            "CollectionIncomplete",
            f"collection {version.collection} has {documents:,} documents, {version.documents:,} when it was complete; the next "
            "run of the index stage adds what is missing",
        )
    cache.saw(
        version.digest,
        SeenCollection(collection=version.collection, space=space, dimensions=dimensions, documents=documents),
    )
    return store, collection


def _later(name: str, index: IndexSpec, identity: Identity) -> tuple[Store, Collection]:
    from attune_serving.reopening import Reopening

    store = open_store(index)
    return store, Reopening(store, name, identity)


def is_unit(vectors: Floats) -> bool:
    """Whether these are finite vectors of some length: what a model must give to be trusted with a query."""
    return bool(np.isfinite(vectors).all() and (np.abs(vectors).sum(axis=-1) > 0).all())
