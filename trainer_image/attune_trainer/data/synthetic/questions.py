"""From the model's answer to questions that can be trained on. Pure; called by asking.py.

Models answer in JSON, in prose around JSON, in numbered lists, or not at all; and they like to ask what the article says about itself.
What cannot be used is counted by reason, under the source `synthetic`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from attune_trainer.data.normalize import key, normalize, words
from attune_trainer.data.records import Document, Judgement, Tally

SOURCE = "synthetic"
LEAST_WORDS, MOST_CHARACTERS = 3, 300
_COPIED_WORDS = 6
"""From so many words on, a question that stands in the article word by word is a copy, and teaches to match words."""
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_OBJECT = re.compile(r"[\[{].*[\]}]", re.DOTALL)
_MARKER = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s*")
_ABOUT_ITSELF = re.compile(
    r"\b(?:this|the|that) (?:article|text|passage|document|author|excerpt|paragraph|post)\b"
    r"|\baccording to (?:it|him|her|them)\b",
    re.IGNORECASE,
)


def judged(answers: Mapping[str, str], documents: Iterable[Document], limit: int, tally: Tally) -> list[Judgement]:
    """One judgement for each usable question. `answers`: document id → the model's answer; `limit`: questions of an article."""
    tally = tally.of(SOURCE)
    found: list[Judgement] = []
    for document in documents:
        if document.id in answers:
            questions = _usable(answers[document.id], document, limit, tally)
            found += [Judgement(question, document.id, 1.0, SOURCE) for question in questions]
    askers = Counter(key(judgement.query) for judgement in found)
    kept = []
    for judgement in found:
        if askers[key(judgement.query)] > 1:
            tally.drop("sharedQuestion", f"{judgement.doc_id}: {judgement.query[:80]}")
        else:
            kept.append(judgement)
    return kept


def _usable(answer: str, document: Document, limit: int, tally: Tally) -> list[str]:
    listed = parsed(answer)
    if not listed:
        tally.drop("unparsable", f"{document.id}: {answer[:80]!r}")
        return []
    content = f" {key(document.content)} "
    kept: dict[str, str] = {}
    for question in listed:
        reason = _problem(question, content)
        if reason is None and key(question) in kept:
            reason = "duplicateQuestion"
        if reason is None and len(kept) >= limit:
            reason = "tooManyQuestions"
        if reason is None:
            kept[key(question)] = question
        else:
            tally.drop(reason, f"{document.id}: {question[:80]}")
    return list(kept.values())


def _problem(question: str, content: str) -> str | None:
    said = words(question)
    if len(said) < LEAST_WORDS:
        return "tooShort"
    if len(question) > MOST_CHARACTERS:
        return "tooLong"
    if _ABOUT_ITSELF.search(question):
        return "aboutTheArticle"
    return "copiesText" if len(said) >= _COPIED_WORDS and f" {' '.join(said)} " in content else None


def parsed(answer: str) -> list[str]:
    """Questions in the order of the answer; empty where there is none to be found."""
    text = _THOUGHT.sub("", answer).strip()
    found = _from_json(text)
    if found is None:
        lines = (_MARKER.sub("", line).strip().strip('"“”') for line in text.splitlines())
        found = [line for line in lines if line.endswith(("?", "？", "؟"))]
    return [question for question in map(normalize, found) if question]


def _from_json(text: str) -> list[str] | None:
    """None where there is no JSON; prose and code fences around it do no harm."""
    inside = _OBJECT.search(text)
    if inside is None:
        return None
    try:
        value = json.loads(inside[0])
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = next((v for v in (value.get("questions"), *value.values()) if isinstance(v, list)), [])
    return [text for text in map(_text, value) if text] if isinstance(value, list) else []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("question") or next((v for v in value.values() if isinstance(v, str)), "")
    return value if isinstance(value, str) else ""
