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
    """Who answers. `split`, `arm` and `unit` only where the query takes part in a test; `unit` tells distinct queries apart.

    `instead_of`: the version that was to answer, and failed; the test and its arm are those of that one.
    """

    version: str
    split: ServedSplit | None = None
    arm: Arm | None = None
    unit: int | None = None
    instead_of: str | None = None

    @property
    def test(self) -> str | None:
        """Name of the test."""
        return self.split.test if self.split is not None else None


def normalize(query: str) -> str:
    """NFKC, casefolded, runs of white space as one space, none at the ends: spellings that are one query."""
    return " ".join(unicodedata.normalize("NFKC", query).casefold().split())


def unit_of(salt: str, query: str) -> int:
    """The query in a test, whatever its spelling: 64 bits, uniform over queries."""
    return xxhash.xxh3_64_intdigest(salt.encode() + b"\x00" + normalize(query).encode())


def bucket(salt: str, query: str) -> int:
    """0..9,999, uniform over queries."""
    return unit_of(salt, query) % BUCKETS


def is_challenged(split: ServedSplit, unit: int) -> bool:
    """Whether the challenger answers this query."""
    return unit % BUCKETS < split.fraction * BUCKETS


def assign(model: ServedModel, query: str | None) -> Assignment:
    """The version for a query; `query` None: for something that takes part in no test, such as a document."""
    split = model.split
    if split is None or query is None:
        return Assignment(model.active)
    unit = unit_of(split.salt, query)
    if is_challenged(split, unit):
        return Assignment(split.challenger, split, "B", unit)
    return Assignment(model.active, split, "A", unit)
