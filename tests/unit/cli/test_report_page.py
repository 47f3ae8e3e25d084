"""The page of `attune test report`: self-contained, escaped, readable by machines that read aloud, and never over another file."""

from __future__ import annotations

import errno
import math
import re
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from attune.cli.ab_tests import report
from attune.cli.session import Problem
from attune.views import ab_tests as views

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
VOID = {"meta", "br", "line", "rect", "path", "use", "link", "img", "input", "hr"}
DANGER = "<script>alert(1)</script>"


def at(hours_ago: float) -> str:
    return (NOW - timedelta(hours=hours_ago)).isoformat().replace("+00:00", "Z")


def an_ab_test(looks: int = 12, name: str = "news-v7", **status: Any) -> dict[str, Any]:
    known = {
        "phase": "Running",
        "modelA": "emb-v6",
        "startedAt": at(76),
        "samplesA": 1304,
        "samplesB": 322,
        "metricsA": {
            "clicks": {"mean": 0.31, "samples": 1304, "standardError": 0.01},
            "latency": {"mean": 3.0, "samples": 1304},
        },
        "metricsB": {
            "clicks": {"mean": 0.33, "samples": 322, "standardError": 0.02},
            "latency": {"mean": 3.1, "samples": 322},
        },
        "intervals": {"clicks": {"low": -0.03, "high": 0.07}, "latency": {"low": -0.1, "high": 0.3}},
        "pValues": {"clicks": 0.31},
        "recommendation": f"Wait: {DANGER}",
        "looks": [
            {
                "at": at(75 - 6 * n),
                "difference": 0.02,
                "low": 0.02 - 0.2 / math.sqrt(n + 1),
                "high": 0.02 + 0.2 / math.sqrt(n + 1),
            }
            for n in range(looks)
        ],
        "conditions": [
            {
                "type": "MetricsUnavailable",
                "status": "True",
                "reason": "Unreachable",
                "message": f"Prometheus {DANGER} does not answer",
                "lastTransitionTime": at(1),
            }
        ],
    }
    guardrail = {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1}
    metrics = [{"name": "clicks", "role": "primary"}, guardrail, {"name": "faithfulness"}]
    return {
        "metadata": {"name": name, "namespace": "team", "creationTimestamp": at(77)},
        "spec": {"retriever": "news", "modelB": "emb-v7", "trafficSplit": 0.2, "metrics": metrics},
        "status": known | status,
    }


def the_view(**more: Any) -> dict[str, Any]:
    return views.show_view(an_ab_test(**more))


def the_page(**more: Any) -> str:
    return report.page(the_view(**more), NOW)


class Reader(HTMLParser):
    """Tags in order, what is open at the end, ids, and the text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return the_page()


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def test_the_page_is_whole_html(page: str, read: Reader) -> None:
    assert page.startswith("<!doctype html>")
    assert (read.open, read.wrong) == ([], [])
    ids = [attributes["id"] for _, attributes in read.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(page: str, read: Reader) -> None:
    assert read.of("script") == []
    assert read.of("link") == []
    assert read.of("img") == []
    addresses = [
        v for _, attributes in read.tags for k, v in attributes.items() if k in {"src", "href", "xlink:href", "data"}
    ]
    assert all(address is not None and address.startswith("#") for address in addresses)
    assert not re.search(r"@import|url\((?!#)|\son[a-z]+=", page)
    assert len(page) < 100_000


def test_what_the_page_quotes_is_text_and_never_html(page: str, read: Reader) -> None:
    assert DANGER not in page
    assert read.text.count(DANGER) == 2


def test_the_page_says_what_the_screen_says(read: Reader) -> None:
    text = " ".join(read.text.split())
    for words in (
        "news-v7",
        "Retriever news, namespace team",
        "Running 3d4h, ends in 3d20h at the latest",
        "A, 80% of the queries",
        "1,304",
        "+0.020 (-0.030 to +0.070)",
        "22.2 ms",
        "open, margin 10%",
        "no values",
        "MetricsUnavailable: Unreachable.",
        "sequential, alpha 0.05, holm; at least 100 distinct queries per arm",
        "Written 2026-03-15 12:00 UTC by attune",
    ):
        assert words in text, words


def test_the_page_is_for_phones_for_the_dark_and_for_those_who_listen(page: str, read: Reader) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.of("meta")
    assert "@media (prefers-color-scheme: dark)" in page
    assert read.of("html") == [{"lang": "en"}]
    plots = [svg for svg in read.of("svg") if svg.get("role") == "img"]
    assert [str(svg["class"]) for svg in plots] == ["plot wide", "plot narrow"]
    assert all(
        str(svg["aria-label"]).startswith("12 looks; at the last one B minus A is +0.02, interval ") for svg in plots
    )
    assert all(svg.get("aria-hidden") == "true" for svg in read.of("svg") if svg not in plots)
    assert [th.get("scope") for th in read.of("th")].count("row") == 3
    assert all(th.get("scope") in {"row", "col"} for th in read.of("th"))


def test_the_plot_has_the_colours_of_the_page_and_text_that_can_be_selected(page: str, read: Reader) -> None:
    assert "#010101" not in page
    assert "#040404" not in page
    assert "var(--accent)" in page
    assert "days since the start" in read.text
    labels = re.findall(r"id=\"([^\"]+)\"", "".join(re.findall(r"<svg class=\"plot.*?</svg>", page, re.DOTALL)))
    assert all(f"#{name}" in page for name in labels), "no ids but those that are referred to"


def test_the_same_test_gives_the_same_page() -> None:
    assert the_page() == the_page()


@pytest.mark.parametrize("looks", [0, 1])
def test_a_test_with_hardly_any_look_has_a_page_too(looks: int) -> None:
    text = Reader(the_page(looks=looks)).text
    assert ("No look at the primary metric has an interval yet." in text) == (looks == 0)


def test_a_test_of_which_nothing_is_known_has_a_page_too() -> None:
    bare = an_ab_test()
    bare["status"] = {}
    read = Reader(report.page(views.show_view(bare), NOW))
    assert "Nothing can be said yet." in read.text
    assert "the active version" in read.text
    assert (read.open, read.wrong) == ([], [])


def test_the_end_of_a_test_is_at_the_top() -> None:
    text = " ".join(Reader(the_page(phase="Concluded", concludedAt=at(2), winner="B")).text.split())
    assert "Concluded: B won" in text
    assert "Concluded 2h ago: winner B" in text
    assert (
        "Concluded: inconclusive" in Reader(the_page(phase="Concluded", concludedAt=at(2), winner="inconclusive")).text
    )


def test_intervals_are_drawn_to_scale_with_zero_and_the_limit_of_a_guardrail() -> None:
    clicks, latency, faithfulness = the_view()["metrics"]
    track = report.track(clicks)
    assert track is not None
    assert track["low"] < track["zero"] < track["difference"] < track["high"]
    assert (track["zero"] - track["low"]) / (track["high"] - track["low"]) == pytest.approx(0.3, abs=0.01)
    limits = report.track(latency)
    assert limits is not None
    assert limits["zero"] < limits["limit"] < limits["high"]
    assert report.track(faithfulness) is None


# ---- the file


def test_the_page_is_written_under_the_name_of_the_test_and_over_its_last_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, size = report.write(the_view(), NOW, None, force=False)
    assert path == Path("news-v7.html")
    assert path.stat().st_size == size
    report.write(the_view(samplesA=9999), NOW, None, force=False)
    assert "9,999" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["news-v7.html"], "nothing else is left"


def test_another_file_is_never_written_over_unless_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text("<h1>mine</h1>")
    with pytest.raises(
        Problem, match="is there and is no report of this test; choose another --output, or add --force"
    ):
        report.write(the_view(), NOW, path, force=False)
    assert path.read_text() == "<h1>mine</h1>"
    report.write(the_view(name="other"), NOW, path, force=True)
    with pytest.raises(Problem, match="no report of this test"):
        report.write(the_view(), NOW, path, force=False)


def test_a_full_disk_is_one_clear_line() -> None:
    with pytest.raises(Problem, match="/dev/full cannot be written: No space left on device; choose another place"):
        report.write(the_view(), NOW, Path("/dev/full"), force=False)


def test_a_disk_that_fills_up_leaves_the_last_report_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "news-v7.html"
    report.write(the_view(), NOW, path, force=False)
    before = path.read_bytes()

    def full(target: Path, text: bytes) -> int:
        with target.open("wb") as file:
            file.write(text[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(Problem, match="No space left on device"):
        report.write(the_view(), NOW, path, force=False)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"nowhere/a\.html cannot be written: No such file or directory"):
        report.write(the_view(), NOW, tmp_path / "nowhere" / "a.html", force=False)
    with pytest.raises(Problem, match=r"is a folder; name a file with --output .*news-v7\.html"):
        report.write(the_view(), NOW, tmp_path, force=False)


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_without_the_libraries_one_is_told_how_to_get_them(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Problem, match=rf"the report needs {module}: pip install 'attune\[operator,report\]'"):
        the_page()
