"""What one decision needs to know, gathered into frozen values; a missing object is None."""

from attune.observation.health import Alert, Count, Health, HealthQuery
from attune.observation.jobs import JobState, SeenJob, seen_job
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
    "Health",
    "HealthQuery",
    "JobState",
    "MetricsProblem",
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
    "Sums",
    "seen_job",
    "serving_pods",
]
