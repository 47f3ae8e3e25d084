"""The general set: what a tuned model must not forget. Called by the evaluate stage, and by whoever chooses between weights.

A model that is tuned on one archive can lose what it knew of everything else. Candidate, base model and active version are asked
the same questions on texts that have nothing to do with the data: docstrings of the standard library, or a set of the user's own.
"""

import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from attune.contract import GeneralMetrics, GeneralSource
from attune.contract.layout import join
from attune_retrieval import store
from attune_retrieval.encoding import Encoder
from attune_trainer.errors import BadData
from attune_trainer.evaluate import docstrings, heldout
from attune_trainer.evaluate.bootstrap import interval
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import Measured, measure_encoder

QUERIES, DOCUMENTS, CHARACTERS = 300, 400, 250
"""Of the built-in set: some seconds a model on two cores, and enough that a drop of 0.05 is seen."""
OWN_DOCUMENTS = 1000
"""Of a set of the user's own: the judged documents, and others up to so many."""
FEWEST = 20
BUILT_IN = "docstrings of Python's standard library"
JUDGEMENTS = ("qrels/test.tsv", "qrels.tsv", "qrels/dev.tsv")


@dataclass(frozen=True, slots=True)
class GeneralSet:
    """Queries over documents, and what to call them."""

    name: str
    held_out: HeldOut


def general_ndcg(encoder: Encoder, seed: int, queries: int = QUERIES) -> float:
    """nDCG@10 of a model (in memory or exported) on `queries` questions of the built-in set; higher is better, 0..1.

    The same seed asks the same questions. BadData (NoGeneralSet) where Python came without its sources.
    """
    return float(measure_encoder(encoder, built_in(seed, queries).held_out).per_query["ndcg_at10"].mean())


@cache
def built_in(seed: int, queries: int = QUERIES) -> GeneralSet:
    """A sample of the docstrings, drawn by `seed`; the first `queries` documents are asked for, the others are in the way."""
    pairs = docstrings.pairs()
    if len(pairs) < FEWEST:
        raise BadData(
            "Python was installed without its sources, so the built-in general set cannot be made; name one of your own in "
            "evaluation.general.",
            reason="NoGeneralSet",
        )
    order = np.random.default_rng([seed, 2]).permutation(len(pairs))[: max(DOCUMENTS, queries)]
    drawn = {f"{at:04}": pairs[at] for at in order.tolist()}
    asked = list(drawn)[:queries]
    documents = tuple(sorted(drawn))
    return GeneralSet(
        BUILT_IN,
        HeldOut(
            documents,
            tuple(drawn[name][1][:CHARACTERS] for name in documents),
            {name: drawn[name][0] for name in asked},
            {name: {name: 1} for name in asked},
        ),
    )


def opened(source: GeneralSource | None, seed: int, scratch: Path) -> GeneralSet:
    """The set that was asked for. Raises BadData where it is not in its form, StoreUnavailable where it cannot be reached."""
    if source is None:
        return built_in(seed)
    scratch.mkdir(parents=True, exist_ok=True)
    if source.uri.endswith(".jsonl"):
        whole = heldout.read_answered(_copied(source.uri, scratch))
    else:
        whole = heldout.read(*_beir(source.uri, scratch))
    return GeneralSet(source.uri, _sampled(whole, seed))


def _copied(uri: str, scratch: Path) -> Path:
    """Under its own name, which error messages tell."""
    target = scratch / uri.rsplit("/", 1)[-1]
    with store.local_copy(uri) as path:
        shutil.copyfile(path, target)
    return target


def _beir(uri: str, scratch: Path) -> tuple[Path, Path, Path]:
    """Local copies of corpus, queries and judgements."""
    judged = next((name for name in JUDGEMENTS if store.exists(join(uri, name))), None)
    if judged is None:
        raise BadData(
            f"evaluation.general {uri}: no {' nor '.join(JUDGEMENTS)} there; give a folder in BEIR's form, or a .jsonl file of "
            'lines {"query", "text"}.',
            reason="DataNotFound",
        )
    corpus, queries = (_copied(join(uri, name), scratch) for name in ("corpus.jsonl", "queries.jsonl"))
    return corpus, queries, _copied(join(uri, judged), scratch)


def _sampled(whole: HeldOut, seed: int) -> HeldOut:
    """At most QUERIES queries, their judged documents, and others up to OWN_DOCUMENTS, drawn by `seed`."""
    rng = np.random.default_rng([seed, 2])
    names = list(whole.queries)
    asked = [names[at] for at in sorted(rng.permutation(len(names))[:QUERIES].tolist())]
    kept = {document for name in asked for document in whole.grades[name]}
    for at in rng.permutation(len(whole.documents)).tolist():
        if len(kept) >= OWN_DOCUMENTS:
            break
        kept.add(whole.documents[at])
    texts = {name: text for name, text in zip(whole.documents, whole.texts, strict=True) if name in kept}
    documents = tuple(sorted(texts))
    return HeldOut(
        documents,
        tuple(texts[name] for name in documents),
        {name: whole.queries[name] for name in asked},
        {name: whole.grades[name] for name in asked},
    )


def compared(
    general: GeneralSet, candidate: Measured, base: Measured, active: Measured | None, *, resamples: int, seed: int
) -> GeneralMetrics:
    """The numbers of the guard; the interval is of candidate minus base, by document."""
    mine, theirs = candidate.per_query["ndcg_at10"], base.per_query["ndcg_at10"]
    return GeneralMetrics(
        name=general.name[-80:],
        queries=len(general.held_out.queries),
        documents=len(general.held_out.documents),
        ndcg_at10=round(float(mine.mean()), 5),
        base=round(float(theirs.mean()), 5),
        active=round(float(active.per_query["ndcg_at10"].mean()), 5) if active is not None else None,
        drop=round(float(theirs.mean() - mine.mean()), 5),
        interval=interval(mine - theirs, general.held_out.clusters(), resamples=resamples, seed=seed),
    )
