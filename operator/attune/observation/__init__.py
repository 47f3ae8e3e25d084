"""What one decision needs to know, gathered into frozen values; a missing object is None."""

from attune.observation.health import Alert, Count, Health, HealthQuery
from attune.observation.jobs import JobState, SeenJob, seen_job
from attune.observation.notifications import Delivery, Fate, News, Notification, Subject, TargetProblem
from attune.observation.replicas import SeenReplica, serving_pods
from attune.observation.samples import ArmSamples, MetricsProblem, Samples, SamplesQuery, Stratum, Sums
from attune.observation.seen import (
    Defaults,
    SeenABTest,
    SeenModelVersion,
    SeenRetriever,
    SeenTrainingJob,
    SeenTrainingSchedule,
)

__all__ = [
    "Alert",
    "ArmSamples",
    "Count",
    "Defaults",
    "Delivery",
    "Fate",
    "Health",
    "HealthQuery",
    "JobState",
    "MetricsProblem",
    "News",
    "Notification",
    "Samples",
    "SamplesQuery",
    "SeenABTest",
    "SeenJob",
    "SeenModelVersion",
    "SeenReplica",
    "SeenRetriever",
    "SeenTrainingJob",
    "SeenTrainingSchedule",
    "Stratum",
    "Subject",
    "Sums",
    "TargetProblem",
    "seen_job",
    "serving_pods",
]
