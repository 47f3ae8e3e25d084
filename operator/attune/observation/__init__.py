"""What one decision needs to know, gathered into frozen values; a missing object is None."""

from attune.observation.jobs import JobState, SeenJob, seen_job
from attune.observation.replicas import SeenReplica, serving_pods
from attune.observation.seen import Defaults, SeenABTest, SeenModelVersion, SeenRetriever, SeenTrainingJob

__all__ = [
    "Defaults",
    "JobState",
    "SeenABTest",
    "SeenJob",
    "SeenModelVersion",
    "SeenReplica",
    "SeenRetriever",
    "SeenTrainingJob",
    "seen_job",
    "serving_pods",
]
