"""Judgements that were paid for, in the artifact store until the evaluation has its result. Called by `judging`.

One small file a query and contender, written once all judgements of an answer are there: a Pod that is lost pays for the few again that
it was asking for. Named by the stage's own description and by all that the judge is shown, so nothing of another question is taken.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import FiniteFloat, NonNegativeInt, ValidationError

from attune.contract import Contract
from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer.errors import BadData

log = logging.getLogger(__name__)


class Judged(Contract):
    """One answer, judged: values of each metric, and what they cost."""

    scores: dict[str, list[FiniteFloat]]
    calls: NonNegativeInt
    tokens: NonNegativeInt


@dataclass(frozen=True, slots=True)
class JudgedBefore:
    """The folder of one evaluation. `identity`: who judges by what, as a digest; another one is another judgement."""

    folder: str
    identity: str

    def find(self, query: str, passages: Sequence[str]) -> Judged | None:
        """The judgements of this answer; None where there are none, or none that can be read. Raises StoreUnavailable."""
        place = self._place(query, passages)
        try:
            return Judged.model_validate_json(store.read_bytes(place), strict=True)
        except BadData:
            return None  # not there
        except ValidationError as error:
            log.warning("%s holds no judgements (%s); the judge is asked again", place, error.errors()[0]["msg"])
            return None

    def keep(self, query: str, passages: Sequence[str], judged: Judged) -> None:
        """Returns once they are in the store. Raises StoreUnavailable."""
        store.write_text(self._place(query, passages), judged.to_json())

    def _place(self, query: str, passages: Sequence[str]) -> str:
        asked = json.dumps([self.identity, query, list(passages)])
        return join(self.folder, hashlib.sha256(asked.encode()).hexdigest()[:32] + ".json")
