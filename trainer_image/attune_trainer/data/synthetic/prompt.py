"""What the language model is asked, and what an article is called in the cache. Pure."""

import hashlib
import json
from typing import Any

from attune.contract import SyntheticSource
from attune_trainer.data.records import Document

MAX_ARTICLE_CHARACTERS = 6_000
"""Of longer articles the beginning is read: that is what a question is likely to be about, and what is paid for."""
MAX_TOKENS_PER_QUESTION, MAX_TOKENS_BESIDE = 80, 160
"""Longest answer that is paid for; models that think before they answer need a larger one, and are told so."""

_INSTRUCTION = (
    "Generate {count} questions that this article answers.\n\n"
    "Each is a question that somebody might ask who has never seen the article: in its language, in other words than its "
    "own, understandable by itself, and so specific that this article answers it and others do not. Never speak of "
    "“the article”, “the text” or “the author”.\n\n"
    'Answer in JSON: {{"questions": ["…"]}}\n\n'
)
_ARTICLE = "Title: {title}\n\nArticle:\n{content}"

SCHEMA: dict[str, Any] = {
    "name": "questions",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"questions": {"type": "array", "items": {"type": "string"}}},
        "required": ["questions"],
        "additionalProperties": False,
    },
}


def prompt(document: Document, count: int) -> str:
    article = _ARTICLE.format(title=document.title or "(none)", content=document.content[:MAX_ARTICLE_CHARACTERS])
    return _INSTRUCTION.format(count=count) + article


def longest_answer(count: int) -> int:
    """In tokens."""
    return MAX_TOKENS_BESIDE + MAX_TOKENS_PER_QUESTION * count


def kind_of(source: SyntheticSource) -> str:
    """Names what was asked of whom: another model, wording or number of questions is another kind, asked for anew."""
    asked = [source.model, _INSTRUCTION, _ARTICLE, source.questions_per_article, MAX_ARTICLE_CHARACTERS]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def digest_of(document: Document) -> str:
    """Of all that the model reads of an article; its id does not matter."""
    return hashlib.sha256(f"{document.title}\0{document.content[:MAX_ARTICLE_CHARACTERS]}".encode()).hexdigest()[:32]
