"""What the screens say of objects that the real decisions wrote, and that nothing in an article steers a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from attune.cli import render
from attune.views import retrievers as view
from promotions import V1, V2, V3, ask, world_with
from worlds import World, counting, training_job, training_schedule

KEYS = {
    "retriever",
    "generation",
    "models",
    "promoting",
    "training",
    "tests",
    "schedules",
    "quarantined",
    "serving",
    "problems",
}
MODEL_KEYS = {"active", "since", "previous", "split", "metrics", "improvementPercent", "index", "staged"}


def seen(world: World) -> dict[str, Any]:
    kinds = [world.cluster.all(kind) for kind in ("ModelVersion", "TrainingJob", "ABTest", "TrainingSchedule")]
    return view.status_view(world.cluster.find("Retriever"), *kinds)


def drawn(what: Any, width: int = 100) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def screen(world: World) -> str:
    return drawn(render.status(seen(world), world.cluster.clock() + timedelta(hours=3)))


async def test_status_names_what_serves_what_came_before_and_what_could_be_promoted() -> None:
    world = await world_with(3)
    ask(world, V2, "r1")
    await world.settle()
    found = seen(world)
    assert set(found) == KEYS
    assert set(found["models"]["embedding"]) == MODEL_KEYS
    assert json.loads(json.dumps(found)) == found
    assert found["problems"] == []
    assert "generation 2" in found["serving"]
    text = screen(world)
    assert f"embedding  {V2}  3h" in text
    assert "0.900    +12.5%  1,194" in text
    assert f"before   {V1} (embedding): `kubectl attune rollback` leads back to it" in text
    assert f"staged   {V3} (embedding): `kubectl attune promote {V3}`" in text
    assert found["serving"] in text


async def test_status_says_what_a_promotion_waits_for_and_which_condition_needs_attention() -> None:
    world = await world_with(2, serving={"replicas": 2})
    world.cluster.serving.slow.add(V2)
    ask(world, V2, "r1")
    await world.settle(rounds=8)
    assert f"promoting  {V2} since 3h" in screen(world)
    assert "2 of 2 replicas: news-serving-0 is Loading" in screen(world)
    world.cluster.serving.replicas["news-serving-1"].silent = True
    await world.settle(rounds=8)
    problem = next(p for p in seen(world)["problems"] if p["type"] == "Serving")
    assert f"attention  Serving: {problem['reason']}: {problem['message'][:20]}" in screen(world)


async def test_status_shows_a_run_with_percent_and_what_is_left_and_forgets_it_when_it_ended() -> None:
    world = await world_with(1)
    progress = {"stage": "train", "percent": 43.2, "estimatedRemainingSeconds": 340.0}
    job = world.cluster.put(training_job("tune"))
    running = {**job, "status": {"phase": "Training", "progress": progress, "message": "attempt 1 of 3"}}
    found = view.status_view(world.cluster.find("Retriever"), [], [running], [])
    assert found["training"] == [
        {
            "name": "tune",
            "type": "embedding",
            "phase": "Training",
            "percent": 43.2,
            "remainingSeconds": 340.0,
            "message": "attempt 1 of 3",
        }
    ]
    now = datetime.now(UTC)
    assert "training  tune Training 43%, 5m40s left: attempt 1 of 3" in drawn(render.status(found, now))
    ended = {**job, "status": {"phase": "Succeeded"}}
    other = {**running, "spec": {**job["spec"], "retriever": "another"}}
    assert view.status_view(world.cluster.find("Retriever"), [], [ended, other], [])["training"] == []


async def test_a_version_that_was_taken_back_is_shown_with_the_cause() -> None:
    world = await world_with(2)
    for version, request in ((V2, "r1"), (V1, "back")):
        ask(world, version, request)
        await world.settle()
    assert "taken back  " + V2 in screen(world)
    assert "by hand, request back" in screen(world)
    assert "attention   RolledBack: ByHand" in screen(world)
    told = view.history_view(world.cluster.find("Retriever"), world.cluster.all("ModelVersion"))
    assert [(c["action"], c["version"]) for c in told["changes"]] == [
        ("Imported", V1),
        ("Promoted", V2),
        ("RolledBack", V1),
    ]
    text = drawn(render.history(told, world.cluster.clock()), 120)
    rows = [line.split() for line in text.splitlines() if "RolledBack" in line]
    assert V1 in rows[0], "the newest move comes first"
    assert V2 in rows[0]
    assert f"{V2}: rolled back: by hand, request back" in text


def test_before_anything_serves_the_screens_say_so() -> None:
    retriever = {"metadata": {"name": "news"}, "spec": {"embedding": {"baseModel": "x"}}}
    now = datetime.now(UTC)
    assert "embedding  nothing yet" in drawn(render.status(view.status_view(retriever, [], [], []), now))
    assert "no version has served yet" in drawn(render.history(view.history_view(retriever, []), now))


def a_version(name: str, **status: Any) -> dict[str, Any]:
    spec = {"baseModel": "org/base", "config": {"epochs": 3, "hardNegatives": {"perQuery": 4}}}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


def test_diff_has_what_differs_and_with_all_the_rest_too() -> None:
    one = a_version("a", evaluationMetrics={"ndcgAt10": 0.7}, artifact={"digest": "sha256:" + "a" * 64})
    other = a_version(
        "b",
        evaluationMetrics={"ndcgAt10": 0.75, "intervals": {"ndcgAt10": {"low": 0.01, "high": 0.09}}},
        dataset={"bySource": {"archive": 900}, "droppedByReason": {"NearDuplicate": 12}},
        artifact={"digest": "sha256:" + "b" * 64},
    )
    other["spec"] = {"baseModel": "org/base", "config": {"epochs": 1, "hardNegatives": {"perQuery": 4}}}
    found = view.diff_view(one, other)
    assert found["config"] == {"epochs": {"a": 3, "b": 1}}
    assert found["data"] == {
        "bySource.archive": {"a": None, "b": 900},
        "droppedByReason.NearDuplicate": {"a": None, "b": 12},
    }
    assert found["metrics"]["ndcgAt10"] == {"a": 0.7, "b": 0.75, "interval": {"low": 0.01, "high": 0.09}}
    whole = view.diff_view(one, other, everything=True)["config"]
    assert set(whole) == {"baseModel", "epochs", "hardNegatives.perQuery"}
    text = drawn(render.diff(found))
    assert "0.75 (+0.010 to +0.090)" in text
    assert "sha256:aaaaaaaa…" in text
    assert "index" in text
    assert "no difference" in text


def answer(name: str, *ids: str) -> dict[str, Any]:
    hits = [{"id": i, "score": 1 - n / 10, "title": f"title of {i}", "content": ""} for n, i in enumerate(ids)]
    return {"model": name, "index": f"c_{name}", "data": hits}


@pytest.mark.parametrize("width", [80, 120])
def test_two_answers_stand_beside_each_other_where_there_is_room(width: int) -> None:
    text = drawn(render.hits([answer("one", "d1", "d2"), answer("two", "d2", "d3")], width), width)
    first = text.splitlines()[0]
    assert ("two in c_two" in first) == (width == 120)
    assert max(map(len, text.splitlines())) <= width
    row = next(line for line in text.splitlines() if "title of d1" in line)
    assert row.split("title of d1")[1].split()[0] == "-", "d1 is not in the other answer"


def test_titles_cannot_steer_the_terminal_and_are_never_markup() -> None:
    hit = {"id": "d1", "score": 1.0, "title": "\x1b]0;owned\x07\x1b[2J[red]not[/red] :smile:\nnext", "content": ""}
    text = drawn(render.hits([{"model": "m", "index": None, "data": [hit]}], 80), 80)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]not[/red] :smile: next" in text
    assert "nothing was found" in drawn(render.hits([{"model": "m", "index": "c", "data": []}], 80))


async def test_status_has_a_line_for_each_schedule() -> None:
    world = await world_with(1)
    world.cluster.put(training_schedule("news-weekly", training={"schedule": "0 2 1 * *", "minNewPairs": 5000}))
    await world.settle()
    line = "schedule  news-weekly: data in 6d10h, training in 16d10h"
    assert line in drawn(render.status(seen(world), world.cluster.clock() + timedelta(hours=3)))
    world.cluster.trainer = counting
    world.cluster.clock.now = datetime(2026, 4, 1, 2, 0, 1, tzinfo=UTC)
    await world.settle()
    text = " ".join(drawn(render.status(seen(world), world.cluster.clock())).split())
    assert "schedule news-weekly: data in 3d23h, training in 29d23h, 3,600 of 5,000 new pairs" in text
    assert "; training of Wed 2026-04-01 02:00 UTC skipped: 3600 new pairs < 5000" in text
    found = world.cluster.find("TrainingSchedule")
    world.cluster.put({**found, "spec": {**found["spec"], "suspend": True}})
    await world.settle()
    assert "news-weekly: Suspended: spec.suspend is true" in screen(world)
    other = view.status_view({**world.cluster.find("Retriever"), "metadata": {"name": "another"}}, [], [], [], [found])
    assert other["schedules"] == []
