"""BM25 over texts in any language, for mining negatives and as the sanity line of evaluate."""

import re
from collections.abc import Callable, Sequence

import bm25s  # type: ignore[import-untyped]
import numpy as np
from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]
from numpy.typing import NDArray

from attune_trainer.data.normalize import UNSPACED

_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]{{2,}}")
_STOP = frozenset(STOPWORDS_EN)
_BLOCK = 512


def tokens(text: str) -> list[str]:
    """Lower-case words of two letters and more without English stop words; scripts without spaces by character."""
    return [word for word in _TOKEN.findall(text.lower()) if word not in _STOP]


class Bm25:
    """An index in memory (Lucene's variant, k1 1.5, b 0.75). Rankings are the same in every process."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.size = len(texts)
        corpus = [tokens(text) for text in texts]
        self._index = bm25s.BM25() if any(corpus) else None
        if self._index is not None:
            self._index.index(corpus, show_progress=False)

    def search(
        self, queries: Sequence[str], k: int, report: Callable[[float], None] = lambda _: None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Positions and scores, (queries x min(k, size)), best first. A score of 0 means: no word in common."""
        k = min(k, self.size)
        rows = np.zeros((len(queries), k), np.int64)
        scores = np.zeros((len(queries), k), np.float32)
        for start in range(0, len(queries), _BLOCK):
            report(start / len(queries))
            asked = [tokens(query) for query in queries[start : start + _BLOCK]]
            some = [number for number, words in enumerate(asked) if words]
            if self._index is None or not some or k == 0:
                continue
            found = self._index.retrieve([asked[n] for n in some], k=k, show_progress=False)
            order = np.lexsort((found.documents, -found.scores), axis=1)
            at = np.array(some) + start
            rows[at] = np.take_along_axis(found.documents, order, 1)
            scores[at] = np.take_along_axis(found.scores, order, 1)
        report(1.0)
        return rows, scores
