"""The prepare stage: sources in, a published snapshot out. Called by the CLI.

Reads like its result: articles, without duplicates, with the queries that ask for them, split, paired, given hard
negatives, written. Each step is a module; what each leaves out is counted in one `Tally`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from attune.contract import DatasetSummary, DataSpec, Layout, StageSpec
from attune_trainer.data.archive import MAX_CONTENT_CHARACTERS, Archive, read_archive
from attune_trainer.data.dedup import Distinct, distinct
from attune_trainer.data.judgements import Judgements, read_feedback, read_labels
from attune_trainer.data.negatives import Encode, Mining, Pool, mine
from attune_trainer.data.pairs import PairSet, Queries, build, rejected
from attune_trainer.data.records import Pair, Tally
from attune_trainer.data.snapshot import Contents, Json, write_snapshot
from attune_trainer.data.split import Split, split
from attune_trainer.data.titles import strong
from attune_trainer.errors import BadConfig, InsufficientData

Report = Callable[[float], None]
EncodeFactory = Callable[[], Encode]


def prepare(spec: StageSpec, *, encode_factory: EncodeFactory, report: Report) -> DatasetSummary:
    """Make the snapshot that `spec` asks for. `report` gets percent; the encoder is only made if negatives are mined.

    Raises BadData and InsufficientData (final), BadConfig (final), StoreUnavailable (retried).
    """
    tally = Tally()
    sources = _read(spec.data, tally, report)
    config = spec.config
    parts = split(
        sources.distinct.documents,
        sources.queries.queryable,
        ratio=config.split_ratio,
        seed=config.seed,
        reserved={judgement.doc_id for judgement in sources.queries.evaluation if judgement.grade > 0},
    )
    pairs = build(parts, sources.queries, tally)
    _require_enough(spec.data, pairs, tally, sources)
    report(35)
    mined_with = _MinedWith(encode_factory, tally, lambda share: report(35 + 60 * share))
    pairs, mining = _with_negatives(spec, parts, pairs, sources, mined_with)
    _require_enough(spec.data, pairs, tally, sources)
    facts = _facts(spec, sources, parts, pairs, tally) | {"mining": mining}
    contents = Contents(pairs.train, pairs.validation, sources.distinct.documents, pairs.held_out, facts)
    layout = Layout(spec.storage, spec.owner.namespace, spec.retriever)
    snapshot = write_snapshot(contents, layout.datasets)
    report(100)
    return DatasetSummary(
        uri=snapshot.uri,
        digest=snapshot.digest,
        examples=len(pairs.train),
        validation_examples=len(pairs.validation),
        held_out_queries=len({judgement.query_id for judgement in pairs.held_out}),
        documents=len(sources.distinct.documents),
        by_source=_by_source(pairs.train),
        dropped_by_reason=tally.by_reason(),
    )


@dataclass(frozen=True, slots=True)
class _Sources:
    """All that was read, without duplicates."""

    archive: Archive
    distinct: Distinct
    queries: Queries
    weak_titles: dict[str, int]
    inputs: dict[str, Judgements]


@dataclass(frozen=True, slots=True)
class _MinedWith:
    """The means of mining: who encodes, who counts, who is told the share done."""

    encode_factory: EncodeFactory
    tally: Tally
    report: Report


def _read(data: DataSpec, tally: Tally, report: Report) -> _Sources:
    if data.archive is None:
        raise BadConfig(
            "data.archive is not set: prepare needs the articles, they are the corpus", reason="SourceNotDefined"
        )
    only_evaluated = data.evaluation is not None and data.min_examples == 0
    needs_title = not (data.labels or data.feedback or only_evaluated)
    archive = read_archive(data.archive, tally, needs_title=needs_title)
    report(10)
    unlike = distinct(archive.documents, tally, lambda share: report(10 + 20 * share))
    titled, weak = strong(unlike.documents, tally)
    labels = read_labels(data.labels, unlike.kept_id, "labels", tally) if data.labels else Judgements()
    tested = read_labels(data.evaluation.uri, unlike.kept_id, "evaluation", tally) if data.evaluation else Judgements()
    rated = read_feedback(data.feedback, unlike.documents, unlike.kept_id, tally) if data.feedback else Judgements()
    queries = Queries(titled, (*labels.items, *rated.items), tested.items)
    return _Sources(archive, unlike, queries, weak, {"labels": labels, "evaluation": tested, "feedback": rated})


def _with_negatives(
    spec: StageSpec, parts: Split, pairs: PairSet, sources: _Sources, mined_with: _MinedWith
) -> tuple[PairSet, Json]:
    """Negatives for both training sides, from the documents of the training side alone; suspect title pairs go."""
    wanted = spec.config.hard_negatives
    if wanted.per_query == 0 or spec.data.min_examples == 0 or not pairs.train:
        return pairs, {}
    pool = Pool(parts.train, sources.distinct, sources.queries.positives(), rejected(sources.queries.judged))
    mining = Mining(wanted.per_query, wanted.relative_margin, spec.config.query_prompt, spec.config.document_prompt)
    mined = mine([*pairs.train, *pairs.validation], pool, mined_with.encode_factory(), mining, mined_with.report)
    suspect = {number for number in mined.suspect if mined.pairs[number].source == "archive"}
    for number in sorted(suspect):
        mined_with.tally.drop("suspectPair", f"{mined.pairs[number].doc_id}: {mined.pairs[number].query[:80]}")
    border = len(pairs.train)
    train = [pair for number, pair in enumerate(mined.pairs[:border]) if number not in suspect]
    counts = {"negatives": sum(len(pair.neg_ids) for pair in train), "leftOutAsPossiblePositives": mined.above_line}
    return PairSet(train, mined.pairs[border:], pairs.held_out), counts


def _require_enough(data: DataSpec, pairs: PairSet, tally: Tally, sources: _Sources) -> None:
    """InsufficientData with the numbers of what was kept and what was dropped."""
    kept = ", ".join(f"{source} {number}" for source, number in _by_source(pairs.train).items()) or "none"
    weak = ", ".join(f"{kind} {count}" for kind, count in sources.weak_titles.items())
    dropped = f"dropped: {tally.sentence()}" + (f" (weak titles: {weak})" if weak else "")
    if not pairs.held_out:
        raise InsufficientData(
            f"no held-out query: none of {len(sources.distinct.documents)} documents has a title or label that asks; "
            f"{dropped}. Add titles, labels or an evaluation set"
        )
    count, remedy = len(pairs.train), tally.way_out(more_than=len(pairs.train))
    if count < data.min_examples:
        raise InsufficientData(
            f"{count} pair{'' if count == 1 else 's'} < {data.min_examples} (dataSource.minExamples): {kept}; "
            f"held out: {len(pairs.held_out)}, validation: {len(pairs.validation)}; {dropped}. "
            f"{f'{remedy}; or lower' if remedy else 'Lower'} minExamples or add data"
        )


def _facts(spec: StageSpec, sources: _Sources, parts: Split, pairs: PairSet, tally: Tally) -> Json:
    """The manifest: what went in, what shaped it, what came out. No address, no time: equal data has equal bytes."""
    inputs = {"archive": {"digest": sources.archive.digest, "rows": sources.archive.rows}}
    inputs |= {name: {"digest": read.digest, "rows": read.rows} for name, read in sources.inputs.items() if read.digest}
    return {
        "inputs": inputs,
        "settings": _settings(spec),
        "split": {
            "by": parts.by,
            "heldOutSince": parts.since,
            "trainDocuments": len(parts.train),
            "validationDocuments": len(parts.validation),
            "heldOutDocuments": len(parts.held_out),
        },
        "counts": {
            "examples": len(pairs.train),
            "validationExamples": len(pairs.validation),
            "heldOutQueries": len({judgement.query_id for judgement in pairs.held_out}),
            "documents": len(sources.distinct.documents),
            "bySource": _by_source(pairs.train),
            "droppedByReason": tally.by_reason(),
            "weakTitles": sources.weak_titles,
            "articlesCut": sources.archive.cut,
        },
        "firstDropped": dict(sorted(tally.examples.items())),
    }


def _settings(spec: StageSpec) -> Json:
    config, data = spec.config, spec.data
    settings: Json = {
        "seed": config.seed,
        "splitRatio": config.split_ratio,
        "articleCharacters": MAX_CONTENT_CHARACTERS,
        "hardNegatives": config.hard_negatives.model_dump(by_alias=True),
    }
    if config.hard_negatives.per_query and data.min_examples:
        settings |= {
            "baseModel": config.base_model,
            "queryPrompt": config.query_prompt,
            "documentPrompt": config.document_prompt,
            "maxSequenceLength": config.max_sequence_length,
        }
    return settings


def _by_source(pairs: list[Pair]) -> dict[str, int]:
    return dict(sorted(Counter(pair.source for pair in pairs).items()))
