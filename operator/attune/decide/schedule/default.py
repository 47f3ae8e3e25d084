"""FINETUNE_SCHEDULE: schedules for Retrievers that have none of their own. Called by `retriever`, which makes them, and by
`training_schedule`, by which they go.

They are objects, so that `kubectl get ts` shows them, and are never written after they were made: another setting means another name.
"""

from collections.abc import Iterable

from attune.api import Retriever, TrainingSchedule, kinds
from attune.contract import ModelType
from attune.decide.decision import Decision, Event
from attune.decide.schedule import history
from attune.decide.schedule.draft import READY, Draft
from attune.decide.schedule.starting import ENDED
from attune.desired import training_schedule as desired
from attune.desired.stage_spec import base_model_of
from attune.objects import Manifest, Ref
from attune.observation import SeenRetriever, SeenTrainingSchedule

MANUAL = "manual"


def own(retriever: str, schedules: Iterable[TrainingSchedule]) -> TrainingSchedule | None:
    """A schedule that a user wrote for this Retriever, if it is only one that is suspended."""
    found = (s for s in schedules if s.spec.retriever == retriever and desired.default_of(s) is None)
    return next((s for s in found if s.metadata.deletion_timestamp is None), None)


def wanted(seen: SeenRetriever) -> tuple[Manifest, ...]:
    """Default schedules that are to be made for this Retriever: one for each model it has, if there are sources to learn from."""
    retriever, every = seen.retriever, seen.defaults.schedule
    if every == MANUAL or not _has_sources(retriever) or own(retriever.metadata.name, seen.schedules) is not None:
        return ()
    there = {s.metadata.name for s in seen.schedules}
    made = (desired.default(retriever, t, every) for t in ModelType if base_model_of(retriever, t) is not None)
    return tuple(manifest for manifest in made if manifest["metadata"]["name"] not in there)


def told(manifests: Iterable[Manifest]) -> tuple[Event, ...]:
    """What the Retriever's events say of them."""
    return tuple(
        Event(
            "DefaultSchedule",
            f"TrainingSchedule {m['metadata']['name']} made, by FINETUNE_SCHEDULE; one of your own takes its place",
        )
        for m in manifests
    )


def unwanted(seen: SeenTrainingSchedule) -> str | None:
    """Why this default schedule has to go; None where it stays, and for one that a user wrote."""
    every, setting = desired.default_of(seen.schedule), seen.defaults.schedule
    if every is None:
        return None
    if every != setting:
        return f"FINETUNE_SCHEDULE is {setting}"
    mine = own(seen.schedule.spec.retriever, seen.others)
    name = seen.schedule.spec.retriever
    return f"Retriever {name} has TrainingSchedule {mine.metadata.name} of its own" if mine is not None else None


def left(seen: SeenTrainingSchedule, draft: Draft, why: str) -> Decision:
    """It starts nothing any more, and goes as soon as what it started is over: its TrainingJobs belong to it."""
    meta = seen.schedule.metadata
    under_way = [job.metadata.name for job in seen.jobs if not history.is_over(seen, job)]
    if not under_way:
        return Decision(delete=(Ref(kinds.API_VERSION, "TrainingSchedule", meta.namespace, meta.name, meta.uid),))
    message = f"{why}; this one starts nothing more, and goes once TrainingJob {under_way[0]} has ended"
    done = [job for job in seen.jobs if job.metadata.name in under_way and job.status.phase in ENDED]
    draft = draft.said(READY, False, "Superseded", message).noted(next_preparation=None, next_training=None)
    return (draft.waiting(seen.defaults.progress_interval) if done else draft).decision()


def _has_sources(retriever: Retriever) -> bool:
    """Questions of a language model are not among them: those cost money, and are asked for by name."""
    data = retriever.spec.data
    return data is not None and (data.archive is not None or data.feedback is not None)
