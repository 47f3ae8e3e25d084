"""What one decision needs to know, gathered into frozen values; a missing object is None."""

from attune.observation.jobs import JobState, SeenJob, seen_job
from attune.observation.seen import Defaults, SeenModelVersion, SeenRetriever, SeenTrainingJob

__all__ = [
    "Defaults",
    "JobState",
    "SeenJob",
    "SeenModelVersion",
    "SeenRetriever",
    "SeenTrainingJob",
    "seen_job",
]
