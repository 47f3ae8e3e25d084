"""What can be done: each thing is asked about first, done once, followed until it is done, and grey where the right is missing."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import expect

from dashboard_versions import CAUSE, EMB, RER
from dashboard_visit import Visit
from dashboard_world import DashboardWorld

NEXT, NOW, BEFORE, BAD = EMB[12], EMB[11], EMB[9], EMB[10]


def asked_for(world: DashboardWorld, name: str) -> str | None:
    """The requestID in the object."""
    spec = world.do(lambda server: server.get("ModelVersion", name))["spec"]
    found: str | None = (spec.get("promotion") or {}).get("requestID")
    return found


def answer(world: DashboardWorld, name: str, result: str, message: str) -> None:
    """As the operator does."""
    handled = {"handledRequestID": asked_for(world, name), "result": result, "message": message}
    world.do(lambda server: server.status("ModelVersion", name, promotion=handled))


def test_a_promotion_is_asked_about_done_and_followed(ada: Visit, world: DashboardWorld) -> None:
    ada.go("retrievers/news")
    ada.button(f"Promote {NEXT}").click()
    dialog = ada.dialog
    expect(dialog).to_contain_text(f"Promote {NEXT}?")
    expect(dialog.locator(".switch")).to_have_text(f"{NOW}→{NEXT}")
    expect(dialog).to_contain_text(
        "The index switches with it: news_5e11ff_cf22c529 → news_5e12ff_cf22c529 (18,420 documents)."
    )
    expect(dialog).to_contain_text("The test news-v12 of this type, which runs now, ends with it.")
    expect(dialog).to_contain_text("0.713 → 0.751 (+0.038)")
    assert ada.focused() == "Cancel"
    ada.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert asked_for(world, NEXT) is None
    expect(ada.button(f"Promote {NEXT}")).to_be_focused()

    ada.button(f"Promote {NEXT}").click()
    ada.dialog.get_by_role("button", name="Promote", exact=True).click()
    expect(ada.activity).to_contain_text(f"asked for; {NOW} serves now")
    (request,) = ada.asked("POST", f"/models/{NEXT}/promote")
    assert re.match(r"^dashboard-[0-9a-f]{32}$", request.headers["idempotency-key"])
    waits = {"result": "Pending", "message": "1 of 3 replicas has loaded it"}
    world.do(lambda server: server.status("ModelVersion", NEXT, promotion=waits))
    expect(ada.activity).to_contain_text("1 of 3 replicas has loaded it")
    ada.go("versions")
    answer(world, NEXT, "Promoted", "loaded and verified by 3 replicas")
    expect(ada.activity).to_contain_text("Promoted: loaded and verified by 3 replicas")
    ada.button(f"Dismiss: Promote {NEXT}").click()
    expect(ada.activity).to_have_text("")


def test_a_way_back_says_what_becomes_of_the_version_that_serves(ada: Visit, world: DashboardWorld) -> None:
    ada.go("retrievers/news")
    ada.button(f"Roll back to {BEFORE}").click()
    expect(ada.dialog).to_contain_text(f"{NOW} is marked as failed and is not promoted again")
    assert ada.focused() == "Cancel"
    ada.dialog.get_by_role("button", name="Roll back").click()
    expect(ada.activity).to_contain_text(f"Roll back {BEFORE}")
    answer(world, BEFORE, "RolledBack", "by hand: 3 replicas serve it")
    expect(ada.activity).to_contain_text("Rolled back: by hand: 3 replicas serve it")


def test_a_reranker_goes_back_without_an_index(ada: Visit) -> None:
    ada.go("retrievers/news")
    ada.button(f"Roll back to {RER[2]}").click()
    expect(ada.dialog).to_contain_text("A reranker has no index of its own")


def test_a_request_that_the_operator_refuses_is_told_with_its_reason(ada: Visit, world: DashboardWorld) -> None:
    ada.go(f"versions/{NEXT}")
    ada.button("Promote").click()
    ada.dialog.get_by_role("button", name="Promote").click()
    expect(ada.activity).to_contain_text("asked for")
    answer(world, NEXT, "Refused", "ArtifactCorrupt: 1 of 12 files has another digest")
    expect(ada.activity).to_contain_text("Refused: ArtifactCorrupt: 1 of 12 files has another digest")
    expect(ada.main).to_contain_text("Refused: ArtifactCorrupt")


def test_a_version_that_was_taken_back_needs_a_second_yes(ada: Visit, world: DashboardWorld) -> None:
    ada.go(f"versions/{BAD}")
    ada.button("Roll back to it").click()
    ada.dialog.get_by_role("button", name="Roll back").click()
    expect(ada.dialog.get_by_role("alert")).to_contain_text(f"{BAD} was taken back: {CAUSE}.")
    expect(ada.dialog.get_by_role("alert")).not_to_contain_text("force")
    assert asked_for(world, BAD) is None
    expect(ada.dialog.get_by_role("button", name="Cancel")).to_be_focused()
    ada.dialog.get_by_role("button", name="Roll back all the same").click()
    expect(ada.dialog).to_have_count(0)
    assert asked_for(world, BAD)


def test_what_cannot_be_done_is_grey_with_the_reason_and_does_nothing(vera: Visit) -> None:
    vera.go("retrievers/news")
    why = "vera may not promote in team: the verb patch on modelversions.attune.dev is missing."
    promote = vera.page.get_by_role("button", name=f"Promote {NEXT}")
    expect(promote).to_have_attribute("aria-disabled", "true")
    expect(promote).to_have_attribute("title", why)
    expect(vera.panel("Serves now")).to_contain_text(why)
    promote.click(force=True)
    vera.page.get_by_role("button", name="Start a training").click(force=True)
    expect(vera.dialog).to_have_count(0)
    vera.go("tests/news-v12")
    expect(vera.main).to_contain_text(
        "vera may not cancel a test in team: the verb patch on abtests.attune.dev is missing."
    )
    vera.go(f"versions/{EMB[8]}")
    expect(vera.page.get_by_role("button", name="Roll back to it")).to_have_attribute("aria-disabled", "true")
    assert vera.asked("POST", "") == vera.asked("DELETE", "") == []


def test_a_version_whose_files_are_deleted_cannot_be_gone_back_to(ada: Visit) -> None:
    ada.go(f"versions/{EMB[8]}")
    expect(ada.main).to_contain_text("Its files are deleted; train it again.")
    expect(ada.page.get_by_role("button", name="Roll back to it")).to_have_attribute("aria-disabled", "true")


def test_an_answer_that_was_lost_can_be_asked_for_again_and_it_is_done_once(ada: Visit, world: DashboardWorld) -> None:
    ada.go("training")
    ada.button("Start a training").click()
    ada.dialog.get_by_label("Retriever").select_option("news")

    def lose_answers(server: Any) -> None:
        world.server.lose = 10

    def find_them(server: Any) -> None:
        world.server.lose = 0

    world.do(lose_answers)
    ada.button("Start the training").click()
    expect(ada.dialog.get_by_role("alert")).to_contain_text("Trying again is safe: the same request is done once.")
    world.do(find_them)
    ada.button("Start the training").click()
    expect(ada.main).to_contain_text("Embedding model of news")
    made = [job for job in world.do(lambda server: server.all("TrainingJob")) if not job.get("status")]
    assert len(made) == 1
    first, *_, last = ada.asked("POST", "/models/train")
    assert first.headers["idempotency-key"] == last.headers["idempotency-key"]


def test_a_training_is_started_with_what_was_filled_in_and_the_defaults(ada: Visit, world: DashboardWorld) -> None:
    ada.go("retrievers/news")
    ada.button("Start a training").click()
    expect(ada.dialog).to_contain_text("What serves does not change: you promote it, or not.")
    ada.dialog.get_by_label("Promote it by itself when it passes").check()
    expect(ada.dialog).to_contain_text(f"If it passes it takes over from {NOW} without being asked again")
    ada.dialog.get_by_label("Reranker").check()
    expect(ada.dialog).to_contain_text(f"It is staged only if it is not worse than {RER[3]}")
    ada.dialog.get_by_label("Name").fill("by-hand")
    ada.dialog.get_by_label("Score to reach").fill("0.72")
    ada.button("Start the training").dblclick()
    expect(ada.heading("by-hand")).to_be_visible()
    expect(ada.activity).to_contain_text("Train by-hand")
    made = world.do(lambda server: server.get("TrainingJob", "by-hand"))
    assert made["metadata"]["annotations"]["attune.dev/requested-by"] == "ada"
    spec = made["spec"]
    assert (spec["type"], spec["evalThreshold"], spec["autoPromote"], spec["hyperparameters"]["epochs"]) == (
        "reranker",
        0.72,
        True,
        3,
    )


def test_fields_that_are_wrong_are_marked_where_they_are(ada: Visit, world: DashboardWorld) -> None:
    before = len(world.do(lambda server: server.all("TrainingJob")))
    ada.go("training")
    ada.button("Start a training").click()
    epochs = ada.dialog.get_by_label("Epochs")
    epochs.fill("900")
    ada.button("Start the training").click()
    expect(epochs).to_be_focused()
    expect(epochs).to_have_attribute("aria-invalid", "true")
    expect(epochs).to_have_accessible_description(re.compile("less than or equal to 100"))
    ada.dialog.get_by_label("Name").fill("news-lr")
    epochs.fill("2")
    ada.button("Start the training").click()
    name = ada.dialog.get_by_label("Name")
    expect(name).to_have_accessible_description(re.compile("already exists"))
    expect(epochs).to_have_attribute("aria-invalid", "false")
    assert len(world.do(lambda server: server.all("TrainingJob"))) == before


def test_a_test_is_cancelled_and_followed_until_it_is(ada: Visit, world: DashboardWorld) -> None:
    ada.go("tests/news-v12")
    ada.button("Cancel the test").click()
    expect(ada.dialog).to_contain_text(f"All queries go to {NOW} again, at once.")
    assert ada.focused() == "Cancel"
    ada.dialog.get_by_role("button", name="Cancel the test").click()
    expect(ada.activity).to_contain_text("asked to end; it is Running")
    assert world.do(lambda server: server.get("ABTest", "news-v12"))["spec"]["cancel"] is True
    world.do(
        lambda server: server.status("ABTest", "news-v12", phase="Cancelled", message="cancelled: spec.cancel is true")
    )
    expect(ada.activity).to_contain_text("Cancelled: cancelled: spec.cancel is true")
    expect(ada.main.locator(".heading .chip")).to_have_text("Cancelled")


def test_a_test_that_ended_meanwhile_cannot_be_cancelled_and_says_why(ada: Visit, world: DashboardWorld) -> None:
    ada.go("tests/news-v12")
    ada.button("Cancel the test").click()
    world.do(lambda server: server.status("ABTest", "news-v12", phase="Concluded", winner="B"))
    ada.dialog.get_by_role("button", name="Cancel the test").click()
    expect(ada.dialog.get_by_role("alert")).to_contain_text("news-v12 has ended already (Concluded, winner B")


def test_a_run_is_cancelled_by_deleting_it(ada: Visit, world: DashboardWorld) -> None:
    ada.go("training/news-lr")
    ada.button("Cancel this run").click()
    expect(ada.dialog).to_contain_text(f"{EMB[13]}, which it makes, fails.")
    assert ada.focused() == "Cancel"
    ada.button("Delete the run").click()
    expect(ada.activity).to_contain_text("The run was deleted.")
    expect(ada.main).to_contain_text("The run was deleted; what is shown is its last state.")
    assert "news-lr" not in [job["metadata"]["name"] for job in world.do(lambda server: server.all("TrainingJob"))]
