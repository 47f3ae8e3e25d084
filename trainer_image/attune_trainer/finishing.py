"""Between training and export: the best mean of tuned and base weights, and a last look in float32. Called by the train stage.

Each mean is asked the validation questions, the best one those of the general set, too: where it has forgotten more than
evaluation.maxGeneralDrop allows the next best is taken, so that a merge is tried before a gate has to close.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attune_trainer import base_model
from attune_trainer.encode import TorchEncoder
from attune_trainer.errors import StageError
from attune_trainer.evaluate import general
from attune_trainer.evaluate.general import GeneralSet
from attune_trainer.evaluate.measure import measure_encoder
from attune_trainer.hardware import precision_of
from attune_trainer.stage_work import Work
from attune_trainer.train.merge import SHARES, Looks, keep_best_mean
from attune_trainer.train.proof import refuse_another_model
from attune_trainer.train.search_weights import dense_weight
from attune_trainer.train.validation import look, score

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from attune_trainer.train.embedding import Trained

log = logging.getLogger(__name__)
BEGIN, MEANS_TRIED, END = 80, 90, 92
"""Percent of the stage."""


def finished(work: Work, trained: "Trained", base: Path) -> "Trained":
    """`trained` as it is to be exported, and what is to be said of it. Unchanged where there are no validation pairs."""
    if trained.validation is None:
        return trained
    # With method queryOnly there is nothing to mix: its documents are the base model's anyway.
    return _looked_at(work, trained if trained.document is not None else _with_best_mean(work, trained, base))


def _with_best_mean(work: Work, trained: "Trained", base: Path) -> "Trained":
    assert trained.validation is not None
    config, looks_on, check = work.spec.config, trained.validation.looks, work.termination.check
    reads = base_model.trained_length(trained.model, config)  # as the looks that these are held against
    untouched = base_model.load_for(config, base)
    untouched.max_seq_length = trained.model.max_seq_length
    precision = precision_of(config)
    chosen_set = _general_set(work)

    def remembers(model: "SentenceTransformer") -> float:
        assert chosen_set is not None
        encoder = TorchEncoder(model, check, precision)
        return float(measure_encoder(encoder, chosen_set.held_out).per_query["ndcg_at10"].mean())

    looks = Looks(
        validation=lambda: look(TorchEncoder(trained.model, check, precision, reads=reads), looks_on).ndcg,
        general=(lambda: remembers(trained.model)) if chosen_set else None,
        lowest_general=remembers(untouched) - work.spec.evaluation.max_general_drop if chosen_set else None,
    )
    tried = _counted(work.reporter.part(BEGIN, MEANS_TRIED))
    kept = keep_best_mean(trained.model, untouched.state_dict(), looks, tried)
    # The tuned weights alone were tried first: the best ones of the run, or else they were not put back rightly.
    refuse_another_model(trained.metrics.validation_ndcg_at10, kept.of_tuned, "the model in memory has")
    log.info("share %g of the tuned weights is kept: nDCG@10 %.3f on the validation set", kept.share, kept.score)
    return replace(trained, metrics=trained.metrics.model_copy(update={"tuned_share": kept.share}))


def _looked_at(work: Work, trained: "Trained") -> "Trained":
    """Once more in float32: the exported files are held against this score. The same vectors tell their weight in a hybrid search."""
    assert trained.validation is not None
    validation, check = trained.validation, work.termination.check
    whole = validation.whole
    queries = TorchEncoder(trained.model, check).encode(list(whole.queries.values()), "query")
    documents = TorchEncoder(trained.document or trained.model, check).encode(
        whole.texts, "document", work.reporter.part(MEANS_TRIED, END)
    )
    told = {
        "validation_ndcg_at10": score(queries, documents[validation.rows_of_looks], validation.looks, 0.0).ndcg,
        "dense_weight": dense_weight(queries, documents, whole),
    }
    return replace(trained, metrics=trained.metrics.model_copy(update=told))


def _counted(advance: Callable[[float], None]) -> Callable[[], None]:
    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        advance(done / len(SHARES))

    return one_more


def _general_set(work: Work) -> GeneralSet | None:
    """None where there is none: the evaluation says why."""
    try:
        return general.opened(work.spec.evaluation.general, work.spec.config.seed, work.scratch / "general")
    except StageError as error:
        log.warning("means of weights are chosen by the validation set alone: %s", error)
        return None
