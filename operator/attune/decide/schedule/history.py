"""How many ended TrainingJobs of a schedule are kept. Called by `decide.training_schedule`."""

from dataclasses import replace
from datetime import UTC, datetime

from attune.api import TrainingJob, VersionStage, kinds
from attune.decide.schedule.draft import Draft
from attune.decide.schedule.starting import ENDED
from attune.objects import Ref
from attune.observation import SeenTrainingSchedule

SETTLED = frozenset({VersionStage.STAGED, VersionStage.ACTIVE, VersionStage.DEPRECATED, VersionStage.FAILED})
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def is_over(seen: SeenTrainingSchedule, job: TrainingJob) -> bool:
    """Ended, its version has taken over its numbers, and its end has been told: deleted sooner, it would take the version along,
    or what people wait to hear (which is given up after a day)."""
    if job.status.phase not in ENDED or job.status.pending_notifications:
        return False
    version = next((v for v in seen.versions if v.metadata.name == job.status.model_version), None)
    return version is None or version.status.stage in SETTLED


def ended(seen: SeenTrainingSchedule) -> list[TrainingJob]:
    """Oldest first."""
    found = [job for job in seen.jobs if job.status.phase in ENDED]
    return sorted(found, key=lambda job: (job.status.completion_time or _BEGINNING, job.metadata.name))


def trimmed(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the oldest ended TrainingJobs beyond historyLimit deleted; one that runs never is."""
    found = ended(seen)
    surplus = found[: max(0, len(found) - seen.schedule.spec.history_limit)]
    gone = tuple(_ref(job) for job in surplus if is_over(seen, job))
    draft = replace(draft, delete=(*draft.delete, *gone))
    return draft if len(gone) == len(surplus) else draft.waiting(seen.defaults.progress_interval)


def _ref(job: TrainingJob) -> Ref:
    meta = job.metadata
    return Ref(kinds.API_VERSION, "TrainingJob", meta.namespace, meta.name, meta.uid)
