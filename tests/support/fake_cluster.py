"""An API server in memory that can fail at every request, with the Job controller and a scripted trainer behind it.

It keeps what matters for reconcile: uids, resourceVersions and conflicts, the status subresource, AlreadyExists,
owner-reference garbage collection, and every stored revision, so that invariants can be asserted on all of them.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from attune.contract import StageResult, StageSpec
from attune.desired.stage_job import merge
from attune.errors import AlreadyExists, Conflict, NotFound, Unavailable
from attune.objects import Manifest, Ref
from attune.observation import Health, HealthQuery, MetricsProblem, Samples, SamplesQuery
from fake_serving import FakeServing

Address = tuple[str, str, str]


class Killed(BaseException):
    """The operator process is gone: nothing after this line happens."""


@dataclass
class Clock:
    """Simulated time."""

    now: datetime = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@dataclass(frozen=True)
class Outcome:
    """What a scripted stage does: exit code and result."""

    exit_code: int = 0
    result: StageResult | None = None
    lose_pod: bool = False
    """The Pod object vanishes together with its termination message."""


Trainer = Callable[[StageSpec, int], Outcome]


@dataclass
class FakeCluster:
    """Implements `attune.cluster.protocol.Cluster`."""

    clock: Clock
    trainer: Trainer
    fault: Callable[[int, str, str], None] = lambda number, when, what: None
    """Called before and after each write with its number; raises to fail it (before: nothing stored, after: answer lost)."""
    objects: dict[Address, Manifest] = field(default_factory=dict)
    history: list[Manifest] = field(default_factory=list)
    stored_at: list[datetime] = field(default_factory=list)
    """The time of each entry of `history`."""
    created: list[Address] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    events: list[Manifest] = field(default_factory=list)
    hold: bool = False
    """Pods start, but do not finish."""
    serving: FakeServing = field(default_factory=FakeServing)
    prometheus: Callable[[SamplesQuery], Samples | MetricsProblem] = lambda query: MetricsProblem(
        "NoSamples", "none yet"
    )
    health_of: Callable[[HealthQuery], Health | MetricsProblem] = lambda query: MetricsProblem("NoSamples", "none yet")

    def __post_init__(self) -> None:
        self._versions = itertools.count(1)
        self._made: Counter[Address] = Counter()

    # what the tests do as users -----------------------------------------------------------------------------------

    def put(self, manifest: Manifest) -> Manifest:
        """A user's apply: creates, or changes metadata and spec, and raises the generation when the spec changed."""
        old = self.objects.get(_address(manifest))
        stored = copy.deepcopy(manifest)
        if old is None:
            return self._store(self._fresh(stored))
        meta = {**old["metadata"], "labels": stored["metadata"].get("labels", old["metadata"].get("labels", {}))}
        if stored.get("spec") != old.get("spec"):
            meta["generation"] = meta["generation"] + 1
        return self._store({**old, "metadata": meta, "spec": stored.get("spec", {})})

    def remove(self, kind: str, name: str, namespace: str = "news") -> None:
        """A user's delete, with the garbage collector behind it."""
        gone = self.objects.pop((kind, namespace, name), None)
        if gone is None:
            return
        for address, thing in list(self.objects.items()):
            if any(o["uid"] == gone["metadata"]["uid"] for o in thing["metadata"].get("ownerReferences", [])):
                self.remove(address[0], address[2], address[1])

    def find(self, kind: str, name: str | None = None) -> Manifest:
        """The only object of a kind, or the one with this name."""
        found = [o for (k, _, n), o in self.objects.items() if k == kind and name in (None, n)]
        assert len(found) == 1, f"{len(found)} {kind} found"
        return found[0]

    def all(self, kind: str) -> list[Manifest]:
        return [o for (k, _, _), o in sorted(self.objects.items()) if k == kind]

    # the Job controller and the node ------------------------------------------------------------------------------

    def run_jobs(self) -> None:
        """One round: unfinished Jobs get a Pod; Pods that run end as the trainer's script says."""
        for job in self.all("Job"):
            if any(c["type"] in {"Complete", "Failed"} for c in job.get("status", {}).get("conditions", [])):
                continue
            pod = self.objects.get(("Pod", job["metadata"]["namespace"], job["metadata"]["name"] + "-pod"))
            if job["spec"].get("completionMode") == "Indexed":
                self._run_indexed(job)
                continue
            if job["spec"].get("suspend"):
                if pod:
                    self.objects.pop(_address(pod))
                continue
            if pod is None:
                self._start_pod(job)
            elif not self.hold:
                self._finish(job, pod)

    def _run_indexed(self, job: Manifest) -> None:
        """All shards at once: each Pod leaves its own result."""
        meta = job["metadata"]
        config = self.objects[("ConfigMap", meta["namespace"], meta["name"])]
        spec = StageSpec.from_json(config["data"]["stage.json"])
        outcomes = [
            self.trainer(spec, int(meta["labels"]["attune.dev/attempt"])) for _ in range(job["spec"]["completions"])
        ]
        for shard, outcome in enumerate(outcomes):
            terminated = {"exitCode": outcome.exit_code}
            if outcome.result is not None:
                terminated["message"] = outcome.result.termination_message()
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{meta['name']}-{shard}",
                    "namespace": meta["namespace"],
                    "labels": {
                        **job["spec"]["template"]["metadata"]["labels"],
                        "batch.kubernetes.io/job-name": meta["name"],
                    },
                    "annotations": {"batch.kubernetes.io/job-completion-index": str(shard)},
                    "ownerReferences": [
                        {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
                    ],
                },
                "status": {
                    "phase": "Failed" if outcome.exit_code else "Succeeded",
                    "containerStatuses": [{"state": {"terminated": terminated}}],
                },
            }
            self._store(self._fresh(pod))
        self._end(job, "Failed" if any(o.exit_code for o in outcomes) else "Complete")

    def run_deployments(self) -> None:
        """One round of the Deployment controller and of the serving Pods: Pods come and go, read their ConfigMap, load, follow."""
        wanted: dict[str, Manifest] = {}
        for deployment in self.all("Deployment"):
            meta = deployment["metadata"]
            for number in range(deployment["spec"]["replicas"]):
                wanted[f"{meta['name']}-{number}"] = deployment
        for pod in [p for p in self.all("Pod") if "attune.dev/component" in p["metadata"].get("labels", {})]:
            if pod["metadata"]["name"] not in wanted:
                self.remove("Pod", pod["metadata"]["name"], pod["metadata"]["namespace"])
        for name, deployment in wanted.items():
            self._serving_pod(name, deployment)

    def _serving_pod(self, name: str, deployment: Manifest) -> None:
        meta, template = deployment["metadata"], deployment["spec"]["template"]
        env = {e["name"]: e.get("value") for e in template["spec"]["containers"][0]["env"]}
        found = self.objects.get(("ConfigMap", meta["namespace"], env["ATTUNE_CONFIG_MAP"]))
        replica = self.serving.follow(name, found["data"]["serving.json"] if found else None)
        status = {
            "phase": "Running",
            "podIP": replica.address.partition(":")[0],
            "conditions": [{"type": "Ready", "status": "True" if replica.acting else "False"}],
        }
        pod = self.objects.get(("Pod", meta["namespace"], name))
        if pod is None:
            labels = template["metadata"]["labels"]
            owner = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}]
            metadata = {"name": name, "namespace": meta["namespace"], "labels": labels, "ownerReferences": owner}
            pod = self._fresh({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
        if pod.get("status") != status:
            self._store({**pod, "status": status})

    def _start_pod(self, job: Manifest) -> None:
        meta = job["metadata"]
        self._store(
            self._fresh(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {
                        "name": meta["name"] + "-pod",
                        "namespace": meta["namespace"],
                        "labels": {
                            **job["spec"]["template"]["metadata"]["labels"],
                            "batch.kubernetes.io/job-name": meta["name"],
                        },
                        "ownerReferences": [
                            {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
                        ],
                    },
                    "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]},
                }
            )
        )

    def _finish(self, job: Manifest, pod: Manifest) -> None:
        meta = job["metadata"]
        config = self.objects[("ConfigMap", meta["namespace"], meta["name"])]
        spec = StageSpec.from_json(config["data"]["stage.json"])
        outcome = self.trainer(spec, int(meta["labels"]["attune.dev/attempt"]))
        if outcome.lose_pod:
            self.objects.pop(_address(pod))
        else:
            terminated = {"exitCode": outcome.exit_code, "reason": "Completed" if outcome.exit_code == 0 else "Error"}
            if outcome.result is not None:
                terminated["message"] = outcome.result.termination_message()
            phase = "Succeeded" if outcome.exit_code == 0 else "Failed"
            self._store(
                {**pod, "status": {"phase": phase, "containerStatuses": [{"state": {"terminated": terminated}}]}}
            )
        self._end(job, "Complete" if outcome.exit_code == 0 else "Failed")

    def _end(self, job: Manifest, kind: str) -> None:
        stamp = self._stamp()
        condition = {
            "type": kind,
            "status": "True",
            "lastTransitionTime": stamp,
            "reason": "BackoffLimitExceeded" if kind == "Failed" else "",
        }
        status: dict[str, Any] = {"conditions": [condition]}
        if kind == "Complete":
            status["completionTime"] = stamp
        self._store({**job, "status": status})

    # attune.cluster.protocol.Cluster ------------------------------------------------------------------------------

    async def get(self, ref: Ref) -> Manifest | None:
        return copy.deepcopy(self.objects.get((ref.kind, ref.namespace, ref.name)))

    async def list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str | None] | None = None
    ) -> list[Manifest]:
        def fits(thing: Manifest) -> bool:
            own = thing["metadata"].get("labels") or {}
            return all(own.get(key) == value for key, value in (labels or {}).items())

        return [copy.deepcopy(o) for o in self.all(kind) if namespace in (None, o["metadata"]["namespace"]) and fits(o)]

    async def create(self, manifest: Manifest) -> Manifest:
        def write() -> Manifest:
            if _address(manifest) in self.objects:
                raise AlreadyExists(f"{_address(manifest)} already exists")
            self.created.append(_address(manifest))
            return self._store(self._fresh(copy.deepcopy(manifest)))

        return self._write(f"create {manifest['kind']} {manifest['metadata']['name']}", write)

    async def apply(self, manifest: Manifest) -> Manifest:
        def write() -> Manifest:
            old = self.objects.get(_address(manifest))
            if old is None:
                return self._store(self._fresh(copy.deepcopy(manifest)))
            merged = merge(old, copy.deepcopy(manifest))
            if "data" in manifest:  # what its only manager does not apply any more goes
                merged["data"] = copy.deepcopy(manifest["data"])
            return old if merged == old else self._store(merged)

        return self._write(f"apply {manifest['kind']} {manifest['metadata']['name']}", write)

    async def delete(self, ref: Ref, *, propagation: str = "Background") -> None:
        def write() -> None:
            found = self.objects.get((ref.kind, ref.namespace, ref.name))
            if found is not None and ref.uid in (None, found["metadata"]["uid"]):
                self.remove(ref.kind, ref.name, ref.namespace)

        self._write(f"delete {ref.kind} {ref.name}", write)

    async def replace_status(self, manifest: Manifest) -> Manifest:
        def write() -> Manifest:
            old = self.objects.get(_address(manifest))
            if old is None:
                raise NotFound(f"{_address(manifest)} not found")
            if old["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
                raise Conflict(f"{_address(manifest)} is at another resourceVersion")
            return self._store({**old, "status": copy.deepcopy(manifest["status"])})

        return self._write(f"status {manifest['kind']} {manifest['metadata']['name']}", write)

    async def log_tail(self, namespace: str, pod: str, *, container: str | None = None, lines: int = 50) -> str:
        return ""

    async def emit(self, event: Manifest) -> None:
        self.events.append(event)

    async def replica(self, address: str) -> Manifest | None:
        return self.serving.report(address)

    async def samples(self, query: SamplesQuery) -> Samples | MetricsProblem:
        return self.prometheus(query)

    async def health(self, query: HealthQuery) -> Health | MetricsProblem:
        return self.health_of(query)

    # inside -------------------------------------------------------------------------------------------------------

    def _write(self, what: str, write: Callable[[], Any]) -> Any:
        number = len(self.writes)
        self.writes.append(what)
        self.fault(number, "before", what)
        answer = write()
        self.fault(number, "after", what)
        return copy.deepcopy(answer)

    def _fresh(self, manifest: Manifest) -> Manifest:
        address = _address(manifest)
        self._made[address] += 1
        seed = hashlib.sha256("/".join((*address, str(self._made[address]))).encode()).hexdigest()
        meta = {
            **manifest["metadata"],
            "uid": f"{seed[:8]}-0000-4000-8000-000000000000",  # of no matter in which order things were made
            "generation": 1,
            "creationTimestamp": self._stamp(),
        }
        return {**manifest, "metadata": meta}

    def _store(self, manifest: Manifest) -> Manifest:
        stored = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(next(self._versions))}}
        self.objects[_address(stored)] = stored
        self.history.append(copy.deepcopy(stored))
        self.stored_at.append(self.clock.now)
        return stored

    def _stamp(self) -> str:
        return self.clock.now.isoformat(timespec="seconds").replace("+00:00", "Z")


def _address(manifest: Manifest) -> Address:
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def flaky(every: int) -> Callable[[int, str, str], None]:
    """Every n-th write fails: by turns before it is stored and after it (the answer is lost)."""

    def fault(number: int, when: str, what: str) -> None:
        if number % every == 0 and when == ("before" if (number // every) % 2 else "after"):
            raise Unavailable(f"injected {when} {what}")

    return fault
