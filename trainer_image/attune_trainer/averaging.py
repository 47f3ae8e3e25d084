"""After training: which mean of the tuned and the base model's weights becomes the version. Called by the train stage.

Each mean is asked the validation questions, and those of the general set: one that has forgotten more than
evaluation.maxGeneralDrop allows is passed over, so that a merge is tried before a gate has to close.
"""

import logging
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
from attune_trainer.train.merge import Looks, keep_best_mean
from attune_trainer.train.proof import prove
from attune_trainer.train.validation import look

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from attune_trainer.train.embedding import Trained

log = logging.getLogger(__name__)


def with_best_mean(work: Work, trained: "Trained", base: Path) -> "Trained":
    """`trained` with the weights that are kept, and what they score. Unchanged without validation pairs, and for queryOnly, whose
    documents are the base model's anyway."""
    held_out = trained.held_out
    if held_out is None or trained.document is not None:
        return trained
    config, check = work.spec.config, work.termination.check
    untouched = base_model.load_for(config, base)
    untouched.max_seq_length = trained.model.max_seq_length
    precision = precision_of(config)
    # That the best weights are back in the model: what follows measures it anew.
    prove(trained.metrics, lambda: look(TorchEncoder(trained.model, check, precision), held_out))
    chosen_set = _general_set(work)

    def remembers(model: "SentenceTransformer") -> float:
        assert chosen_set is not None
        encoder = TorchEncoder(model, check, precision)
        return float(measure_encoder(encoder, chosen_set.held_out).per_query["ndcg_at10"].mean())

    looks = Looks(
        validation=lambda: look(TorchEncoder(trained.model, check, precision), held_out).ndcg,
        general=(lambda: remembers(trained.model)) if chosen_set else None,
        lowest_general=remembers(untouched) - work.spec.evaluation.max_general_drop if chosen_set else None,
    )
    kept = keep_best_mean(trained.model, untouched.state_dict(), looks)
    log.info("share %g of the tuned weights is kept: nDCG@10 %.3f on the validation set", kept.share, kept.score)
    # Once more in float32: the exported files are held against this.
    score = look(TorchEncoder(trained.model, check), held_out).ndcg
    told = {"tuned_share": kept.share, "validation_ndcg_at10": score}
    return replace(trained, metrics=trained.metrics.model_copy(update=told))


def _general_set(work: Work) -> GeneralSet | None:
    """None where there is none: the evaluation says why."""
    try:
        return general.opened(work.spec.evaluation.general, work.spec.config.seed, work.scratch / "general")
    except StageError as error:
        log.warning("means of weights are chosen by the validation set alone: %s", error)
        return None
