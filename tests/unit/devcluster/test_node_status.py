"""What the process node says of a Pod, state by state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devcluster.node.status import ContainerState, container_status, phase, pod_status, terminated

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def running(*, ready: bool = True, probed_first: bool = False) -> ContainerState:
    state = ContainerState("main", "python")
    state.start(NOW, probed_first=probed_first, ready=ready)
    return state


def ended(code: int, message: str = "") -> ContainerState:
    state = running()
    state.end(LATER, code, "", message)
    return state


def waiting() -> ContainerState:
    return ContainerState("main", "python", waiting=("ErrImagePull", "no such image"))


def pod(policy: str = "Never", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "one"}, "spec": {"restartPolicy": policy}, "status": status}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


@pytest.mark.parametrize(
    ("states", "policy", "wanted"),
    [
        ([waiting()], "Never", "Pending"),
        ([running()], "Never", "Running"),
        ([running(), waiting()], "Never", "Running"),
        ([ended(0)], "Never", "Succeeded"),
        ([ended(0), ended(1)], "Never", "Failed"),
        ([ended(1), running()], "Never", "Running"),
        ([ended(1)], "OnFailure", "Running"),
        ([ended(0)], "OnFailure", "Succeeded"),
        ([ended(0)], "Always", "Running"),
        ([ended(1)], "Always", "Running"),
    ],
)
def test_the_phase_follows_from_the_containers_and_the_restart_policy(
    states: list[ContainerState], policy: str, wanted: str
) -> None:
    assert phase(states, initialized=True, restart_policy=policy) == wanted


def test_a_pod_is_pending_until_its_init_containers_have_succeeded() -> None:
    assert pod_status(pod(), [running()], [waiting()], {})["phase"] == "Pending"
    made = pod_status(pod(), [ended(0)], [running()], {"podIP": "127.1.0.1"})
    assert (made["phase"], made["podIP"], conditions(made)["Initialized"]) == ("Running", "127.1.0.1", "True")


def test_a_failed_init_container_fails_the_pod_only_if_it_is_never_restarted() -> None:
    assert pod_status(pod("Never"), [ended(3)], [waiting()], {})["phase"] == "Failed"
    assert pod_status(pod("OnFailure"), [ended(3)], [waiting()], {})["phase"] == "Pending"


def test_a_pod_is_ready_when_all_its_containers_are() -> None:
    assert conditions(pod_status(pod(), [], [running(), running()], {}))["Ready"] == "True"
    assert conditions(pod_status(pod(), [], [running(), running(ready=False)], {}))["Ready"] == "False"
    assert conditions(pod_status(pod(), [], [ended(0)], {}))["Ready"] == "False"


def test_conditions_keep_their_time_while_they_do_not_change_and_those_of_others_stay() -> None:
    old = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "Initialized", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"},
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
    ]
    made = pod_status(pod(conditions=old), [], [running()], {})["conditions"]
    times = {c["type"]: c.get("lastTransitionTime") for c in made}
    assert times["Ready"] == "2020-01-01T00:00:00Z"
    assert times["Initialized"] != "2020-01-01T00:00:00Z"
    assert old[2] in made


@pytest.mark.parametrize(("code", "reason", "number"), [(0, "Completed", None), (1, "Error", None), (137, "Error", 9)])
def test_an_end_has_code_reason_signal_and_times(code: int, reason: str, number: int | None) -> None:
    made = terminated(ended(code, "last words"))
    assert (made["exitCode"], made["reason"], made.get("signal")) == (code, reason, number)
    assert (made["startedAt"], made["finishedAt"]) == ("2026-11-23T12:00:00Z", "2026-11-23T12:01:00Z")
    assert made["message"] == "last words"


def test_a_container_counts_as_started_once_its_startup_probe_has_succeeded() -> None:
    state = running(probed_first=True, ready=False)
    assert not container_status(state)["started"]
    state.started = True
    assert container_status(state)["started"]
    state.end(LATER, 0, "", "")
    assert not container_status(state)["started"]


def test_a_container_that_backs_off_shows_why_it_waits_and_how_it_ended() -> None:
    state = ended(1)
    state.last, state.restarts, state.waiting = terminated(state), 2, ("CrashLoopBackOff", "back-off 1s")
    made = container_status(state)
    assert made["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1s"}}
    assert made["lastState"]["terminated"]["exitCode"] == 1
    assert made["restartCount"] == 2


def test_what_ran_under_an_earlier_node_process_is_lost() -> None:
    state = ContainerState("main", "python")
    state.adopt(container_status(running()), LATER)
    assert state.finished
    made = terminated(state)
    assert (made["exitCode"], made["reason"], made["finishedAt"]) == (
        137,
        "ContainerStatusUnknown",
        "2026-11-23T12:01:00Z",
    )


def test_what_had_ended_under_an_earlier_node_process_stays_as_it_was() -> None:
    before = ended(3, "last words")
    before.restarts = 4
    state = ContainerState("main", "python")
    state.adopt(container_status(before), LATER + timedelta(days=1))
    assert container_status(state) == container_status(before)


def test_what_never_ran_under_an_earlier_node_process_starts_as_if_new() -> None:
    state = ContainerState("main", "python")
    state.adopt(container_status(waiting()), LATER)
    assert state == ContainerState("main", "python")


def test_a_container_that_is_given_up_keeps_its_own_end_if_it_has_one() -> None:
    never_ran, crashed = waiting(), ended(7)
    crashed.waiting = ("CrashLoopBackOff", "")
    for state in (never_ran, crashed):
        state.give_up(LATER, "deleted")
    assert (terminated(never_ran)["exitCode"], terminated(never_ran)["reason"]) == (137, "ContainerStatusUnknown")
    assert terminated(crashed)["exitCode"] == 7
