"""Text as every later step sees it. Pure; called for each field of each row that is read."""

import re
import unicodedata
from itertools import islice

from attune_retrieval.words import UNSPACED

# Scripts written without spaces: each character counts as a word, or a whole Chinese article would be "one word".
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_CONTROL = re.compile("[\u0000-\u001f\u007f-\u009f\ud800-\udfff]")


def normalize(text: str) -> str:
    """NFKC, invisible characters out, every run of white space and control characters one space."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    return " ".join(_CONTROL.sub(" ", text).split())


def words(text: str) -> list[str]:
    """Words, case-folded; characters of scripts without spaces one by one."""
    return _WORD.findall(text.casefold())


def key(text: str) -> str:
    """Equal for texts that differ in case, punctuation and white space alone."""
    return " ".join(words(text))


def is_wordy(text: str) -> bool:
    """At least two words. Texts of one word train nothing and have given NaN losses."""
    return next(islice(_WORD.finditer(text), 1, None), None) is not None


def first_sentence(text: str) -> str:
    return _SENTENCE_END.split(text, maxsplit=1)[0]
