"""After training: how much a hybrid search should trust the tuned vectors beside the words. Called by the train stage.

A base model and BM25 are about as good as each other on a team's own texts, and half and half is best; a tuned model is the better
of the two, and half and half takes from it what it has learnt. So each version brings its own share.
"""

from typing import TYPE_CHECKING

from attune_trainer.encode import TorchEncoder
from attune_trainer.evaluate.hybrid import BothRankings, best_weight

if TYPE_CHECKING:
    from collections.abc import Callable

    from attune_trainer.hardware import Precision
    from attune_trainer.train.embedding import Trained

FEWEST = 50
"""With fewer validation queries the best weight is chance, and the default stays."""


def dense_weight(trained: "Trained", check: "Callable[[], None]", precision: "Precision") -> float | None:
    """The share of the vectors' scores that finds most on the validation set; None where there are too few queries to tell."""
    held_out = trained.held_out
    if held_out is None or len(held_out.queries) < FEWEST:
        return None
    documents = trained.document or trained.model
    queries = TorchEncoder(trained.model, check, precision).encode(list(held_out.queries.values()), "query")
    search = BothRankings(queries, held_out)
    search.add(TorchEncoder(documents, check, precision).encode(held_out.texts, "document"), 0)
    return best_weight(search.candidates(), held_out)
