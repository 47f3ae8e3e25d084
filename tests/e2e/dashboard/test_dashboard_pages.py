"""What the pages say of sample objects in every state, and how they follow what changes."""

from __future__ import annotations

import re
from datetime import datetime

from playwright.sync_api import Locator, expect

from dashboard_versions import CAUSE, EMB, RER
from dashboard_visit import Visit
from dashboard_world import DashboardWorld
from rest_world import an_object


def texts(found: Locator) -> list[str]:
    return [" ".join(text.split()) for text in found.all_inner_texts()]


def test_the_first_page_tells_what_serves_how_good_it_is_what_is_on_its_way_and_what_is_wrong(vera: Visit) -> None:
    news = vera.panel("news")
    embedding = news.get_by_role("article", name="Embedding model")
    expect(embedding).to_contain_text(EMB[11])
    expect(embedding).to_contain_text("since 14 days ago")
    expect(embedding).to_contain_text("0.713")
    expect(embedding).to_contain_text("+4.7%")
    expect(embedding.get_by_role("img")).to_have_attribute(
        "aria-label", f"80% of the queries to {EMB[11]}, 20% to {EMB[12]}"
    )
    expect(news.get_by_role("article", name="Reranker model")).to_contain_text(RER[3])
    expect(news.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "43")
    expect(news).to_contain_text("about 5 min 40 s left in this stage")
    expect(news).to_contain_text("news-lr runs; one at a time")
    support = vera.panel("support")
    expect(support).to_contain_text("Ready: import failed")
    expect(support).to_contain_text("s3://data/tickets.jsonl cannot be read: 403 Access Denied")


def test_a_retriever_tells_its_past_its_schedule_and_what_was_taken_back(vera: Visit) -> None:
    vera.go("retrievers/news")
    way = vera.panel("On its way")
    for said in ("news-v12", "4,880 and 1,220 distinct queries", "monthly", "in 8 days", "312 of 500"):
        expect(way).to_contain_text(said)
    past = vera.panel("What has served")
    moves = texts(past.locator(".timeline strong"))
    assert moves == ["Promoted", "Promoted", "Rolled back", "Promoted", "Promoted"]
    expect(past).to_contain_text(f"{EMB[9]} instead of {EMB[10]}: {CAUSE}")
    expect(vera.panel("Conditions").get_by_role("row").filter(has_text="Index ready")).to_contain_text(
        "18,420 documents"
    )


def test_times_are_relative_with_the_exact_time_in_their_title(vera: Visit) -> None:
    for time in vera.panel("news").locator("time").all():
        assert time.inner_text().endswith(" ago")
        moment = datetime.fromisoformat(time.get_attribute("datetime") or "")
        assert re.search(rf"\b{moment.year}\b.*\d\d:\d\d:\d\d", time.get_attribute("title") or "")
    expect(vera.page.locator("body")).to_have_css("font-variant-numeric", "tabular-nums")


def test_versions_print_their_intervals_and_draw_them(vera: Visit) -> None:
    vera.go("versions")
    row = vera.row(EMB[12])
    expect(row).to_contain_text("+0.038")
    expect(row).to_contain_text("+0.014 to +0.062")
    drawn = row.get_by_role("img")
    expect(drawn).to_have_attribute("aria-label", "change +0.038, 95% interval +0.014 to +0.062")
    zero, low, high = (
        float(drawn.locator(line).first.get_attribute(end) or "")
        for line, end in ((".zero", "x1"), (".whisker", "x1"), (".whisker", "x2"))
    )
    assert zero < low < high, "an interval that excludes 0 lies beside the line of 0"
    open_one = vera.row(EMB[10]).get_by_role("img")
    assert "open" in (open_one.get_attribute("class") or "")
    expect(vera.row(EMB[8])).to_contain_text("files deleted")
    expect(vera.row(EMB[12]).get_by_role("link", name="news-monthly-29")).to_have_attribute(
        "href", "#/team/training/news-monthly-29"
    )


def test_versions_are_filtered_by_the_address_and_another_metric_can_be_chosen(vera: Visit) -> None:
    vera.go("versions")
    expect(vera.main.locator("tbody tr")).to_have_count(8)
    vera.page.get_by_role("link", name="Staged", exact=True).click()
    expect(vera.main.locator("tbody tr")).to_have_count(1)
    vera.page.get_by_label("Change of").select_option("Recall@10")
    expect(vera.page).to_have_url(f"{vera.url}/#/team/versions?stage=staged&metric=recallAt10")
    expect(vera.page.get_by_role("columnheader", name="Change of Recall@10")).to_be_visible()
    expect(vera.row(EMB[12])).to_contain_text("+0.019 to +0.057")
    vera.page.get_by_role("link", name="In the making").click()
    expect(vera.main.locator("tbody tr")).to_contain_text([EMB[13]])
    vera.page.get_by_role("link", name="All", exact=True).click()
    vera.page.get_by_label("Type").select_option("Reranker")
    expect(vera.main.locator("tbody tr")).to_have_count(2)


def test_a_version_tells_all_that_was_measured_where_it_comes_from_and_how_it_differs(vera: Visit) -> None:
    vera.go(f"versions/{EMB[12]}")
    measured = vera.panel("Measured").get_by_role("row")
    assert texts(measured)[0].split() == (
        f"Metric {EMB[12]} Active then Difference, 95% interval Base model In hybrid search BM25 alone".split()
    )
    ndcg = measured.filter(has_text="nDCG@10")
    expect(ndcg).to_contain_text(
        re.compile(r"0\.751.*0\.713.*\+0\.038.*\+0\.014 to \+0\.062.*0\.654.*0\.813.*0\.598", re.DOTALL)
    )
    expect(vera.panel("Measured")).to_contain_text("nDCG@10 0.793 (active then) → 0.813, 95% interval −0.004 to +0.042")
    differences = vera.panel("Differences to the active version").get_by_role("row")
    expect(differences.filter(has_text="learningRate")).to_contain_text(re.compile(r"0\.00002.*0\.00005", re.DOTALL))
    expect(vera.panel("Report")).to_contain_text(f"runs/{EMB[12]}/report.html")
    expect(vera.panel("Where it comes from").get_by_role("link", name="news-monthly-29")).to_be_visible()
    past = texts(vera.panel("Its past").locator(".timeline strong"))
    assert past[0] == "Run created"
    assert past.index("Version trained") < past.index("Version evaluated") < past.index("Test started")


def test_a_version_that_was_taken_back_tells_why(vera: Visit) -> None:
    vera.go(f"versions/{EMB[10]}")
    expect(vera.main).to_contain_text(f"RolledBack: {CAUSE}")
    past = vera.panel("Its past").get_by_role("listitem")
    expect(past.filter(has_text="Taken back")).to_contain_text(f"{EMB[9]} serves instead of {EMB[10]}: {CAUSE}")


def test_a_run_that_failed_tells_the_reason_in_words_and_its_attempts(vera: Visit) -> None:
    vera.go("training/news-small")
    expect(vera.main).to_contain_text("It failed: insufficient data.")
    expect(vera.main).to_contain_text("312 pairs (archive 290, feedback 22) < 1,000 (minExamples)")
    expect(vera.panel("Attempts").get_by_role("row").filter(has_text="Prepare")).to_contain_text("65")
    expect(vera.page.locator(".steps [aria-current]")).to_have_text("Prepare the data (failed)")


def test_a_run_tells_its_data_by_source_and_what_was_left_out_by_reason(vera: Visit) -> None:
    vera.go("training/news-lr")
    data = " ".join(vera.panel("Data").inner_text().split())
    for said in ("23,870 training pairs", "Archive 15,754", "Feedback 5,013", "Near duplicate 1,204", "Too short 388"):
        assert said in data
    expect(vera.panel("Attempts").get_by_role("row").filter(has_text="train-1")).to_contain_text("Out of memory")


def test_a_test_tells_the_verdict_in_words_and_draws_the_looks_beside_a_table_of_them(vera: Visit) -> None:
    vera.go("tests/news-v12")
    expect(vera.main).to_contain_text("Not decided yet")
    expect(vera.main).to_contain_text("nothing is proven yet")
    looks = vera.panel("Primary metric over time: user_feedback")
    chart = looks.get_by_role("img")
    expect(chart).to_have_attribute(
        "aria-label", re.compile(r"^20 looks: the interval goes from .* A table follows\.$")
    )
    assert len((chart.locator("path.line").get_attribute("d") or "").split("L")) == 20
    looks.get_by_text("As a table").click()
    expect(looks.get_by_role("row")).to_have_count(21)
    chart.locator(".plot-area").hover()
    expect(looks.locator(".pointer")).to_contain_text(" to ")
    metrics = vera.panel("Metrics").get_by_role("row")
    expect(metrics.filter(has_text="user_feedback")).to_contain_text("not proven")
    expect(metrics.filter(has_text="latency")).to_contain_text("harm from +10.0%")
    expect(metrics.filter(has_text="latency")).to_contain_text("within its margin")
    expect(vera.panel("Distinct queries")).to_contain_text("The arms get the shares that they should (p 0.44).")


def test_a_test_that_was_won_says_who_won_and_what_became_of_it(vera: Visit) -> None:
    vera.go("tests")
    expect(vera.row("news-v11")).to_contain_text(f"B: {EMB[11]}")
    vera.row("news-v11").get_by_role("link", name="news-v11").click()
    expect(vera.main).to_contain_text(f"B wins: {EMB[11]}")
    expect(vera.main).to_contain_text("Promotion of B: promoted. loaded and verified by 3 replicas")


def test_shares_that_are_wrong_are_said_before_the_numbers(vera: Visit, world: DashboardWorld) -> None:
    told = {"type": "SampleRatioMismatch", "status": "True", "reason": "Unlikely", "message": "4,880 and 2,000: p 1e-9"}
    conditions = [{**told, "lastTransitionTime": "2026-11-01T00:00:00Z"}]
    world.do(lambda server: server.status("ABTest", "news-v12", sampleRatioPValue=1e-9, conditions=conditions))
    vera.go("tests/news-v12")
    expect(vera.main).to_contain_text("Sample ratio mismatch: 4,880 and 2,000: p 1e-9")
    expect(vera.panel("Distinct queries")).to_contain_text("The shares are wrong (p < 0.001)")


def test_what_changes_is_shown_without_taking_focus_and_open_things_away(vera: Visit, world: DashboardWorld) -> None:
    vera.go("tests/news-v12")
    summary = vera.main.get_by_text("As a table")
    summary.press("Enter")
    world.do(lambda server: server.status("ABTest", "news-v12", recommendation="now it is another one", samplesB=1311))
    expect(vera.main).to_contain_text("now it is another one")
    expect(vera.panel("Distinct queries")).to_contain_text("1,311")
    expect(summary).to_be_focused()
    expect(vera.main.locator("details")).to_have_attribute("open", "")


def test_a_long_list_is_shown_in_parts(vera: Visit, world: DashboardWorld) -> None:
    spec = {"retriever": "news", "type": "embedding"}

    def fill(server: object) -> None:
        for number in range(130):
            world.server.put(an_object("TrainingJob", f"old-{number:03}", 6000 + number, spec, {"phase": "Failed"}))

    world.do(fill)
    vera.go("training")
    expect(vera.main.locator("tbody tr")).to_have_count(100)
    vera.page.get_by_role("link", name="Show more").click()
    expect(vera.main.locator("tbody tr")).to_have_count(135)
    expect(vera.page.get_by_role("link", name="Show more")).to_have_count(0)


def test_what_is_not_there_is_said_so(vera: Visit) -> None:
    vera.go("versions/emb-v99")
    expect(vera.main).to_contain_text("there is no ModelVersion 'emb-v99' in namespace 'team'")
    vera.go("nowhere")
    expect(vera.heading("There is no such page")).to_be_visible()
    vera.page.get_by_role("link", name="Back to the Retrievers").click()
    expect(vera.panel("news")).to_be_visible()
