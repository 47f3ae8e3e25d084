"""Which article an answer is of, where feedback names no id: the answer as it was shown to the user. Called by feedback.py.

An answer is rarely the whole article: it is a passage of it, or an older edition. Exact copies are found first; of what is left,
an article is meant that has at least 80% of the answer's three-word sequences, or whose own are to 80% in the answer.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from attune_trainer.data.dedup import NEAR, shingles
from attune_trainer.data.normalize import key, normalize
from attune_trainer.data.records import Document

CONTAINED = 0.8
LEAST_SHINGLES = 5
"""Shorter texts occur by chance: they count only where they are equal to an article."""
_CLEARLY = 0.1
"""So much more than the second best article has, the best one must have of a passage."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Answer → id of the article, for those that mean one; `ambiguous`: those that several articles have alike."""

    document: dict[str, str]
    ambiguous: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Candidate:
    contained: float
    """Common sequences among those of the shorter text, 0..1."""
    jaccard: float
    position: int


def articles_of(answers: Collection[str], documents: Sequence[Document]) -> Meant:
    """Answers are texts as they were shown; what means no article is in neither part of the result.

    One pass over the documents, whatever the number of answers; memory grows with the answers alone.
    """
    known = {key(document.content): document.id for document in reversed(documents)}
    found = {answer: known[key(normalize(answer))] for answer in answers if key(normalize(answer)) in known}
    rest = [answer for answer in dict.fromkeys(answers) if answer not in found]
    ambiguous = set()
    for answer, candidates in zip(rest, _candidates(rest, documents), strict=True):
        chosen = _choose(candidates)
        if chosen is not None:
            found[answer] = documents[chosen.position].id
        elif candidates:
            ambiguous.add(answer)
    return Meant(found, frozenset(ambiguous))


def _candidates(answers: Sequence[str], documents: Sequence[Document]) -> Iterator[list[_Candidate]]:
    """For each answer the articles that have it, or that it has."""
    parts = [set(shingles(normalize(answer))) for answer in answers]
    holders: dict[bytes, list[int]] = defaultdict(list)
    for number, part in enumerate(parts):
        for shingle in part if len(part) >= LEAST_SHINGLES else ():
            holders[shingle].append(number)
    found: list[list[_Candidate]] = [[] for _ in answers]
    for position, document in enumerate(documents if holders else ()):
        own = set(shingles(document.content))
        if len(own) < LEAST_SHINGLES:
            continue
        common = Counter(number for shingle in own & holders.keys() for number in holders[shingle])
        for number, count in common.items():
            contained = count / min(len(own), len(parts[number]))
            if contained >= CONTAINED:
                jaccard = count / (len(own) + len(parts[number]) - count)
                found[number].append(_Candidate(contained, jaccard, position))
    yield from found


def _choose(candidates: list[_Candidate]) -> _Candidate | None:
    """The near duplicate, else the one that clearly has the most of the passage."""
    near = max(candidates, key=lambda c: (c.jaccard, -c.position), default=None)
    if near is None or near.jaccard >= NEAR:
        return near
    best, *others = sorted(candidates, key=lambda c: (-c.contained, c.position))
    return best if not others or best.contained - others[0].contained >= _CLEARLY else None
