"""What there is to see in a snapshot, as plain values: the screen and `--json` show the same. Pure; called by the CLI."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from attune_trainer.data.records import Pair
from attune_trainer.data.snapshot import Snapshot
from attune_trainer.inspection.suspicion import REASONS, Suspicion, suspicions

Length = Callable[[str], int]
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """So many texts whose length is from `low` to below `high`."""

    low: int
    high: int
    count: int


@dataclass(frozen=True, slots=True)
class Facts:
    """`lengths`: what → histogram, in `unit`s; `suspicious`: reason → (number of pairs, the first few, drawn by the seed)."""

    uri: str
    digest: str
    manifest: dict[str, Any]
    unit: str
    lengths: dict[str, list[Bin]]
    sample: list[Pair]
    suspicious: dict[str, tuple[int, list[Pair]]]
    pairs: int

    def to_json(self) -> dict[str, Any]:
        counts = self.manifest.get("counts", {})
        return {
            "uri": self.uri,
            "digest": self.digest,
            "inputs": self.manifest.get("inputs", {}),
            "settings": self.manifest.get("settings", {}),
            "split": self.manifest.get("split", {}),
            "counts": counts,
            "mining": self.manifest.get("mining", {}),
            "firstDropped": self.manifest.get("firstDropped", {}),
            "lengths": {
                name: {"unit": self.unit, "bins": [[b.low, b.high, b.count] for b in bins]}
                for name, bins in self.lengths.items()
            },
            "sample": [pair.to_json() for pair in self.sample],
            "suspicious": {
                reason: {"why": REASONS[reason], "pairs": count, "first": [pair.to_json() for pair in some]}
                for reason, (count, some) in self.suspicious.items()
            },
        }


def facts(snapshot: Snapshot, pairs: Sequence[Pair], length: tuple[str, Length], *, shown: int, seed: int) -> Facts:
    """`length`: what lengths are counted in, and how; `shown`: pairs drawn at random, and of each suspicion."""
    unit, measure = length
    rng = random.Random(seed)  # noqa: S311 - a sample, no secret
    sample = rng.sample(list(pairs), min(shown, len(pairs)))
    found: dict[str, list[Suspicion]] = {}
    for suspicion in suspicions(pairs):
        found.setdefault(suspicion.reason, []).append(suspicion)
    suspicious = {
        reason: (len(found[reason]), [one.pair for one in rng.sample(found[reason], min(shown, len(found[reason])))])
        for reason in REASONS
        if reason in found
    }
    texts = {
        "queries": [pair.query for pair in pairs],
        "texts": list(dict.fromkeys(pair.pos for pair in pairs)),
        "negatives": list(dict.fromkeys(text for pair in pairs for text in pair.neg)),
    }
    lengths = {name: histogram([measure(text) for text in some]) for name, some in texts.items() if some}
    return Facts(snapshot.uri, snapshot.digest, snapshot.manifest, unit, lengths, sample, suspicious, len(pairs))


def histogram(values: Sequence[int]) -> list[Bin]:
    """At most BINS bins of equal, round width from 0 on; the last one takes the longest 2%, however long they are."""
    ordered = sorted(values)
    usual = ordered[int(0.98 * (len(ordered) - 1))] + 1
    width = next(w for w in _round_widths() if w * BINS >= usual)
    counts = Counter(min(value // width, BINS - 1) for value in values)
    last = max(counts)
    top = max(ordered[-1] + 1, (last + 1) * width)
    return [Bin(n * width, (n + 1) * width if n < last else top, counts[n]) for n in range(last + 1)]


def _round_widths() -> list[int]:
    return [digit * 10**power for power in range(12) for digit in (1, 2, 5)]


def by_source_and_reason(manifest: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Source → reason → dropped rows; snapshots of older releases know the reasons alone."""
    counts = manifest.get("counts", {})
    found: dict[str, dict[str, int]] = counts.get("droppedBySource") or {"": counts.get("droppedByReason", {})}
    return found
