"""Which version answers a query: a pure function of the query's text, the same in every process, replica and release.

    bucket = xxh3_64(salt ‖ 0x00 ‖ normalize(query)) mod 10,000      challenger iff bucket < fraction × 10,000

All texts in UTF-8. Published test vectors: docs/assignment.md. Raising the fraction moves no query from the challenger to the
champion; another salt gives an independent assignment. No cookie, no header, no state.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal

import xxhash

from attune.contract import ServedModel, ServedSplit

BUCKETS = 10_000
Arm = Literal["A", "B"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who answers. `test` and `arm` only where the query takes part in a test."""

    version: str
    test: str | None = None
    arm: Arm | None = None


def normalize(query: str) -> str:
    """NFKC, casefolded, runs of white space as one space, none at the ends: spellings that are one query."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def bucket(salt: str, query: str) -> int:
    """0..9,999, uniform over queries."""
    return xxhash.xxh3_64_intdigest(salt.encode() + b"\x00" + normalize(query).encode()) % BUCKETS


def is_challenged(split: ServedSplit, query: str) -> bool:
    """Whether the challenger answers this query."""
    return bucket(split.salt, query) < split.fraction * BUCKETS


def assign(model: ServedModel, query: str | None) -> Assignment:
    """The version for a query; `query` None: for something that takes part in no test, such as a document."""
    split = model.split
    if split is None or query is None:
        return Assignment(model.active)
    if is_challenged(split, query):
        return Assignment(split.challenger, split.test, "B")
    return Assignment(model.active, split.test, "A")
