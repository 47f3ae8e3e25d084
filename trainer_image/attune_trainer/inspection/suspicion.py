"""Pairs that look wrong, by reason. Pure; called by facts.py. A suspicion is no verdict: people look at the pairs and decide."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from attune_trainer.data.dedup import NEAR, jaccard
from attune_trainer.data.normalize import key, words
from attune_trainer.data.records import Pair

SHORT_QUERY_WORDS, LONG_QUERY_WORDS = 2, 64
SHORT_TEXT_WORDS, LONG_TEXT_WORDS = 8, 4000
MANY_DOCUMENTS = 3
"""One query for so many documents: either it is vague, or the documents repeat each other."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Why a pair looks wrong, and the pair."""

    reason: str
    pair: Pair


REASONS = {
    "queryIsText": "the query is the text",
    "queryInText": "the query stands in the text word by word",
    "shortQuery": f"the query has fewer than {SHORT_QUERY_WORDS} words",
    "longQuery": f"the query has more than {LONG_QUERY_WORDS} words",
    "shortText": f"the text has fewer than {SHORT_TEXT_WORDS} words",
    "longText": f"the text has more than {LONG_TEXT_WORDS} words",
    "noCommonWord": "query and text have no word in common",
    "vagueQuery": f"the same query for {MANY_DOCUMENTS} or more documents",
    "repeatedPair": "the same query and text again",
    "negativeIsAnswer": "a negative is an answer to the same query",
    "negativeNearText": f"a negative has {NEAR:.0%} of the text's word sequences",
    "negativeHasQuery": "a negative has the query word by word",
}
"""In the order they are shown."""


def suspicions(pairs: Sequence[Pair]) -> Iterator[Suspicion]:
    """Every reason of every pair."""
    seen = _Seen(pairs)
    for pair in pairs:
        yield from (Suspicion(reason, pair) for reason, check in _CHECKS.items() if check(pair, seen))


class _Seen:
    """What one pair alone does not tell."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.answers: dict[str, set[str]] = defaultdict(set)
        for pair in pairs:
            self.answers[key(pair.query)].add(pair.doc_id)
        self.times = Counter((key(pair.query), pair.pos) for pair in pairs)


def _within(query: str, text: str) -> bool:
    asked = words(query)
    return len(asked) >= SHORT_QUERY_WORDS and f" {' '.join(asked)} " in f" {key(text)} "


_CHECKS: dict[str, Callable[[Pair, _Seen], bool]] = {
    "queryIsText": lambda pair, _: key(pair.query) == key(pair.pos),
    "queryInText": lambda pair, _: key(pair.query) != key(pair.pos) and _within(pair.query, pair.pos),
    "shortQuery": lambda pair, _: len(words(pair.query)) < SHORT_QUERY_WORDS,
    "longQuery": lambda pair, _: len(words(pair.query)) > LONG_QUERY_WORDS,
    "shortText": lambda pair, _: len(words(pair.pos)) < SHORT_TEXT_WORDS,
    "longText": lambda pair, _: len(words(pair.pos)) > LONG_TEXT_WORDS,
    "noCommonWord": lambda pair, _: not set(words(pair.query)) & set(words(pair.pos)),
    "vagueQuery": lambda pair, seen: len(seen.answers[key(pair.query)]) >= MANY_DOCUMENTS,
    "repeatedPair": lambda pair, seen: seen.times[key(pair.query), pair.pos] > 1,
    "negativeIsAnswer": lambda pair, seen: (
        bool(seen.answers[key(pair.query)] & set(pair.neg_ids)) or pair.pos in pair.neg
    ),
    "negativeNearText": lambda pair, _: any(text != pair.pos and jaccard(text, pair.pos) >= NEAR for text in pair.neg),
    "negativeHasQuery": lambda pair, _: any(_within(pair.query, text) for text in pair.neg),
}
