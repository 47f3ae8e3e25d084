"""The index stage: make a collection equal to the archive. First build, going on after a kill, and refresh are this one operation.

1. read the archive once, and find what is new, changed, or gone (nothing is written for a file that turns out broken);
2. embed what is due, window by window, longest texts together, and write each window;
3. remove what is gone; compare counts, and a sample of vectors computed anew;
4. the shard that ends last builds the indexes.

Memory: one window, whatever the size of the corpus. Called by `stages`.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attune.contract import ArchiveSource, IndexSummary, IndexWork, StageSpec, combine_digests, corpus_digest
from attune.contract.layout import Layout, join
from attune_retrieval import store as files
from attune_retrieval.artifact import open_verified
from attune_retrieval.encoding import Encoder
from attune_retrieval.index import Collection, Document, Identity, bucket_of, open_store
from attune_trainer.data.archive import stream_archive
from attune_trainer.data.records import Tally
from attune_trainer.errors import BadConfig, BadData, StoreUnavailable
from attune_trainer.indexing.ledger import Ledger
from attune_trainer.indexing.shards import shard_of
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination

WINDOW = 1024
"""Texts that are sorted by length and written together."""
SAMPLE = 16
MIN_COSINE = 0.999
READ_UNTIL, EMBED_UNTIL = 3.0, 97.0


@dataclass(frozen=True, slots=True)
class Build:
    """One shard of one run."""

    spec: StageSpec
    work: IndexWork
    archive: ArchiveSource
    scratch: Path
    reporter: Reporter
    termination: Termination

    @property
    def shard(self) -> int:
        return shard_of(self.spec)

    @property
    def shards(self) -> int:
        return self.work.shards


@dataclass(slots=True)
class Plan:
    """What the first reading found."""

    documents: int
    due: int
    digest: str
    sample: list[Document]


def build_index(
    spec: StageSpec,
    scratch: Path,
    reporter: Reporter,
    termination: Termination,
    remembering: Callable[[Encoder], Encoder] = lambda encoder: encoder,
) -> IndexSummary:
    """Do the stage. BadConfig where the spec lacks something, BadData where archive, model or collection are wrong.

    `remembering`: the model's encoder to one that gives the same vectors from what it remembers; the sample is always computed anew.
    """
    work, archive, model = spec.index, spec.data.archive, spec.model
    if work is None or archive is None or model is None:
        raise BadConfig("stage index needs `index`, `data.archive` and `model`; the spec lacks one of them.")
    reporter.update(0)
    place = files.resolve(model.uri)
    folder = Path(place.path) if place.local else files.fetch_folder(model.uri, scratch / "model")
    opened = open_verified(folder, model.digest, precision="fp32" if spec.config.precision == "fp32" else "auto")
    space, dimensions = opened.manifest.embedding_space, opened.manifest.dimensions
    if space is None or dimensions is None:
        raise BadConfig(f"{model.uri} is no embedding model; only those have an index.", reason="NotAnEmbedding")
    store = open_store(work.index)
    try:
        collection = store.create(work.collection, Identity(space, dimensions, work.index.distance))
        build = Build(spec, work, archive, scratch, reporter, termination)
        return _follow(build, collection, opened.encoder, remembering(opened.encoder))
    finally:
        store.close()


def _follow(build: Build, collection: Collection, anew: Encoder, remembering: Encoder) -> IndexSummary:
    ledger = Ledger(build.scratch)
    try:
        ledger.stored(collection.digests(build.shard, build.shards))
        plan = _read(build, ledger)
        _embed(build, collection, remembering, ledger, plan)
        removed = 0
        for ids in ledger.unwanted():
            build.termination.check()
            collection.delete(ids)
            removed += len(ids)
    finally:
        ledger.close()
    _agrees(build, collection, anew, plan)
    if _is_last(build):
        collection.finish()
    build.reporter.update(100)
    return IndexSummary(
        collection=collection.name,
        documents=plan.documents,
        embedded=plan.due,
        removed=removed,
        digest=plan.digest,
        shard=build.shard if build.shards > 1 else None,
        sampled=len(plan.sample),
    )


def _documents(build: Build, ledger: Ledger, reading: str) -> Iterator[Document]:
    """The documents of this shard. An id belongs to one shard, so duplicates are met in it."""
    tally = Tally()
    for found in stream_archive(build.archive, tally, ledger.ids(reading)):
        if bucket_of(found.id) % build.shards == build.shard:
            yield Document(found.id, found.title, found.content, found.published_at)


def _read(build: Build, ledger: Ledger) -> Plan:
    sample: list[Document] = []
    digest, chooser = corpus_digest(()), random.Random(build.spec.config.seed)  # noqa: S311  a sample, not a secret
    for number, document in enumerate(_documents(build, ledger, "first")):
        if number % WINDOW == 0:
            build.termination.check()
        ledger.want(document.id, document.digest)
        digest = combine_digests((digest, corpus_digest([(document.id, document.digest)])))
        if len(sample) < SAMPLE:
            sample.append(document)
        elif (place := chooser.randrange(number + 1)) < SAMPLE:
            sample[place] = document
    documents, due = ledger.counts()
    build.reporter.update(READ_UNTIL)
    return Plan(documents, due, digest, sample)


def _embed(build: Build, collection: Collection, encoder: Encoder, ledger: Ledger, plan: Plan) -> None:
    done = 0
    for window in _windows(_documents(build, ledger, "second") if plan.due else iter(()), ledger):
        build.termination.check()
        share = len(window) / plan.due * (EMBED_UNTIL - READ_UNTIL)
        start = READ_UNTIL + done / plan.due * (EMBED_UNTIL - READ_UNTIL)
        texts = [document.content for document in window]
        vectors = encoder.encode(texts, "document", build.reporter.part(start, start + share))
        with build.termination.defer():
            new = [n for n, document in enumerate(window) if ledger.is_new(document.id)]
            old = sorted(set(range(len(window))) - set(new))
            for rows, is_new in ((new, True), (old, False)):
                if rows:
                    collection.write([window[n] for n in rows], vectors[rows], new=is_new)
            ledger.done((document.id, document.digest) for document in window)
        done += len(window)


def _windows(documents: Iterator[Document], ledger: Ledger) -> Iterator[list[Document]]:
    window: list[Document] = []
    for document in documents:
        if not ledger.is_due(document.id, document.digest):
            continue
        window.append(document)
        if len(window) == WINDOW:
            yield window
            window = []
    if window:
        yield window


def _agrees(build: Build, collection: Collection, encoder: Encoder, plan: Plan) -> None:
    """Complete means: as many as in the archive, and the vectors are those of this model."""
    count = collection.count(build.shard, build.shards)
    if count != plan.documents:
        raise StoreUnavailable(
            f"collection {collection.name} has {count:,} documents, the archive {plan.documents:,}; the archive changed meanwhile, "
            "or somebody else writes to the collection. The next attempt compares again.",
            reason="CountsDiffer",
        )
    if not plan.sample:
        return
    stored = collection.vectors([document.id for document in plan.sample])
    computed = encoder.encode([document.content for document in plan.sample], "document")
    for document, vector in zip(plan.sample, computed, strict=True):
        found = stored.get(document.id)
        cosine = 0.0 if found is None else float(found @ vector / max(float(np.linalg.norm(found)), 1e-12))
        if not cosine >= MIN_COSINE:
            raise BadData(
                f"collection {collection.name}: the vector of document {document.id!r} has cosine {cosine:.4f} < {MIN_COSINE} to the "
                "one that this model gives; somebody else wrote it. Drop the collection, and it is built again.",
                reason="VectorsDiffer",
            )


def _is_last(build: Build) -> bool:
    """Whether every shard is done; each leaves a mark. Marks of an earlier run make several finish, which does no harm."""
    if build.shards == 1:
        return True
    owner, spec = build.spec.owner, build.spec
    folder = join(Layout(spec.storage, owner.namespace, spec.retriever).run(owner.name, owner.uid), "index")
    marks = [join(folder, f"{build.work.collection}-{n}-of-{build.shards}") for n in range(build.shards)]
    files.write_text(marks[build.shard], "done\n")
    return all(files.exists(mark) for mark in marks)
