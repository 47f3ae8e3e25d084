"""Texts to the words that BM25 counts: one tokenizer for mining, evaluation and every vector store."""

import re

UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""Scripts without spaces between words: Thai, Japanese, Chinese, Korean."""
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]{{2,}}")
_STOP = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to "
    "was will with"
)
STOP_WORDS = frozenset(_STOP.split())
LONGEST_WORD = 64


def words(text: str) -> list[str]:
    """Lower-case words of two letters and more without English stop words; scripts without spaces by character."""
    return [word[:LONGEST_WORD] for word in _TOKEN.findall(text.lower()) if word not in STOP_WORDS]
