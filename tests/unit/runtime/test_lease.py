"""Leader election with real requests and clocks that the tests move: who may write, when, and who may not any more."""

import asyncio

import pytest

from attune.cluster.client import KubernetesCluster
from attune.cluster.lease import Lease
from attune.errors import NotLeader

PATH = "/apis/coordination.k8s.io/v1/namespaces/attune-system/leases/op"


class Clock:
    """A clock of one candidate; others may run differently."""

    def __init__(self, at: float = 0.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def candidate(cluster: KubernetesCluster, name: str, clock: Clock | None = None, seconds: int = 15) -> Lease:
    return Lease(cluster, "attune-system", "op", name, seconds, clock=clock or Clock(), jitter=lambda: 0.5)


async def test_the_first_candidate_leads_and_the_second_does_not(cluster, api):
    first, second = candidate(cluster, "first"), candidate(cluster, "second")
    assert await first._try()
    assert not await second._try()
    first.fence()
    with pytest.raises(NotLeader, match="second does not hold lease attune-system/op"):
        second.fence()
    assert api.objects[PATH]["spec"]["holderIdentity"] == "first"


async def test_a_leader_that_cannot_renew_stops_to_write_before_another_may_start(cluster):
    clock, other = Clock(), Clock(1000.0)
    old, new = candidate(cluster, "old", clock), candidate(cluster, "new", other)
    assert await old._try()
    assert not await new._try()
    stopped_at = next(t for t in range(100) if not _held_at(old, clock, t))
    for t in range(100):
        other.at = 1000.0 + t
        if await new._try():
            break
    assert stopped_at == 10
    assert t == 15


def _held_at(lease: Lease, clock: Clock, t: float) -> bool:
    clock.at = t
    return lease.held


async def test_a_renewal_is_counted_from_before_it_was_sent(cluster, api):
    clock = Clock()
    lease = candidate(cluster, "slow", clock)
    assert await lease._try()

    def answer_late(_):
        clock.at += 9.0

    clock.at = 5.0
    api.faults = [answer_late]
    assert await lease._try()
    clock.at = 14.9
    assert lease.held
    clock.at = 15.0
    assert not lease.held


async def test_a_leader_that_slept_finds_the_other_and_never_writes_again(cluster, api):
    clock, other = Clock(), Clock()
    paused, next_one = candidate(cluster, "paused", clock), candidate(cluster, "next", other)
    assert await paused._try()
    assert not await next_one._try()
    other.at = 16.0
    assert await next_one._try()
    clock.at = 100.0
    with pytest.raises(NotLeader):
        paused.fence()
    assert not await paused._try()
    assert not paused.held
    assert api.objects[PATH]["spec"]["holderIdentity"] == "next"
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1


async def test_a_leader_that_slept_and_was_not_missed_goes_on(cluster):
    clock = Clock()
    lease = candidate(cluster, "only", clock)
    assert await lease._try()
    clock.at = 100.0
    assert not lease.held
    assert await lease._try()
    assert lease.held


async def test_no_time_in_the_lease_is_believed(cluster, api):
    """A leader whose wall clock is years off is neither robbed nor followed too late."""
    clock = Clock()
    assert await candidate(cluster, "leader")._try()
    api.objects[PATH]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    waiting = candidate(cluster, "waiting", clock)
    assert not await waiting._try()
    clock.at = 14.9
    assert not await waiting._try()
    clock.at = 15.0
    assert await waiting._try()


async def test_a_candidate_with_a_short_lease_waits_as_long_as_the_leader_promised_to_hold(cluster):
    clock = Clock()
    assert await candidate(cluster, "leader", seconds=60)._try()
    hasty = candidate(cluster, "hasty", clock, seconds=2)
    assert not await hasty._try()
    clock.at = 59.0
    assert not await hasty._try()
    clock.at = 60.0
    assert await hasty._try()


async def test_of_two_that_take_an_expired_lease_at_once_one_wins(cluster):
    clocks = Clock(), Clock()
    assert await candidate(cluster, "gone")._try()
    a, b = candidate(cluster, "a", clocks[0]), candidate(cluster, "b", clocks[1])
    await a._try()
    await b._try()
    clocks[0].at = clocks[1].at = 20.0
    assert sorted(await asyncio.gather(a._try(), b._try())) == [False, True]
    assert a.held != b.held


async def test_of_two_that_create_the_lease_at_once_one_wins(cluster):
    a, b = candidate(cluster, "a"), candidate(cluster, "b")
    assert sorted(await asyncio.gather(a._try(), b._try())) == [False, True]


async def test_a_renewal_whose_answer_was_lost_does_not_depose(cluster, api):
    clock = Clock()
    lease = candidate(cluster, "leader", clock)
    assert await lease._try()

    async def lose_the_answer(request):
        api._put(request, PATH, await request.json())
        request.transport.close()

    api.faults = [lose_the_answer]
    clock.at = 3.0
    await lease._try()
    clock.at = 6.0
    assert await lease._try() or await lease._try()
    clock.at = 15.0
    assert lease.held


async def test_an_empty_lease_that_somebody_made_is_taken(cluster):
    await cluster.create(
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "op", "namespace": "attune-system"},
        }
    )
    assert await candidate(cluster, "first")._try()


async def test_a_renewal_that_was_written_but_not_answered_does_not_keep_the_lease_from_being_released(cluster, api):
    leader = candidate(cluster, "leader")
    assert await leader._try()
    stale = leader._record
    assert await leader._try()
    leader._record = stale
    await leader.release()
    assert api.objects[PATH]["spec"]["holderIdentity"] == ""


async def test_a_released_lease_is_taken_at_once(cluster):
    leader, standby = candidate(cluster, "leader"), candidate(cluster, "standby")
    assert await leader._try()
    assert not await standby._try()
    await leader.release()
    assert not leader.held
    assert await standby._try()


async def test_releasing_does_not_take_the_lease_from_the_next_leader(cluster, api):
    clock, other = Clock(), Clock()
    old, new = candidate(cluster, "old", clock), candidate(cluster, "new", other)
    await old._try()
    await new._try()
    other.at = 15.0
    assert await new._try()
    await old.release()
    assert api.objects[PATH]["spec"]["holderIdentity"] == "new"


async def test_acquire_waits_out_an_api_server_that_fails(cluster, api, refuse):
    api.faults = [
        lambda _: refuse(503, "ServiceUnavailable", "starting"),
        lambda _: refuse(403, "Forbidden", "no role yet"),
    ]
    lease = candidate(cluster, "patient")
    lease.seconds = 1
    async with asyncio.timeout(5):
        await lease.acquire()
    assert lease.held


async def test_keep_returns_when_another_took_the_lease(cluster, api):
    lease = Lease(cluster, "attune-system", "op", "old", 2)
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep())
    await asyncio.sleep(0.6)
    stored = api.objects[PATH]
    stored["spec"]["holderIdentity"] = "thief"
    stored["metadata"]["resourceVersion"] = "999"
    async with asyncio.timeout(3):
        await keeping
    with pytest.raises(NotLeader):
        lease.fence()


async def test_keep_returns_when_nothing_answers_for_two_thirds_of_the_lease(cluster, api, refuse):
    lease = Lease(cluster, "attune-system", "op", "alone", 2)
    await lease.acquire()
    api.faults = [lambda _: refuse(503, "ServiceUnavailable", "down")] * 100
    started = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        await lease.keep()
    assert asyncio.get_running_loop().time() - started < 2
    assert not lease.held
