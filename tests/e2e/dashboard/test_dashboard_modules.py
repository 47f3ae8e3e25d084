"""Modules of the page that only compute: words for numbers and times, streams, patches, axes. In the browser that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from dashboard_visit import Visit
from dashboard_world import DashboardWorld

HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    """One for all: nothing is changed."""
    with DashboardWorld([]) as world, Visit(chromium, world.url) as visit:
        yield visit.page


def call(page: Page, module: str, name: str, *given: Any) -> Any:
    """What a function of a module says."""
    script = "async ([module, name, given]) => (await import(`/js/${module}.js`))[name](...given)"
    return page.evaluate(script, [module, name, list(given)])


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("number", [0.7021], "0.702"),
        ("number", [-0.0103], "−0.010"),
        ("number", [0.00004], "0.000040"),
        ("number", [None], "–"),
        ("signed", [0.038], "+0.038"),
        ("signed", [0], "0.000"),
        ("signed", [-0.2, 1], "−0.2"),
        ("count", [18420], "18,420"),
        ("share", [0.2], "20%"),
        ("share", [0.025], "2.5%"),
        ("percent", [5.33], "+5.3%"),
        ("percent", [None], "–"),
        ("probability", [0.00004], "< 0.001"),
        ("probability", [0.011], "0.011"),
        ("probability", [0.147], "0.15"),
        ("duration", [0], "0 s"),
        ("duration", [59.6], "1 min"),
        ("duration", [340], "5 min 40 s"),
        ("duration", [754], "12 min"),
        ("duration", [5480], "1 h 31 min"),
        ("duration", [241_200], "2 d 19 h"),
        ("words", ["OutOfMemory"], "out of memory"),
        ("metricName", ["ndcgAt10"], "nDCG@10"),
        ("metricName", ["clicks"], "clicks"),
        ("short", ["sha256:0123456789abcdef"], "sha256:0123456789ab…"),
        ("short", ["plain"], "plain"),
    ],
)
def test_numbers_and_names_as_people_read_them(page: Page, name: str, given: list[Any], said: str) -> None:
    assert call(page, "format", name, *given) == said


@pytest.mark.parametrize(
    ("age", "said", "brief"),
    [
        (2_000, "just now", "just now"),
        (-60_000, "in 1 minute", "in 1 min"),
        (8 * 60_000, "8 minutes ago", "8 min ago"),
        (HOUR, "1 hour ago", "1 h ago"),
        (31 * HOUR, "31 hours ago", "31 h ago"),
        (37 * HOUR, "2 days ago", "2 d ago"),
        (-8 * DAY, "in 8 days", "in 8 d"),
        (122 * DAY, "4 months ago", "4 mo ago"),
        (800 * DAY, "2 years ago", "2 y ago"),
    ],
)
def test_times_are_told_from_now(page: Page, age: int, said: str, brief: str) -> None:
    now = 1_800_000_000_000
    assert call(page, "format", "relative", now - age, now) == said
    assert call(page, "format", "relative", now - age, now, True) == brief


def test_addresses_are_read_as_they_were_written(page: Page) -> None:
    address = call(page, "router", "address", "team", "versions", "emb/v 1", {"stage": "staged", "type": ""})
    assert address == "#/team/versions/emb%2Fv%201?stage=staged"
    assert call(page, "router", "parse", address) == {
        "namespace": "team",
        "place": "versions",
        "name": "emb/v 1",
        "query": {"stage": "staged"},
    }
    assert call(page, "router", "parse", "") == {"namespace": None, "place": "retrievers", "name": None, "query": {}}
    assert call(page, "router", "parse", "#/a/b/%ff")["name"] == "%ff"


def test_a_stream_is_read_in_whatever_pieces_it_comes(page: Page) -> None:
    text = ': hi\r\n\r\nevent: state\r\nid: 7\r\nretry: 50\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: end\r\ndata:{}\r\n\r\ndata: {"lost'
    script = """async ([text, size]) => {
      const { Parser } = await import("/js/events.js");
      const known = { id: "", retry: 0 };
      const parser = new Parser(known);
      const found = [];
      for (let at = 0; at < text.length; at += size) found.push(...parser.take(text.slice(at, at + size)));
      return [found, known];
    }"""
    for size in (1, 2, 3, 7, 1000):
        found, known = page.evaluate(script, [text, size])
        assert found == [{"name": "state", "data": {"a": 1}}, {"name": "end", "data": {}}], size
        assert known == {"id": "7", "retry": 50}


def test_what_stays_on_a_page_is_the_same_element_wherever_it_moves(page: Page) -> None:
    script = """async () => {
      const { h, patch } = await import("/js/dom.js");
      const list = (names) => h("ul", {}, names.map((name) => h("li", { key: name }, h("input", { id: name }), name)));
      const shown = list(["a", "b", "c"]);
      document.body.append(shown);
      const kept = document.getElementById("b");
      kept.value = "typed";
      kept.focus();
      const said = [];
      for (const names of [["b", "a", "c"], ["x", "b"], ["c", "x", "b", "y"], ["b"]]) {
        patch(shown, list(names));
        said.push([shown.textContent, document.getElementById("b") === kept, document.activeElement === kept, kept.value]);
      }
      return said;
    }"""
    assert page.evaluate(script) == [
        ["bac", True, True, "typed"],
        ["xb", True, True, "typed"],
        ["cxby", True, True, "typed"],
        ["b", True, True, "typed"],
    ]


def test_a_patch_makes_any_tree_like_any_other(page: Page) -> None:
    script = """async () => {
      const { h, patch } = await import("/js/dom.js");
      let seed = 7;
      const random = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n;
      const tag = () => ["div", "p", "span"][random(3)];
      const inner = (depth) => Array.from({ length: random(4) }, () => (random(3) ? tree(depth - 1) : `text ${random(9)}`));
      const props = () => ({ class: random(2) ? `c${random(3)}` : null, title: random(3) ? "t" : null });
      const tree = (depth) => h(tag(), props(), depth ? inner(depth) : "leaf");
      const shown = h("div", {}, tree(3));
      for (let round = 0; round < 300; round += 1) {
        const fresh = h("div", {}, tree(3), random(2) && tree(2), h("b", { key: random(3) }, "keyed"));
        const wanted = fresh.outerHTML;
        patch(shown, fresh);
        if (shown.outerHTML !== wanted) return [round, wanted, shown.outerHTML];
      }
      return "all alike";
    }"""
    assert page.evaluate(script) == "all alike"


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (-0.13, 0.27, [-0.1, 0, 0.1, 0.2]),
        (0.5, 1.2, [0.6, 0.8, 1, 1.2]),
        (0, 0, [0]),
        (1000, 5000, [1000, 2000, 3000, 4000, 5000]),
    ],
)
def test_axes_have_round_numbers_within_their_bounds(page: Page, low: float, high: float, ticks: list[float]) -> None:
    assert call(page, "charts", "ticks", low, high)["found"] == ticks


def test_differences_are_of_configuration_data_and_index_and_only_where_they_tell(page: Page) -> None:
    one = {
        "spec": {"baseModel": "b", "config": {"epochs": 3, "hardNegatives": {"perQuery": 4}}},
        "status": {"dataset": {"uri": "s3://1", "examples": 10}, "index": {"documents": 5, "builtAt": "x"}},
    }
    other = {
        "spec": {"baseModel": "b", "config": {"epochs": 3, "hardNegatives": {"perQuery": 2}, "seed": 1}},
        "status": {"dataset": {"uri": "s3://2", "examples": 10}, "index": {"documents": 6, "builtAt": "y"}},
    }
    found = call(page, "pages/differences", "differing", one, other)
    assert [(row["part"], row["name"], row.get("left"), row.get("right")) for row in found] == [
        ("Configuration", "hardNegatives.perQuery", 4, 2),
        ("Configuration", "seed", None, 1),
        ("Index", "documents", 5, 6),
    ]
