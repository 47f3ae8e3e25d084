"""The prepare stage: sources in, a published snapshot out. Called by the CLI.

Reads like its result: articles, without duplicates, with the queries that ask for them, split, paired, given hard
negatives, written. Each step is a module; what each leaves out is counted in one `Tally`.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from attune.contract import DatasetSummary, DataSpec, Layout, ModelType, StageSpec
from attune_retrieval import store
from attune_trainer.data.archive import MAX_CONTENT_CHARACTERS
from attune_trainer.data.leads import SOURCE as LEAD
from attune_trainer.data.negatives import Encode, Mining, Pool, mine
from attune_trainer.data.novelty import new_pairs
from attune_trainer.data.pairs import PairSet, build, count_unused
from attune_trainer.data.records import Pair, Tally
from attune_trainer.data.snapshot import Contents, Json, Snapshot, write_snapshot
from attune_trainer.data.sources import Sources, read_sources, with_questions
from attune_trainer.data.split import Split, split
from attune_trainer.errors import InsufficientData, StoreUnavailable

Report = Callable[[float], None]
EncodeFactory = Callable[[], Encode]

DOUBTED = frozenset({"archive", "synthetic", LEAD})
"""Sources that nobody vouches for: a pair of theirs whose document neither ranking finds is dropped. People are believed."""


def prepare(spec: StageSpec, *, encode_factory: EncodeFactory, report: Report) -> DatasetSummary:
    """Make the snapshot that `spec` asks for. `report` gets percent; the encoder is only made if negatives are mined.

    Raises BadData and InsufficientData (final), BadConfig (final), StoreUnavailable (retried).
    """
    tally = Tally()
    sources = read_sources(_data_of(spec), tally, report)
    config = spec.config
    parts = split(
        sources.distinct.documents,
        sources.queryable,
        ratio=config.split_ratio,
        seed=config.seed,
        reserved={judgement.doc_id for judgement in sources.queries.evaluation if judgement.grade > 0},
    )
    paired = 60 if spec.data.synthetic else 35
    sources = with_questions(spec, sources, parts, tally, lambda share: report(30 + (paired - 30) * share))
    pairs = build(parts, sources.queries, tally)
    _require_enough(spec.data, pairs, tally, sources)
    report(paired)
    mined_with = _MinedWith(encode_factory, tally, lambda share: report(paired + (95 - paired) * share))
    pairs, mining = _with_negatives(spec, parts, pairs, sources, mined_with)
    _require_enough(spec.data, pairs, tally, sources)
    if spec.data.min_examples:
        mining |= {"labelledNegatives": count_unused(sources.queries, pairs, parts.train, tally)}
    facts = _facts(spec, sources, parts, pairs, tally) | {"mining": mining}
    contents = Contents(pairs.train, pairs.validation, sources.distinct.documents, pairs.held_out, facts)
    layout = Layout(spec.storage, spec.owner.namespace, spec.retriever)
    snapshot = write_snapshot(contents, layout.datasets)
    new = new_pairs(_asked(pairs.train), spec.last_trained) if spec.data.min_examples else None
    _delete_superseded(spec, snapshot, layout)
    report(100)
    return DatasetSummary(
        uri=snapshot.uri,
        digest=snapshot.digest,
        examples=len(pairs.train),
        new_pairs=new,
        cost_usd=sources.cost_usd,
        validation_examples=len(pairs.validation),
        held_out_queries=len({judgement.query_id for judgement in pairs.held_out}),
        documents=len(sources.distinct.documents),
        by_source=_by_source(pairs.train),
        dropped_by_reason=tally.by_reason(),
    )


def _data_of(spec: StageSpec) -> DataSpec:
    """No leads for rerankers: with query and text before it, one would learn that the answer begins as the question does."""
    return spec.data.model_copy(update={"leads": False}) if spec.type is ModelType.RERANKER else spec.data


def _delete_superseded(spec: StageSpec, snapshot: Snapshot, layout: Layout) -> None:
    """The earlier snapshot, unless it is this one, or was never one of ours: a schedule would fill the store in a year."""
    old = spec.superseded
    if old is None or old.uri.rstrip("/") == snapshot.uri or not old.uri.startswith(layout.datasets + "/"):
        return
    with suppress(StoreUnavailable):  # nothing depends on it
        store.delete(old.uri)


@dataclass(frozen=True, slots=True)
class _MinedWith:
    """The means of mining: who encodes, who counts, who is told the share done."""

    encode_factory: EncodeFactory
    tally: Tally
    report: Report


def _with_negatives(
    spec: StageSpec, parts: Split, pairs: PairSet, sources: Sources, mined_with: _MinedWith
) -> tuple[PairSet, Json]:
    """Negatives for both training sides, from the documents of the training side alone; suspect pairs of DOUBTED sources go."""
    wanted = spec.config.hard_negatives
    if wanted.per_query == 0 or spec.data.min_examples == 0 or not pairs.train:
        return pairs, {}
    pool = Pool(parts.train, sources.distinct, sources.queries.positives(), sources.queries.rejected())
    mining = Mining(wanted.per_query, wanted.relative_margin, spec.config.query_prompt, spec.config.document_prompt)
    mined = mine([*pairs.train, *pairs.validation], pool, mined_with.encode_factory(), mining, mined_with.report)
    suspect = {number for number in mined.suspect if mined.pairs[number].source in DOUBTED}
    for number in sorted(suspect):
        pair = mined.pairs[number]
        mined_with.tally.of(pair.source).drop("suspectPair", f"{pair.doc_id}: {pair.query[:80]}")
    border = len(pairs.train)
    train = [pair for number, pair in enumerate(mined.pairs[:border]) if number not in suspect]
    counts = {"negatives": sum(len(pair.neg_ids) for pair in train), "leftOutAsPossiblePositives": mined.above_line}
    return PairSet(train, mined.pairs[border:], pairs.held_out), counts


def _require_enough(data: DataSpec, pairs: PairSet, tally: Tally, sources: Sources) -> None:
    """InsufficientData with the numbers of what was kept and what was dropped."""
    kept = ", ".join(f"{source} {number}" for source, number in _by_source(_asked(pairs.train)).items()) or "none"
    weak = ", ".join(f"{kind} {count}" for kind, count in sources.weak_titles.items())
    dropped = f"dropped: {tally.sentence()}" + (f" (weak titles: {weak})" if weak else "")
    if not pairs.held_out:
        raise InsufficientData(
            f"no held-out query: none of {len(sources.distinct.documents)} documents has a title or label that asks; "
            f"{dropped}. Add titles, labels or an evaluation set"
        )
    count = len(_asked(pairs.train))
    remedy = tally.way_out(more_than=count)
    if count < data.min_examples:
        raise InsufficientData(
            f"{count} pair{'' if count == 1 else 's'} < {data.min_examples} (dataSource.minExamples): {kept}; "
            f"held out: {len(pairs.held_out)}, validation: {len(pairs.validation)}; {dropped}. "
            f"{f'{remedy}; or lower' if remedy else 'Lower'} minExamples or add data"
        )


def _facts(spec: StageSpec, sources: Sources, parts: Split, pairs: PairSet, tally: Tally) -> Json:
    """The manifest: what went in, what shaped it, what came out. No address, no time: equal data has equal bytes."""
    return {
        "inputs": sources.inputs,
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
            "droppedBySource": tally.by_source(),
            "weakTitles": sources.weak_titles,
            "articlesCut": sources.archive.cut,
        },
        **({"synthetic": sources.synthetic} if sources.synthetic else {}),
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


def _asked(pairs: list[Pair]) -> list[Pair]:
    """Without leads, which are made from the articles themselves: they train, and count for nothing else."""
    return [pair for pair in pairs if pair.source != LEAD]


def _by_source(pairs: list[Pair]) -> dict[str, int]:
    return dict(sorted(Counter(pair.source for pair in pairs).items()))
