"""Judgements that were paid for, in the artifact store until the evaluation has its result. Called by `judging`.

One small file a query and contender, written once all judgements of an answer are there: a Pod that is lost pays for the few again that
it was asking for. Named by the stage's own description and by all that the judge is shown, so nothing of another question is taken.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import FiniteFloat, TypeAdapter, ValidationError

from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer.errors import BadData

log = logging.getLogger(__name__)
Scores = dict[str, list[float]]
"""Of one answer: values of each metric."""
_FORM = TypeAdapter(dict[str, list[FiniteFloat]])


@dataclass(frozen=True, slots=True)
class JudgedBefore:
    """The folder of one evaluation. `identity`: who judges by what, as a digest; another one is another judgement."""

    folder: str
    identity: str

    def find(self, query: str, passages: Sequence[str]) -> Scores | None:
        """The judgements of this answer; None where there are none, or none that can be read. Raises StoreUnavailable."""
        place = self._place(query, passages)
        try:
            return _FORM.validate_json(store.read_bytes(place), strict=True)
        except BadData:
            return None  # not there
        except ValidationError as error:
            log.warning("%s holds no judgements (%s); the judge is asked again", place, error.errors()[0]["msg"])
            return None

    def keep(self, query: str, passages: Sequence[str], scores: Scores) -> None:
        """Returns once they are in the store. Raises StoreUnavailable."""
        store.write_text(self._place(query, passages), json.dumps(scores))

    def _place(self, query: str, passages: Sequence[str]) -> str:
        asked = json.dumps([self.identity, query, list(passages)])
        return join(self.folder, hashlib.sha256(asked.encode()).hexdigest()[:32] + ".json")
