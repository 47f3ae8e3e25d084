"""After the export: the kept weights' validation score once more, from the files on disk. Called by the train stages.

A checkpoint restored wrongly, a layer that the graph leaves out, a prompt that is lost: each gives a model that is not the one that
was chosen. Then nothing is published.
"""

from collections.abc import Callable

from attune.contract import TrainingMetrics
from attune_trainer.errors import BadConfig
from attune_trainer.train.validation import Score

TOLERANCE = 0.02
"""Of nDCG@10. Training may compute in bfloat16, the exported graph in float32: near ties fall the other way."""


def prove(metrics: TrainingMetrics, look: Callable[[], Score]) -> float | None:
    """nDCG@10 of the exported files on the validation set; None without one. BadConfig (ExportDiffers) where it is another."""
    expected = metrics.validation_ndcg_at10
    if expected is None:
        return None
    found = look().ndcg
    refuse_another_model(expected, found, "the exported files have")
    return found


def refuse_another_model(expected: float | None, found: float, who: str) -> None:
    """BadConfig (ExportDiffers) where `found` is not the score of the weights that were kept; `who` begins the sentence."""
    if expected is not None and not abs(found - expected) <= TOLERANCE:
        raise BadConfig(
            f"{who} nDCG@10 {found:.4f} on the validation set, the weights that were kept had {expected:.4f} "
            f"(at most {TOLERANCE:g} apart is rounding): they are not the same model, so nothing was published. Use another base "
            "model, or precision fp32.",
            reason="ExportDiffers",
        )
