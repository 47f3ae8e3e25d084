"""Which titles make a query. Called by prepare.py.

A weak one teaches nothing, or the wrong thing; its document stays in the corpus.
"""

from collections import Counter
from collections.abc import Iterable

from attune_trainer.data.normalize import first_sentence, words
from attune_trainer.data.records import Document, Tally

_LEAD_WORDS = 4
"""A title of so many words that the content begins with is a repeated headline, with or without a full stop."""

_GENERIC = frozenset(
    """
    a about abstract agenda an and announcement announcements appendix article background blog changelog
    chapter conclusion conclusions contact contents daily description details discussion document
    documentation draft editorial entry example examples faq features for general guide home in index info
    information intro introduction links main menu minutes misc miscellaneous monthly new news newsletter no
    none note notes null of other our overview page part post posts preface press readme reference
    references release report resources section story summary table test the this title todo top unknown
    untitled update updates various version weekly welcome
    """.split()  # noqa: SIM905
)


def weakness(document: Document, shared: frozenset[str]) -> str | None:
    """Why the title is weak (empty, generic, firstSentence, shared), or None. `shared`: see `shared_titles`."""
    title = words(document.title)
    if not title:
        return "empty"
    if all(word in _GENERIC or word.isnumeric() for word in title) or len(title) == 1:
        return "generic"
    if title == words(first_sentence(document.content)):
        return "firstSentence"
    if len(title) >= _LEAD_WORDS and words(document.content[: 2 * len(document.title) + 16])[: len(title)] == title:
        return "firstSentence"
    return "shared" if _key(document.title) in shared else None


def shared_titles(documents: Iterable[Document]) -> frozenset[str]:
    """Titles that several documents have: none of them is the one answer."""
    counts = Counter(_key(document.title) for document in documents)
    return frozenset(title for title, count in counts.items() if count > 1)


def strong(documents: list[Document], tally: Tally) -> tuple[list[Document], dict[str, int]]:
    """Documents whose title makes a query, and the weak ones by kind; the tally gets them all as `weakTitle`."""
    shared = shared_titles(documents)
    kinds: Counter[str] = Counter()
    kept = []
    for document in documents:
        kind = weakness(document, shared)
        if kind is None:
            kept.append(document)
        else:
            kinds[kind] += 1
            tally.drop("weakTitle", f"{document.id}: {kind}")
    return kept, dict(sorted(kinds.items()))


def _key(title: str) -> str:
    return " ".join(words(title))
