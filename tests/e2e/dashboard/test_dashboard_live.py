"""While things go on: a run as it trains, the API restarted under the page, an API server that is away."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from dashboard_versions import EMB
from dashboard_visit import Visit
from dashboard_world import DashboardWorld

STREAM = "/api/rag/models/train/news-lr/events"


def points(visit: Visit) -> int:
    return len((visit.panel("Loss").locator("path.line").get_attribute("d") or "").split("L"))


def test_a_run_is_followed_as_it_trains_and_its_loss_is_drawn(vera: Visit, world: DashboardWorld) -> None:
    vera.go("training/news-lr")
    expect(vera.panel("Progress")).to_contain_text("Live")
    percent = vera.main.locator(".progress-line .big")
    for now in (50, 55, 61):
        world.trains(now)
        expect(percent).to_have_text(f"{now}%")
    expect(vera.panel("Progress").get_by_role("progressbar")).to_have_attribute("aria-valuenow", "61")
    expect(vera.panel("Progress")).to_contain_text("about 5 min 8 s")
    assert points(vera) == 4
    expect(vera.page.locator("#said")).to_have_text("Training: 60%, about 5 min 8 s left")
    label = vera.panel("Loss").get_by_role("img").get_attribute("aria-label") or ""
    assert re.match(r"Loss from 0\.508 at epoch 1\.29 to 0\.\d+ at epoch 1\.83$", label)
    assert len(vera.asked("GET", STREAM)) == 1


def test_the_curve_stays_when_the_page_is_left_or_loaded_anew(visit: Visit, world: DashboardWorld) -> None:
    visit.sign_in("viewer-token", keep=True)
    visit.go("training/news-lr")
    for now in (50, 55):
        world.trains(now)
        expect(visit.main.locator(".progress-line .big")).to_have_text(f"{now}%")
    visit.go("training")
    visit.go("training/news-lr")
    visit.page.reload()
    expect(visit.panel("Loss").get_by_role("img")).to_be_visible()
    assert points(visit) == 3


def test_a_run_that_ends_tells_what_came_of_it(vera: Visit, world: DashboardWorld) -> None:
    vera.go("training/news-lr")
    expect(vera.panel("Progress")).to_contain_text("Live")
    message = "worse than the active version: nDCG@10 0.713 → 0.690 (−3.2%, 95% CI −0.041 to −0.004)"
    world.do(
        lambda server: server.status(
            "TrainingJob", "news-lr", phase="Failed", reason="WorseThanActive", message=message
        )
    )
    expect(vera.main).to_contain_text("It failed: worse than active.")
    expect(vera.main).to_contain_text(message)
    expect(vera.page.locator("#said")).to_contain_text("news-lr: Failed. worse than the active version")
    expect(vera.button("Cancel this run")).to_have_count(0)


def test_a_run_that_is_deleted_meanwhile_says_so(vera: Visit, world: DashboardWorld) -> None:
    vera.go("training/news-lr")
    expect(vera.panel("Progress")).to_contain_text("Live")
    world.do(lambda server: server.remove("TrainingJob", "news-lr"))
    expect(vera.main).to_contain_text("The run was deleted; what is shown is its last state.")


def test_the_page_goes_on_by_itself_after_the_api_was_restarted(vera: Visit, world: DashboardWorld) -> None:
    vera.go("training/news-lr")
    expect(vera.panel("Progress")).to_contain_text("Live")
    world.trains(50)
    expect(vera.main.locator(".progress-line .big")).to_have_text("50%")
    world.stop_api()
    expect(vera.panel("Progress")).to_contain_text("Connecting again")
    world.trains(70)
    world.start_api()
    expect(vera.main.locator(".progress-line .big")).to_have_text("70%")
    expect(vera.panel("Progress")).to_contain_text("Live")
    first, *others = vera.asked("GET", STREAM)
    assert "last-event-id" not in first.headers
    assert others
    assert all(request.headers["last-event-id"].isdigit() for request in others)
    expect(vera.main.locator("#away")).to_be_hidden()


def test_an_api_server_that_is_away_leaves_the_last_data_with_its_age(vera: Visit, world: DashboardWorld) -> None:
    vera.go("retrievers/news")
    away = vera.page.locator("#away")
    expect(away).to_be_hidden()

    def break_it(server: object) -> None:
        world.server.broken = 503
        world.server.drop_watches()

    world.do(break_it)
    expect(away).to_contain_text("the API server does not answer")
    expect(away).to_contain_text("It is tried again.")
    expect(away).to_contain_text("What you see is as it was")
    expect(away.locator("time")).to_have_attribute("title", re.compile(r"\d\d:\d\d:\d\d"))
    expect(vera.page.locator("#status")).to_have_text("Away")
    expect(vera.panel("Serves now")).to_contain_text(EMB[11])

    def mend(server: object) -> None:
        world.server.broken = 0

    world.do(mend)
    expect(away).to_be_hidden()
    expect(vera.page.locator("#status")).to_have_text("Live")


def test_an_api_that_does_not_answer_is_said_so_and_found_again(vera: Visit, world: DashboardWorld) -> None:
    vera.go("versions")
    world.stop_api()
    expect(vera.page.locator("#away")).to_contain_text("Attune's API does not answer")
    expect(vera.row(EMB[12])).to_be_visible()
    world.start_api()
    expect(vera.page.locator("#away")).to_be_hidden()


def test_signing_in_while_the_api_server_is_away_says_that_and_not_that_the_token_is_wrong(
    visit: Visit, world: DashboardWorld
) -> None:
    def break_it(server: object) -> None:
        world.server.broken = 503

    world.do(break_it)
    visit.try_token("admin-token")
    expect(visit.page.get_by_role("alert")).to_contain_text("the API server does not answer")
    expect(visit.page.get_by_label("Bearer token")).not_to_have_attribute("aria-invalid", "true")


def test_a_right_that_is_taken_away_ends_the_stream_and_is_said(vera: Visit, world: DashboardWorld) -> None:
    vera.go("training/news-lr")
    expect(vera.panel("Progress")).to_contain_text("Live")
    world.do(lambda server: server.grants.clear())
    expect(
        vera.heading("Nothing to see here").or_(vera.main.get_by_text("vera cannot get trainingjobs"))
    ).to_be_visible()


def test_nobody_is_asked_again_and_again_for_what_has_not_changed(vera: Visit) -> None:
    vera.go("versions")
    with vera.page.expect_response(lambda answer: "/api/rag/models?" in answer.url and answer.status == 304):
        pass
    assert all(request.headers.get("if-none-match") for request in vera.asked("GET", "/api/rag/models?")[1:])
