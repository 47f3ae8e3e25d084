"""Questions that an article asks of itself: its title and how it begins. Called by prepare.py. Pure.

Editors and users name an article by what it says first ("Eclair #2479 adds support for paying offers"), and most articles of an
archive have neither labels nor a telling title. benchmarks/quality.py measures what they bring.
"""

import hashlib
from collections.abc import Iterable, Iterator

from attune_trainer.data.normalize import first_sentence, words
from attune_trainer.data.records import Document, Judgement

SOURCE = "lead"
SHORTEST, LONGEST = 8, 14
"""Words of the first sentence that are taken: another number for each article, so that no length is learnt."""
_NEEDS_WORDS = 24
"""A shorter article has hardly anything but its beginning: the question would be the answer."""


def leads(documents: Iterable[Document]) -> Iterator[Judgement]:
    """One question for each article that is long enough, in the order of the articles."""
    for document in documents:
        if len(words(document.content)) >= _NEEDS_WORDS:
            yield Judgement(_lead(document), document.id, 1.0, SOURCE)


def _lead(document: Document) -> str:
    """The title, unless the text begins with it anyway, and the first words."""
    count = SHORTEST + hashlib.sha256(document.id.encode()).digest()[0] % (LONGEST - SHORTEST + 1)
    beginning = " ".join(first_sentence(document.content).split()[:count])
    title = words(document.title)
    return beginning if not title or words(beginning)[: len(title)] == title else f"{document.title} {beginning}"
