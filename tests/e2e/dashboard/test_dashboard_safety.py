"""Data is text: whatever is written in names and messages is shown as it is written, and nothing comes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, expect

from dashboard_objects import dashboard_objects
from dashboard_visit import Visit
from dashboard_world import DashboardWorld
from kube_server import Thing

MARKUP = '<img src="/hit" onerror="window.hit=1"><script>window.hit=1</script><b>bold</b>'
WORDS = {
    "message",
    "reason",
    "cause",
    "notes",
    "recommendation",
    "collection",
    "uri",
    "page",
    "card",
    "scoreMetric",
    "job",
    "what",
}
"""Fields that take any text."""
NAMES = {"user_feedback": f"m{MARKUP}", "archive": f"s{MARKUP}", "nearDuplicate": f"d{MARKUP}"}
"""Keys that users choose."""
NAME = 'x"><img src=x onerror=window.hit=1>'


def soiled(value: Any, key: str = "") -> Any:
    """The same with markup wherever text is free."""
    if isinstance(value, dict):
        return {NAMES.get(k, k): soiled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [soiled(one, key) for one in value]
    if key == "name" and value in NAMES:
        return NAMES[value]
    return value + MARKUP if key in WORDS and isinstance(value, str) else value


def objects() -> list[Thing]:
    """One of each kind has a name that the API server would not allow, either."""
    made = [soiled(thing) for thing in dashboard_objects()]
    for kind in ("ModelVersion", "TrainingJob", "ABTest"):
        first = next(thing for thing in made if thing["kind"] == kind)
        made.append({**first, "metadata": {**first["metadata"], "name": NAME}})
    return made


@pytest.fixture
def soiled_visit(chromium: Browser) -> Iterator[Visit]:
    with DashboardWorld(objects()) as world, Visit(chromium, world.url) as visit:
        visit.sign_in("admin-token")
        yield visit


PLACES = (
    "retrievers",
    "retrievers/news",
    "versions",
    f"versions/{quote(NAME, safe='')}",
    "training",
    "training/news-lr",
    "training/news-small",
    f"training/{quote(NAME, safe='')}",
    "tests",
    "tests/news-v12",
    f"tests/{quote(NAME, safe='')}",
)


def test_html_in_names_and_messages_is_shown_as_text_on_every_page(soiled_visit: Visit) -> None:
    shown = 0
    for place in PLACES:
        soiled_visit.go(place)
        expect(soiled_visit.main.locator("h1")).to_be_visible()
        shown += soiled_visit.main.inner_text().count("<b>bold</b>")
        assert soiled_visit.main.locator("img, script, b, iframe").count() == 0, place
    assert shown > 30
    assert soiled_visit.page.evaluate("() => window.hit") is None
    assert soiled_visit.asked("GET", "/hit") == []


def test_html_in_an_error_and_in_a_dialog_is_shown_as_text(soiled_visit: Visit) -> None:
    soiled_visit.page.goto(f"{soiled_visit.url}/#/team/versions/{quote('<b>none', safe='')}")
    expect(soiled_visit.main).to_contain_text("<b>none")
    expect(soiled_visit.main).to_contain_text("String should match pattern")
    soiled_visit.go("tests/news-v12")
    soiled_visit.button("Cancel the test").click()
    assert soiled_visit.dialog.locator("img, script, b").count() == 0
    assert soiled_visit.page.evaluate("() => window.hit") is None


@pytest.mark.parametrize(
    "attempt",
    [
        "document.body.innerHTML = '<b>x</b>'",
        "document.createElement('div').setAttribute('onclick', 'window.hit = 1')",
        "document.createElement('script').textContent = 'window.hit = 1'",
        "document.createElement('a').insertAdjacentHTML('beforeend', '<b>x</b>')",
    ],
)
def test_the_browser_itself_refuses_to_make_elements_and_scripts_of_text(ada: Visit, attempt: str) -> None:
    script = f"() => {{ try {{ {attempt}; return 'made'; }} catch (error) {{ return error.name; }} }}"
    assert ada.page.evaluate(script) == "TypeError"
    ada.complaints.clear()


def test_everything_comes_from_the_api_and_the_token_goes_nowhere_else(ada: Visit) -> None:
    for place in PLACES[:3]:
        ada.go(place)
    assert {f"{u.scheme}://{u.netloc}" for u in (urlsplit(request.url) for request in ada.requests)} == {ada.url}
    bearers = {urlsplit(r.url).path.split("/")[1] for r in ada.requests if r.headers.get("authorization")}
    assert bearers == {"api"}


def test_the_page_cannot_be_put_into_another_ones_frame(chromium: Browser, world: DashboardWorld) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.set_content(f'<iframe src="{world.url}"></iframe>')
    page.wait_for_timeout(500)
    assert "Sign in" not in (page.frames[-1].content())
    context.close()


def test_the_whole_page_is_small(visit: Visit) -> None:
    expect(visit.page.get_by_label("Bearer token")).to_be_visible()
    visit.page.wait_for_load_state("networkidle")
    sizes = {urlsplit(r.url).path: len(r.response().body()) for r in visit.requests if "/api/" not in r.url}  # type: ignore[union-attr]
    assert sum(sizes.values()) < 170_000, sizes
    assert len(sizes) < 40
