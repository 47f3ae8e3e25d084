"""A bad promotion is taken back by itself: each trigger, its numbers, and what must not be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from attune.observation import MetricsProblem
from attune.reconcile import reconcile
from attune.workqueue import Key
from failing_versions import (
    Rates,
    Trouble,
    a_probe,
    alert,
    an_alert,
    an_open_guard,
    collapse,
    errors,
    guard,
    look,
    promoted,
    send,
    slowness,
)
from promotions import V1, V2, V3, ask, assert_invariants, condition, pointer, served, status_of
from worlds import World

TRIGGERS: list[tuple[Trouble, str, str]] = [
    (errors, "ErrorRate", "30% of "),
    (slowness, "Latency", "took more than 200 ms"),
    (
        guard,
        "Guard",
        "the inline guard of 1 of 1 replicas stopped asking it: 9 of the last 10 requests failed (model_failed: NaN)",
    ),
    (collapse, "Recall", f"5 of 64 labelled queries found their document in the first ten, 50 by {V1}"),
    (alert, "Alert", "alert AttuneVersionErrors, firing since"),
]


def retriever(world: World) -> Any:
    return world.cluster.find("Retriever")


@pytest.mark.parametrize(("trouble", "reason", "words"), TRIGGERS, ids=[t[1] for t in TRIGGERS])
async def test_each_trigger_takes_model_and_index_back_at_once_and_says_why(
    trouble: Trouble, reason: str, words: str
) -> None:
    world = await promoted(rollback={"latencyP99Multiplier": 3})
    assert condition(retriever(world), "Watching")["status"] == "True"
    trouble(world)
    await look(world, 6)
    now = pointer(world)
    assert (now["active"], now.get("previous"), now.get("baselineErrorRate")) == (V1, None, None)
    said = condition(retriever(world), "RolledBack")
    assert (said["status"], said["reason"]) == ("True", reason)
    assert words in said["message"]
    assert f"{V2} → {V1}, collection " in said["message"]
    bad = status_of(world, V2)
    assert bad["stage"] == "failed"
    assert words[:30] in condition(world.cluster.find("ModelVersion", V2), "RolledBack")["message"]
    assert words[:30] in bad["notes"]
    last = retriever(world)["status"]["changes"][-1]
    assert (last["action"], last["version"]) == ("RolledBack", V1)
    assert retriever(world)["status"]["quarantined"][0]["version"] == V2
    told = served(world)
    assert told.embedding is not None
    assert told.embedding.active == V1
    assert told.version(V1).collection == status_of(world, V1)["index"]["collection"]
    assert [e["reason"] for e in world.cluster.events].count("RolledBack") == 2, (
        "one of the Retriever, one of the version"
    )
    assert_invariants(world.cluster)


async def test_the_baseline_is_recorded_with_the_promotion_in_one_write() -> None:
    world = await promoted(rollback={"latencyP99Multiplier": 3})
    first = next(
        r
        for r in world.cluster.history
        if r["kind"] == "Retriever" and (r.get("status", {}).get("embedding") or {}).get("active") == V2
    )
    now = first["status"]["embedding"]
    assert (now["baselineErrorRate"], now["baselineRequests"]) == (0.01, 18_000)
    assert now["baselineLatencyP99Seconds"] == pytest.approx(0.05)
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    assert [q.windows for q in rates.queries if q.version == V1] == [(900,)] * sum(
        q.version == V1 for q in rates.queries
    )


async def test_a_good_version_is_watched_for_the_window_and_stays() -> None:
    world = await promoted()
    watching = condition(retriever(world), "Watching")
    assert "1% of 18,000 before" in watching["message"]
    writes = len([w for w in world.cluster.writes if w.startswith("status Retriever")])
    await look(world, 170)
    assert len([w for w in world.cluster.writes if w.startswith("status Retriever")]) == writes, (
        "nothing changed, nothing was written"
    )
    await look(world, 20)
    over = condition(retriever(world), "Watching")
    assert (over["status"], over["reason"]) == ("False", "Over")
    assert f"{V2} was watched until" in over["message"]
    assert "1% of 18,000 requests failed" in over["message"]
    assert pointer(world)["active"] == V2
    before = len(world.cluster.writes)
    await look(world, 10, seconds=60)
    assert [w for w in world.cluster.writes[before:] if "Retriever" in w] == []


async def test_after_the_window_errors_are_no_reason_but_an_alert_is() -> None:
    world = await promoted()
    await look(world, 190)
    errors(world)
    collapse(world)
    await look(world, 10)
    assert pointer(world)["active"] == V2
    send(world, an_alert(at=world.cluster.clock()))
    await look(world, 3)
    assert pointer(world)["active"] == V1


@pytest.mark.parametrize("trouble", [t[0] for t in TRIGGERS], ids=[t[1] for t in TRIGGERS])
async def test_where_rollback_is_disabled_nothing_is_taken_back(trouble: Trouble) -> None:
    world = await promoted(rollback={"enabled": False, "latencyP99Multiplier": 3})
    trouble(world)
    await look(world, 10)
    assert pointer(world)["active"] == V2


async def test_one_replica_of_three_with_an_open_guard_is_said_and_takes_nothing_back_but_most_of_them_do() -> None:
    world = await promoted(serving={"replicas": 3})
    world.cluster.serving.guards[V2] = an_open_guard().model_copy(update={"open": False})
    await look(world, 3)
    assert all(c["type"] != "Guarded" for c in retriever(world)["status"]["conditions"])
    guard(world)
    world.cluster.serving.guarding = {"news-serving-1"}
    await look(world, 3)
    assert pointer(world)["active"] == V2
    said = condition(retriever(world), "Guarded")
    assert said["status"] == "True"
    assert (
        f"1 of 3 replicas answer in place of {V2} by the version before: in news-serving-1, 9 of 10 requests failed"
        in said["message"]
    )
    assert [e["reason"] for e in world.cluster.events].count("GuardOpened") == 1
    world.cluster.serving.guarding = set()
    await look(world, 2)
    assert condition(retriever(world), "Guarded")["status"] == "False"
    world.cluster.serving.guarding = None
    await look(world, 3)
    assert pointer(world)["active"] == V1
    assert "of 3 of 3 replicas" in condition(retriever(world), "RolledBack")["message"]


@pytest.mark.parametrize(
    "probe",
    [a_probe(40), a_probe(2, previous=15, queries=19), a_probe(12, previous=20, queries=30), a_probe(50)],
    ids=["a drop within the margin", "too few queries", "may be chance", "no drop"],
)
async def test_labelled_queries_that_prove_nothing_take_nothing_back(probe: Any) -> None:
    world = await promoted()
    world.cluster.serving.probes[V2] = probe
    await look(world, 5)
    assert pointer(world)["active"] == V2


async def test_a_watch_that_cannot_read_says_that_it_is_blind_and_alerts_still_act() -> None:
    world = await promoted()
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.broken = MetricsProblem("PrometheusUnreachable", "http://prometheus:9090: ClientConnectorError")
    await look(world, 3)
    blind = condition(retriever(world), "Watching")
    assert (blind["status"], blind["reason"]) == ("False", "Blind")
    assert "alerts, the inline guard and labelled queries still act" in blind["message"]
    assert [e["reason"] for e in world.cluster.events].count("WatchBlind") == 1
    rates.broken = None
    await look(world, 3)
    assert condition(retriever(world), "Watching")["reason"] == "Followed"
    rates.broken = MetricsProblem("PrometheusUnreachable", "gone again")
    await look(world, 2)
    alert(world)
    await look(world, 3)
    assert pointer(world)["active"] == V1
    assert condition(retriever(world), "Watching")["reason"] == "NothingToWatch"


async def test_a_promotion_does_not_wait_for_a_prometheus_that_is_away() -> None:
    rates = Rates(broken=MetricsProblem("PrometheusUnreachable", "away"))
    world = await promoted(rates)
    assert "baselineErrorRate" not in pointer(world)
    rates.broken = None
    await look(world, 2)
    assert "what was before is not known (1% is assumed)" in condition(retriever(world), "Watching")["message"]
    rates.of[V2] = 0.029
    await look(world, 3)
    assert pointer(world)["active"] == V2
    rates.of[V2] = 0.05
    await look(world, 3)
    assert pointer(world)["active"] == V1


async def test_without_a_prometheus_that_is_said_and_the_others_act() -> None:
    world = await promoted(rollback={"prometheus": None})
    said = condition(retriever(world), "Watching")
    assert (said["status"], said["reason"]) == ("True", "WithoutMetrics")
    collapse(world)
    await look(world, 3)
    assert pointer(world)["active"] == V1


async def test_nothing_promotes_again_what_was_taken_back_but_a_new_request() -> None:
    world = await promoted()
    errors(world)
    await look(world, 3)
    assert pointer(world)["active"] == V1
    for _ in range(5):
        ask(world, V2, "r1")
        send(world, an_alert(at=world.cluster.clock(), firing=False))
        await look(world, 3)
    assert pointer(world)["active"] == V1
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.of.clear()
    ask(world, V2, "r2")
    await look(world, 10)
    assert pointer(world)["active"] == V2
    assert condition(retriever(world), "RolledBack")["status"] == "False"


async def test_a_version_without_a_previous_one_stays_and_that_is_said_once() -> None:
    world = await promoted()
    world.cluster.remove("ModelVersion", V1)
    await look(world, 2)
    errors(world)
    await look(world, 6)
    assert pointer(world)["active"] == V2
    said = condition(retriever(world), "RolledBack")
    assert (said["status"], said["reason"]) == ("False", "NothingToReturnTo")
    assert (
        f"{V2} should be taken back, and no version is left to return to; promote another one. ErrorRate: 30% of"
        in said["message"]
    )
    assert [e["reason"] for e in world.cluster.events].count("NothingToReturnTo") == 1
    before = len(world.cluster.writes)
    await look(world, 6)
    assert [w for w in world.cluster.writes[before:] if w.startswith("status Retriever")] == []


async def test_a_rollback_refuses_the_promotion_that_is_under_way() -> None:
    world = await promoted(versions=3)
    world.cluster.serving.slow.add(V3)
    ask(world, V3, "r3")
    await look(world, 3)
    assert retriever(world)["status"]["candidates"][0]["version"] == V3
    errors(world)
    await look(world, 3)
    assert pointer(world)["active"] == V1
    await look(world, 3)
    answer = status_of(world, V3)["promotion"]
    assert answer["result"] == "Refused"
    assert "was rolled back to" in answer["message"]


async def test_the_collection_of_the_previous_version_is_gone_so_the_best_one_serves_until_it_is_built_again() -> None:
    world = await promoted(versions=3)
    ask(world, V3, "r3")
    await look(world, 30, seconds=1)
    assert (pointer(world)["active"], pointer(world)["previous"]) == (V3, V2)
    gone = world.cluster.objects["ModelVersion", "news", V2]
    gone["status"].pop("index")
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.of[V3] = 0.5
    world.cluster.hold = True
    await look(world, 3)
    assert pointer(world)["active"] == V1
    assert (
        f"{V2} has no collection now: {V1} serves until it is built again"
        in condition(retriever(world), "RolledBack")["message"]
    )
    world.cluster.hold = False
    await look(world, 12)
    assert pointer(world)["active"] == V2
    assert [(c["action"], c["version"]) for c in retriever(world)["status"]["changes"]][-2:] == [
        ("RolledBack", V1),
        ("RolledBack", V2),
    ]
    assert [q["version"] for q in retriever(world)["status"]["quarantined"]] == [V3]
    assert status_of(world, V3)["stage"] == "failed"
    assert_invariants(world.cluster)


async def test_where_the_only_way_back_has_no_collection_it_is_built_first() -> None:
    world = await promoted()
    gone = world.cluster.objects["ModelVersion", "news", V1]
    gone["status"].pop("index")
    errors(world)
    world.cluster.hold = True
    await look(world, 3)
    assert pointer(world)["active"] == V2
    said = condition(retriever(world), "RolledBack")
    assert said["status"] == "False"
    assert f"{V1} has no collection now and is indexed again; until then the active version goes on" in said["message"]
    world.cluster.hold = False
    await look(world, 12)
    assert pointer(world)["active"] == V1
    assert status_of(world, V2)["stage"] == "failed"
    assert_invariants(world.cluster)


async def test_a_version_taken_back_a_second_time_before_it_saw_that_it_was_active_tells_the_newer_cause() -> None:
    world = await promoted()
    errors(world)
    await look(world, 4)
    assert status_of(world, V2)["notes"].startswith("rolled back: 30% of")
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.of.clear()
    ask(world, V2, "r2")
    for _ in range(20):  # the Retriever alone is looked at
        await reconcile(world.context, Key("Retriever", "news", "news"))
        world.cluster.run_deployments()
        if pointer(world)["active"] == V2:
            break
    send(world, an_alert(at=world.cluster.clock()))
    await reconcile(world.context, Key("Retriever", "news", "news"))
    assert pointer(world)["active"] == V1
    await look(world, 4)
    bad = world.cluster.find("ModelVersion", V2)
    assert bad["status"]["notes"].startswith("rolled back: alert AttuneVersionErrors")
    assert condition(bad, "RolledBack")["message"].startswith("alert AttuneVersionErrors")


async def test_a_rollback_ends_the_watch_and_the_version_before_is_not_watched() -> None:
    world = await promoted()
    errors(world)
    await look(world, 4)
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.of[V1] = 0.9
    asked = len(rates.queries)
    await look(world, 20)
    assert pointer(world)["active"] == V1
    assert len(rates.queries) == asked
