"""All that is read, without duplicates, and who asks what: archive, labels, feedback, evaluation set, synthetic questions.

Called by prepare.py: first what lies in files; then, when the sides are known, the language model's questions, which cost money and are
therefore asked of the documents that are trained on, and of held-out ones only where nobody else asks them anything.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from attune.contract import DataSpec, Layout, StageSpec
from attune_trainer.data.archive import Archive, read_archive
from attune_trainer.data.dedup import Distinct, distinct
from attune_trainer.data.feedback import read_feedback
from attune_trainer.data.judgements import Judgements, read_labels
from attune_trainer.data.leads import leads
from attune_trainer.data.pairs import LABELS_SUFFICE, Queries, build
from attune_trainer.data.records import Document, Tally
from attune_trainer.data.snapshot import Json
from attune_trainer.data.split import Split
from attune_trainer.data.titles import strong
from attune_trainer.errors import BadConfig

Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """`inputs`: what each source's file was, for the manifest; `candidates`: documents to ask a language model about, the most
    useful first; `cost_usd`: what it cost."""

    archive: Archive
    distinct: Distinct
    queries: Queries
    weak_titles: dict[str, int]
    inputs: dict[str, Json]
    candidates: Sequence[Document] = ()
    synthetic: Json = field(default_factory=dict)
    cost_usd: float | None = None

    @property
    def queryable(self) -> frozenset[str]:
        """Ids of documents that somebody asks for, or is going to."""
        asked = self.queries.queryable | {document.id for document in self.candidates}
        return asked or frozenset(document.id for document in self.queries.titles)


def read_sources(data: DataSpec, tally: Tally, report: Report) -> Sources:
    """Everything that lies in files. `report` gets percent, up to 30. Raises BadData, BadConfig, StoreUnavailable."""
    if data.archive is None:
        raise BadConfig(
            "data.archive is not set: prepare needs the articles, they are the corpus", reason="SourceNotDefined"
        )
    only_evaluated = data.evaluation is not None and data.min_examples == 0
    needs_title = not (data.labels or data.feedback or data.synthetic or only_evaluated)
    archive = read_archive(data.archive, tally, needs_title=needs_title)
    report(10)
    unlike = distinct(archive.documents, tally, lambda share: report(10 + 20 * share))
    titled, weak = strong(unlike.documents, tally)
    labels = read_labels(data.labels, unlike.kept_id, "labels", tally) if data.labels else Judgements()
    tested = read_labels(data.evaluation.uri, unlike.kept_id, "evaluation", tally) if data.evaluation else Judgements()
    rated = read_feedback(data.feedback, unlike.documents, unlike.kept_id, tally) if data.feedback else Judgements()
    own = tuple(leads(unlike.documents)) if data.leads and data.min_examples else ()
    queries = Queries(titled, (*labels.items, *rated.items), tested.items, titles_train=data.titles, leads=own)
    inputs = {"archive": {"digest": archive.digest, "rows": archive.rows}}
    read = {"labels": labels, "evaluation": tested, "feedback": rated}
    inputs |= {name: {"digest": one.digest, "rows": one.rows} for name, one in read.items() if one.digest}
    candidates = _candidates(data, unlike.documents, queries)
    return Sources(archive, unlike, queries, weak, inputs, candidates)


def with_questions(spec: StageSpec, sources: Sources, parts: Split, tally: Tally, report: Report) -> Sources:
    """The same, with a language model's questions where the spec wants them. `report` gets 0..1."""
    asked_for = spec.data.synthetic
    if asked_for is None:
        return sources
    from attune_trainer.data.synthetic.asking import Purse, ask_about

    layout = Layout(spec.storage, spec.owner.namespace, spec.retriever)
    documents = _of_asked_sides(sources, parts)
    asked = ask_about(documents, asked_for, Purse(layout.synthetic, spec.owner.uid), tally, report)
    inputs = sources.inputs | {"synthetic": {"digest": asked.digest, "rows": len(asked.judgements)}}
    return replace(
        sources,
        queries=replace(sources.queries, synthetic=asked.judgements),
        inputs=inputs,
        synthetic=asked.facts,
        cost_usd=asked.cost_usd,
    )


def _candidates(data: DataSpec, documents: Sequence[Document], queries: Queries) -> list[Document]:
    """Those first that nobody else asks for; else by a hash, so that the choice stays when articles are added."""
    if data.synthetic is None or data.min_examples == 0:
        return []
    asked = queries.queryable

    def order(document: Document) -> tuple[bool, str]:
        return document.id in asked, hashlib.sha256(f"synthetic\0{document.id}".encode()).hexdigest()

    return sorted(documents, key=order)[: data.synthetic.max_articles]


def _of_asked_sides(sources: Sources, parts: Split) -> list[Document]:
    """Without the held-out side, unless people and titles ask too little of it."""
    held_out = {document.id for document in parts.held_out}
    if len(build(parts, sources.queries, Tally()).held_out) < LABELS_SUFFICE and not sources.queries.evaluation:
        held_out = set()
    return [document for document in sources.candidates if document.id not in held_out]
