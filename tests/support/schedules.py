"""A TrainingSchedule in simulated time: the real decision, carried out on values, with outages of the operator and any result of a stage.

Nothing here decides anything: Jobs end as they are told to, and TrainingJobs when they are told to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from attune.api import ModelVersion, Phase, Retriever, TrainingJob, TrainingSchedule, conditions, labels
from attune.contract import DatasetSummary, ExitCode, Stage, StageResult, StageSpec
from attune.decide import Decision, decide_training_schedule
from attune.observation import Defaults, JobState, SeenJob, SeenTrainingSchedule
from versions import a_retriever, a_version

MADE = datetime(2026, 3, 15, 12, tzinfo=UTC)
DEFAULTS = Defaults(trainer_image="attune-trainer:test", finetune_enabled=True)
UID = "5c4ed01e-0000-4000-8000-000000000000"


def a_schedule(**spec: Any) -> TrainingSchedule:
    """`monthly`, made on a Sunday at noon; weekly preparation, monthly training, unless told otherwise."""
    return TrainingSchedule.model_validate(
        {
            "metadata": {
                "name": "monthly",
                "namespace": "team",
                "uid": UID,
                "generation": 1,
                "creationTimestamp": MADE.isoformat(),
            },
            "spec": {"retriever": "news", "template": {"type": "embedding"}, **spec},
        }
    )


def an_active_retriever(**spec: Any) -> Retriever:
    return a_retriever({"embedding": {"active": "emb-v1"}}, **spec)


def prepared(new: int | None = 800, examples: int = 1200) -> StageResult:
    """What a preparation leaves that went well."""
    dataset = DatasetSummary(
        uri=f"pvc://store/d{examples}", digest=f"sha256:{examples}", examples=examples, new_pairs=new
    )
    return StageResult(
        stage=Stage.PREPARE,
        spec_digest="x",
        succeeded=True,
        reason="Completed",
        message=f"{examples} training pairs",
        dataset=dataset,
    )


@dataclass
class Simulation:
    """The world around one schedule. `look` is one reconcile; `run_until` lets time pass."""

    schedule: TrainingSchedule = field(default_factory=a_schedule)
    now: datetime = MADE
    defaults: Defaults = DEFAULTS
    retriever: Retriever | None = field(default_factory=an_active_retriever)
    versions: tuple[ModelVersion, ...] = ()
    active: ModelVersion | None = field(default_factory=lambda: a_version(1, "active"))
    jobs: dict[str, TrainingJob] = field(default_factory=dict)
    stage_jobs: dict[str, SeenJob] = field(default_factory=dict)
    specs: dict[str, StageSpec] = field(default_factory=dict)
    """What each stage Job was told."""
    events: list[tuple[str, str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    """Every Job and TrainingJob that was ever made."""
    others: tuple[TrainingSchedule, ...] = ()
    result: Callable[[], StageResult] = prepared
    exit_code: int = 0
    hold: bool = False
    """Stage Jobs run and do not end."""
    trains: bool = False
    """TrainingJobs run and do not end."""
    lost: bool = False
    """The next status write is lost: the operator is killed before it."""
    deleted: bool = False

    def look(self) -> Decision:
        """One look at the schedule, carried out."""
        seen = SeenTrainingSchedule(
            self.schedule,
            self.defaults,
            self.retriever,
            tuple(self.stage_jobs.values()),
            tuple(self.jobs.values()),
            self.versions,
            self.active,
            others=self.others,
            snapshots=frozenset(),
        )
        decision = decide_training_schedule(seen, self.now)
        for manifest in (*decision.create, *decision.apply):
            self._store(manifest)
        for manifest in decision.ensure:
            if manifest["metadata"]["name"] not in self.jobs:
                self._store(manifest)
        for ref in decision.delete:
            self.deleted = self.deleted or ref.kind == "TrainingSchedule"
            for place in (self.jobs, self.stage_jobs):
                place.pop(ref.name, None) if ref.kind != "ConfigMap" else None
        if self.lost:
            self.lost = False
            return decision
        if decision.status is not None:
            self.schedule = self.schedule.model_copy(update={"status": decision.status})
        self.events += [(event.reason, event.message) for event in decision.events]
        return decision

    def settle(self, rounds: int = 30) -> None:
        """Looks and Jobs by turns, ten seconds each, until nothing changes."""
        for _ in range(rounds):
            before = self.schedule, dict(self.jobs), dict(self.stage_jobs)
            decision = self.look()
            self.work()
            soon = decision.requeue_after is not None and decision.requeue_after <= timedelta(seconds=30)
            if before == (self.schedule, self.jobs, self.stage_jobs) and not soon:
                return
            self.now += timedelta(seconds=10)

    def work(self) -> None:
        """Stage Jobs and TrainingJobs end."""
        for name, job in self.stage_jobs.items():
            if not self.hold and job.state is JobState.PENDING:
                done = self.result() if self.exit_code == 0 else None
                state = JobState.SUCCEEDED if self.exit_code == 0 else JobState.FAILED
                self.stage_jobs[name] = replace(
                    job, state=state, finished_at=self.now, exit_code=self.exit_code, result=done
                )
        for name, run in self.jobs.items():
            if not self.trains and run.status.phase is None:
                self.jobs[name] = with_phase(run, Phase.SUCCEEDED, self.now)

    def goto(self, text: str) -> None:
        """Time passes, and nobody looks."""
        self.now = datetime.fromisoformat(text).astimezone(UTC)

    def change(self, **spec: Any) -> None:
        """A user changes the spec."""
        raw = self.schedule.model_dump(mode="json", by_alias=True, exclude_none=True)
        raw["spec"] = {**raw["spec"], **spec}
        raw["metadata"]["generation"] += 1
        self.schedule = TrainingSchedule.model_validate(raw)

    def condition(self, kind: str) -> tuple[str, str, str]:
        """(status, reason, message)."""
        found = conditions.get(self.schedule.status.conditions, kind)
        assert found is not None, kind
        return found.status, found.reason, found.message

    @property
    def preparations(self) -> list[str]:
        """Scheduled times of the preparations that were made, as 202603220200."""
        return sorted({name.split("-prepare-")[1].split("-")[0] for name in self.made if "-prepare-" in name})

    @property
    def trainings(self) -> list[str]:
        """Scheduled times of the TrainingJobs that were made."""
        return [name.split("-")[1] for name in self.made if "-prepare-" not in name]

    def _store(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "ConfigMap":
            self.specs[name] = StageSpec.from_json(manifest["data"]["stage.json"])
            return
        self.made.append(name)
        if manifest["kind"] == "TrainingJob":
            uid = f"{len(self.made):08x}-0000-4000-8000-000000000000"
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}
            self.jobs[name] = TrainingJob.model_validate(manifest)
            return
        told = manifest["metadata"]["labels"]
        self.stage_jobs[name] = SeenJob(
            name=name,
            uid=name,
            stage=Stage(told[labels.STAGE]),
            attempt=int(told[labels.ATTEMPT]),
            state=JobState.PENDING,
            suspended=False,
            created_at=self.now,
            run=int(told[labels.RUN]),
        )


def with_phase(job: TrainingJob, phase: Phase, at: datetime | None = None, version: str | None = None) -> TrainingJob:
    status = job.status.model_copy(update={"phase": phase, "completion_time": at, "model_version": version})
    return job.model_copy(update={"status": status})


def failing(code: int = ExitCode.STORE_UNAVAILABLE) -> dict[str, Any]:
    """As `Simulation(**failing())`."""
    return {"exit_code": int(code)}


# ---- a schedule whose time has come

WEEKLY = {"training": {"schedule": "0 2 * * 0"}}


def at_first_time(text: str = "2026-03-22T02:00:05Z", **given: Any) -> Simulation:
    """The schedule was seen, and its first time has come."""
    spec = given.pop("spec", WEEKLY)
    world = Simulation(a_schedule(**spec), **given)
    world.look()
    world.goto(text)
    return world


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def trained(number: int, stage: str = "staged", **status: Any) -> ModelVersion:
    version = a_version(number, stage, dataset={"uri": f"pvc://store/d{number}", "digest": "sha256:d", "examples": 900})
    source = version.spec.source.model_copy(update={"training_job": "by-hand", "import_": None})
    return version.model_copy(
        update={
            "spec": version.spec.model_copy(update={"source": source}),
            "status": version.status.model_copy(update=status),
        }
    )


def reasons(world: Simulation) -> list[str]:
    return [reason for reason, _ in world.events]
