"""In and out: tokens, what is kept of them, rights that are missing, namespaces."""

from __future__ import annotations

import json

from playwright.sync_api import Browser, expect

from dashboard_visit import Visit
from dashboard_world import DashboardWorld

STORED = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"


def stored(visit: Visit) -> str:
    return str(visit.page.evaluate(STORED))


def test_a_token_that_is_refused_says_why_and_the_form_stays(visit: Visit) -> None:
    visit.try_token("nobodys-token")
    expect(visit.page.get_by_role("alert")).to_contain_text(
        "The token was refused: the API server does not accept this token"
    )
    expect(visit.page.get_by_label("Bearer token")).to_be_focused()
    expect(visit.page.get_by_label("Bearer token")).to_have_attribute("aria-invalid", "true")
    visit.try_token("ключ")
    expect(visit.page.get_by_role("alert")).to_contain_text("That is no bearer token")
    visit.try_token("  Bearer admin-token ")
    expect(visit.heading("Retrievers")).to_be_visible()


def test_the_token_is_kept_nowhere_and_goes_with_the_page(ada: Visit) -> None:
    assert "admin-token" not in stored(ada)
    ada.page.reload()
    expect(ada.page.get_by_label("Bearer token")).to_be_visible()
    assert "admin-token" not in json.dumps([request.url for request in ada.requests])


def test_a_token_that_is_to_be_kept_lasts_as_long_as_the_tab_and_signing_out_forgets_it(visit: Visit) -> None:
    visit.sign_in("admin-token", keep=True)
    visit.go("versions")
    visit.page.reload()
    expect(visit.heading("Versions")).to_be_visible()
    visit.page.goto("about:blank")
    visit.page.goto(visit.url)
    expect(visit.heading("Retrievers")).to_be_visible()
    visit.button("Signed in as ada").click()
    expect(visit.page.locator("#menu")).to_contain_text("The token is kept until this tab is closed.")
    visit.button("Sign out").click()
    expect(visit.page.get_by_label("Bearer token")).to_be_focused()
    assert "admin-token" not in stored(visit)
    visit.page.reload()
    expect(visit.page.get_by_label("Bearer token")).to_be_visible()


def test_a_link_leads_there_after_signing_in(visit: Visit) -> None:
    visit.page.goto(f"{visit.url}/#/team/tests/news-v12")
    visit.page.reload()
    visit.sign_in("viewer-token", namespace="")
    expect(visit.heading("news-v12")).to_be_focused()
    expect(visit.page).to_have_title("news-v12 · Attune")


def test_a_token_that_expires_signs_out_with_the_reason_and_the_next_one_goes_on_there(
    ada: Visit, world: DashboardWorld
) -> None:
    ada.go("training/news-lr")
    world.do(lambda server: server.tokens.pop("admin-token"))
    expect(ada.page.get_by_role("alert")).to_contain_text(
        "You were signed out: the API server does not accept this token"
    )
    assert "news-lr" not in ada.main.inner_text()
    ada.sign_in("viewer-token")
    expect(ada.heading("news-lr")).to_be_visible()


def test_somebody_who_may_see_nothing_is_told_what_is_missing_and_how_to_get_it(visit: Visit) -> None:
    visit.sign_in("nobody-token")
    expect(visit.heading("Nothing to see here")).to_be_visible()
    expect(visit.main).to_contain_text("noah may list nothing of Attune in the namespace team.")
    missing = visit.panel("Missing rights")
    for resource in ("retrievers", "modelversions", "trainingjobs", "abtests", "trainingschedules"):
        expect(missing).to_contain_text(f"get, list, watch on {resource}")
    expect(missing).to_contain_text(
        "kubectl -n team create rolebinding attune-viewer --clusterrole=attune-viewer --user=noah"
    )


def test_what_somebody_may_not_list_is_named_and_the_rest_is_shown(visit: Visit, world: DashboardWorld) -> None:
    world.do(lambda server: server.let("noah", "get", "list", on="retrievers"))
    visit.sign_in("nobody-token")
    expect(visit.panel("news")).to_contain_text("emb-v11-")
    expect(visit.main).to_contain_text(
        "noah may not list modelversions.attune.dev, trainingjobs.attune.dev, abtests.attune.dev, trainingschedules.attune.dev in team"
    )
    visit.go("versions")
    expect(visit.main).to_contain_text("You may not see this. noah cannot list modelversions")
    visit.go("training/news-lr")
    expect(visit.main).to_contain_text("noah cannot get trainingjobs")


def test_the_namespace_can_be_changed_and_is_part_of_the_address(ada: Visit, world: DashboardWorld) -> None:
    world.do(lambda server: server.let("ada", "*", namespace="other"))
    ada.button("Namespace: team. Change it").click()
    field = ada.dialog.get_by_label("Namespace")
    expect(field).to_be_focused()
    field.fill("No Such")
    ada.button("Go there").click()
    expect(ada.dialog.get_by_role("alert")).to_contain_text("small letters, digits and dashes")
    field.fill("other")
    ada.button("Go there").click()
    expect(ada.page).to_have_url(f"{ada.url}/#/other/retrievers")
    expect(ada.main).to_contain_text("There is no Retriever in this namespace.")
    ada.page.go_back()
    expect(ada.panel("news")).to_be_visible()


def test_rights_are_those_of_the_namespace(visit: Visit) -> None:
    visit.sign_in("other-token")
    expect(visit.heading("Nothing to see here")).to_be_visible()
    visit.button("Look at another namespace").click()
    visit.dialog.get_by_label("Namespace").fill("other")
    visit.page.keyboard.press("Enter")
    expect(visit.main).to_contain_text("There is no Retriever in this namespace.")


def test_a_namespace_that_the_api_does_not_serve_is_said_so(chromium: Browser) -> None:
    with DashboardWorld(ATTUNE_API_NAMESPACES="team") as world, Visit(chromium, world.url) as visit:
        visit.try_token("admin-token", namespace="elsewhere")
        expect(visit.page.get_by_role("alert")).to_contain_text("elsewhere")
        visit.sign_in("admin-token", namespace="team")
        expect(visit.panel("news")).to_be_visible()
