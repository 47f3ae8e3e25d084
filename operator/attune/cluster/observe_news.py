"""Beside what a decision looks at: what notifications depend on. Called by `reconcile` after the observation of the object."""

from attune.api import Retriever
from attune.cluster.observe import read_retriever
from attune.cluster.protocol import Cluster
from attune.cluster.receivers import receiver_of
from attune.cluster.secrets import SecretProblem
from attune.decide.notifications.announce import Seen, is_to_be_checked, subject_of
from attune.observation import Delivery, News, SeenRetriever, TargetProblem


async def observe_news(cluster: Cluster, seen: Seen, deliveries: tuple[Delivery, ...]) -> News:
    """Reads nothing where nothing is pending and no target is new."""
    subject = subject_of(seen)
    if subject is None:
        return News()
    if isinstance(seen, SeenRetriever):
        checked = not seen.hasty and is_to_be_checked(seen.retriever)  # an alert does not wait for Secrets
        return News(seen.retriever, deliveries, await _problems(cluster, seen.retriever) if checked else None)
    retriever = seen.retriever
    if retriever is None and subject.status.pending_notifications:
        name = subject.metadata.name if isinstance(subject, Retriever) else subject.spec.retriever
        retriever = await read_retriever(cluster, subject.metadata.namespace, name)
    return News(retriever, deliveries)


async def _problems(cluster: Cluster, retriever: Retriever) -> tuple[TargetProblem, ...]:
    """Of the Secrets that the targets name."""
    found = []
    for target in retriever.spec.notifications or ():
        try:
            await receiver_of(cluster, retriever.metadata.namespace, target)
        except SecretProblem as problem:
            found.append(TargetProblem(problem.reason, f"{target.name}: {problem}"))
    return tuple(found)
