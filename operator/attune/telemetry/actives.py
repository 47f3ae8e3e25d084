"""Which versions are active since when, and where a watch is blind, read from the Retrievers that were seen. Part of `metrics`."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from attune.contract import ModelType
from attune.contract import health as names
from attune.objects import Manifest

WHO = [names.NAMESPACE, names.RETRIEVER, names.TYPE]


class Actives(Collector):
    """One body a Retriever, as it was last seen."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], dict[str, Any]] = {}

    def seen(self, namespace: str, name: str, body: Manifest) -> None:
        """Keep what is exported of it."""
        self.of[namespace, name] = dict(body.get("status") or {})

    def collect(self) -> Iterator[GaugeMetricFamily]:
        active = GaugeMetricFamily(
            "attune_active_version", "Unix time at which this version became active.", labels=[*WHO, names.VERSION]
        )
        blind = GaugeMetricFamily(
            "attune_watch_blind",
            "1 while a version is watched after its promotion, and its metrics cannot be read.",
            labels=WHO,
        )
        promoted = GaugeMetricFamily(
            "attune_promoted_version",
            "The same, of versions that became so by a promotion; not by the first import, and not by a rollback.",
            labels=[*WHO, names.VERSION],
        )
        for (namespace, retriever), status in sorted(self.of.items()):
            for kind in ModelType:
                pointer = status.get(kind.value) or {}
                if pointer.get("active") and pointer.get("promotedAt"):
                    at = datetime.fromisoformat(pointer["promotedAt"]).timestamp()
                    active.add_metric([namespace, retriever, kind.value, pointer["active"]], at)
                    blind.add_metric([namespace, retriever, kind.value], int(_is_blind(status, pointer["active"])))
                    if _is_promoted(status, kind.value, pointer["active"]):
                        promoted.add_metric([namespace, retriever, kind.value, pointer["active"]], at)
        yield active
        yield promoted
        yield blind


def _is_blind(status: dict[str, Any], version: str) -> bool:
    watching: dict[str, Any] = next((c for c in status.get("conditions") or () if c.get("type") == "Watching"), {})
    return watching.get("reason") == "Blind" and version in watching.get("message", "")


def _is_promoted(status: dict[str, Any], kind: str, version: str) -> bool:
    """As `decide.rollback.watching` has it, of the stored object."""
    last: dict[str, Any] = next((c for c in reversed(status.get("changes") or ()) if c.get("type") == kind), {})
    return (last.get("action"), last.get("version")) == ("Promoted", version)
