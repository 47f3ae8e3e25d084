"""Serving replicas in memory: they read the ServingConfig, load what it lists, follow it when all it points to is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from attune.contract import GuardReport, ProbeReport, ReplicaReport, ServingConfig, VersionReport, VersionState


@dataclass
class FakeReplica:
    """One Pod. `acting` is the configuration that answers traffic now; `answers` all it ever acted by, in order."""

    name: str
    address: str
    told: ServingConfig | None = None
    acting: ServingConfig | None = None
    states: dict[tuple[str, str], VersionReport] = field(default_factory=dict)
    answers: list[ServingConfig] = field(default_factory=list)
    silent: bool = False


def actives(acting: ServingConfig | None) -> set[str]:
    """Versions that answer."""
    models = (acting.embedding, acting.reranker) if acting is not None else ()
    return {m.active for m in models if m is not None}


@dataclass
class FakeServing:
    """All replicas. `broken` maps a version to the reason for which it cannot be loaded; `slow` ones stay Loading."""

    replicas: dict[str, FakeReplica] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    guards: dict[str, GuardReport] = field(default_factory=dict)
    """Version → what the guard of every replica says of it, as long as it is active there."""
    guarding: set[str] | None = None
    """Only these replicas; None: all of them."""
    probes: dict[str, ProbeReport] = field(default_factory=dict)

    def follow(self, name: str, text: str | None) -> FakeReplica:
        """One round of a replica; `text` is what its ConfigMap holds."""
        replica = self.replicas.setdefault(name, FakeReplica(name, f"127.1.0.{len(self.replicas) + 1}:8000"))
        if text is None:
            return replica
        told = replica.told = ServingConfig.from_json(text)
        replica.states = {(v.name, v.digest): self._state(v) for v in told.versions}
        ready = {name for (name, _), report in replica.states.items() if report.state is VersionState.READY}
        models = [m for m in (told.embedding, told.reranker) if m is not None]
        pointed = {n for m in models for n in (m.active, m.previous, m.split.challenger if m.split else None) if n}
        if pointed <= ready and replica.acting != told:
            replica.acting = told
            replica.answers.append(told)
        return replica

    def report(self, address: str) -> dict[str, Any] | None:
        """GET /v1/versions."""
        replica = next((r for r in self.replicas.values() if r.address == address and not r.silent), None)
        if replica is None:
            return None
        acting, told = replica.acting, replica.told
        report = ReplicaReport(
            replica=replica.name,
            process=f"process of {replica.name}",
            generation=acting.generation if acting else None,
            config_digest=told.digest() if told else None,
            problem=None if acting == told else "not every version is ready",
            versions=tuple(replica.states.values()),
            guards=tuple(g for name, g in self.guards.items() if name in actives(acting) and self._guards(replica)),
            probes=tuple(p for name, p in self.probes.items() if name in actives(acting)),
        )
        return report.model_dump(mode="json", by_alias=True, exclude_none=True)

    def _guards(self, replica: FakeReplica) -> bool:
        return self.guarding is None or replica.name in self.guarding

    def _state(self, version: Any) -> VersionReport:
        reason = self.broken.get(version.name)
        state = (
            VersionState.FAILED if reason else VersionState.LOADING if version.name in self.slow else VersionState.READY
        )
        return VersionReport(
            name=version.name,
            type=version.type,
            digest=version.digest,
            state=state,
            reason=reason,
            message=f"{version.uri}: {reason}" if reason else None,
            collection=version.collection,
        )
