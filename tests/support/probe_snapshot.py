"""A snapshot of labelled queries for the probe, written by the trainer itself."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attune.contract import ServedProbe
from attune_trainer.data.records import Judgement
from attune_trainer.data.snapshot import Contents, write_snapshot


def probe_snapshot(folder: Path, labels: Iterable[tuple[str, str, float]], **probe: Any) -> ServedProbe:
    """What the configuration says of a snapshot with these labels: query, id of a document, grade."""
    held_out = [Judgement(query, document, grade, "evaluation") for query, document, grade in labels]
    written = write_snapshot(Contents([], [], [], held_out, {}), str(folder))
    return ServedProbe(uri=written.uri, digest=written.digest, **({"seconds": 600.0} | probe))
