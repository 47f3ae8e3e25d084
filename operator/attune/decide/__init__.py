"""What to do next, as pure functions of frozen values: no I/O, no clock, no memory. One module a kind."""

from attune.decide.ab_test import decide_ab_test
from attune.decide.decision import Decision, Event
from attune.decide.model_version import decide_model_version
from attune.decide.retriever import decide_retriever
from attune.decide.training_job import decide_training_job
from attune.decide.training_schedule import decide_training_schedule

__all__ = [
    "Decision",
    "Event",
    "decide_ab_test",
    "decide_model_version",
    "decide_retriever",
    "decide_training_job",
    "decide_training_schedule",
]
