"""For everybody: axe on every page in both themes, by keyboard alone, narrow and wide, without motion."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, expect

from dashboard_objects import dashboard_objects
from dashboard_versions import EMB
from dashboard_visit import Visit
from dashboard_world import DashboardWorld

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
PLACES = (
    "retrievers",
    "retrievers/news",
    "versions",
    f"versions/{EMB[12]}",
    f"versions/{EMB[10]}",
    "training",
    "training/news-lr",
    "training/news-small",
    "training/news-monthly-29",
    "tests",
    "tests/news-v12",
    "tests/news-v11",
    "nowhere",
)


def violations(visit: Visit) -> list[tuple[str, str]]:
    """What axe-core finds wrong: rule and element."""
    visit.page.evaluate(AXE)
    found: dict[str, Any] = visit.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [(rule["id"], node["html"][:200]) for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page_and_in_any_dialog(chromium: Browser, world: DashboardWorld, theme: Any) -> None:
    with Visit(chromium, world.url, color_scheme=theme, reduced_motion="reduce") as visit:
        expect(visit.page.get_by_label("Bearer token")).to_be_visible()
        assert violations(visit) == []
        visit.sign_in("admin-token")
        for place in PLACES:
            visit.go(place)
            assert violations(visit) == [], place
        visit.go("retrievers/news")
        visit.button(f"Promote {EMB[12]}").click()
        expect(visit.dialog).to_be_visible()
        assert violations(visit) == []
        visit.dialog.get_by_role("button", name="Promote", exact=True).click()
        expect(visit.activity).to_contain_text("asked for")
        visit.button("Start a training").click()
        assert violations(visit) == []


def test_axe_finds_nothing_where_rights_are_missing_and_where_nobody_answers(
    chromium: Browser, world: DashboardWorld
) -> None:
    with Visit(chromium, world.url, reduced_motion="reduce") as visit:
        visit.sign_in("viewer-token")
        visit.go("retrievers/news")
        assert violations(visit) == []
        world.stop_api()
        expect(visit.page.locator("#away")).to_be_visible()
        assert violations(visit) == []
        world.start_api()
    with Visit(chromium, world.url, reduced_motion="reduce") as visit:
        visit.sign_in("nobody-token")
        expect(visit.heading("Nothing to see here")).to_be_visible()
        assert violations(visit) == []


def tab_to(visit: Visit, name: str, key: str = "Tab", most: int = 60) -> None:
    """By that key alone."""
    for _ in range(most):
        if visit.focused() == name:
            return
        visit.page.keyboard.press(key)
    raise AssertionError(f"{name} is not reached by {most} times {key}; focus is on {visit.focused()!r}")


def test_a_tour_by_keyboard_alone(chromium: Browser, world: DashboardWorld) -> None:
    with Visit(chromium, world.url) as visit:
        keys = visit.page.keyboard
        expect(visit.page.get_by_label("Bearer token")).to_be_focused()
        keys.type("admin-token")
        keys.press("Enter")
        expect(visit.heading("Retrievers")).to_be_focused()
        tab_to(visit, "news")
        keys.press("Enter")
        expect(visit.heading("news")).to_be_focused()
        tab_to(visit, f"Promote {EMB[12]}")
        assert visit.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
        keys.press("Enter")
        expect(visit.dialog).to_be_visible()
        assert visit.focused() == "Cancel"
        for _ in range(4):
            keys.press("Tab")
            inside = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
            assert visit.page.evaluate(inside), "focus does not leave the dialog for the page"
        keys.press("Escape")
        expect(visit.dialog).to_have_count(0)
        assert visit.focused() == f"Promote {EMB[12]}"
        tab_to(visit, "Skip to the content", "Shift+Tab")
        keys.press("Enter")
        expect(visit.heading("news")).to_be_focused()
        expect(visit.page).to_have_url(f"{visit.url}/#/team/retrievers/news")


def test_there_is_one_of_each_landmark_and_headings_come_in_order(ada: Visit) -> None:
    ada.go("retrievers/news")
    for landmark in ("banner", "navigation", "main"):
        assert ada.page.get_by_role(landmark).count() == 1, landmark  # type: ignore[arg-type]
    levels = [
        int(tag[1]) for tag in ada.page.eval_on_selector_all("h1,h2,h3,h4", "all => all.map((one) => one.tagName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    expect(ada.page.get_by_role("navigation").get_by_role("link", name="Retrievers")).to_have_attribute(
        "aria-current", "page"
    )


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_no_page_is_wider_than_its_window(chromium: Browser, world: DashboardWorld, width: int) -> None:
    with Visit(chromium, world.url, viewport={"width": width, "height": 740}) as visit:
        assert visit.overflow() <= 0
        visit.sign_in("admin-token")
        for place in PLACES:
            visit.go(place)
            assert visit.overflow() <= 0, place
        visit.go("retrievers/news")
        visit.button("Start a training").click()
        box = visit.dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_names_as_long_as_kubernetes_allows_do_not_break_a_narrow_page(chromium: Browser) -> None:
    long = "a" * 250
    things = dashboard_objects()
    for thing in things:
        thing["spec"] = {k: long if k in {"modelB", "modelA"} else v for k, v in thing["spec"].items()}
        if thing["kind"] in {"TrainingJob", "ABTest"}:
            thing["metadata"]["name"] = thing["metadata"]["name"] + "-" + long[:200]
    things[0]["status"]["embedding"] |= {"active": long, "previous": long}
    with DashboardWorld(things) as world, Visit(chromium, world.url, viewport={"width": 360, "height": 740}) as visit:
        visit.sign_in("admin-token")
        for place in (
            "retrievers",
            "retrievers/news",
            "training",
            f"training/news-lr-{long[:200]}",
            "tests",
            f"tests/news-v12-{long[:200]}",
        ):
            visit.go(place)
            assert visit.overflow() <= 0, place


def test_the_theme_follows_the_system_until_another_one_is_chosen_and_that_is_kept(
    chromium: Browser, world: DashboardWorld
) -> None:
    with Visit(chromium, world.url, color_scheme="dark") as visit:
        body = visit.page.locator("body")
        expect(body).to_have_css("background-color", "rgb(15, 16, 20)")
        visit.button("Theme: system. Change to light").click()
        expect(body).to_have_css("background-color", "rgb(247, 247, 249)")
        visit.page.reload()
        expect(body).to_have_css("background-color", "rgb(247, 247, 249)")
        visit.button("Theme: light. Change to dark").click()
        visit.button("Theme: dark. Change to system").click()
        visit.page.emulate_media(color_scheme="light")
        expect(body).to_have_css("background-color", "rgb(247, 247, 249)")


def test_nothing_moves_for_those_who_do_not_want_it(chromium: Browser, world: DashboardWorld) -> None:
    with Visit(chromium, world.url, reduced_motion="reduce") as visit:
        visit.sign_in("admin-token")
        visit.go("training/news-lr")
        moving = "() => [...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
        assert visit.page.evaluate(moving) == 0
