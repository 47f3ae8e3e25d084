"""report.html, report.json and the model card: self-contained, escaped, read aloud, in words with numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml

from attune.contract import (
    EvaluationConfig,
    GeneralMetrics,
    Judgements,
    JudgeSummary,
    ModelType,
    TrainingConfig,
    TrainingMetrics,
)
from attune.contract.metrics import Interval
from attune_trainer.evaluate.comparison import Beyond, Comparison, summarised
from attune_trainer.evaluate.measure import measure_rankings
from attune_trainer.report import charts, queries, words
from attune_trainer.report.card import card
from attune_trainer.report.facts import About, Curve, DataFacts, Report
from attune_trainer.report.page import page
from compared import compared, held_out, ranked

VOID = {"meta", "br", "line", "rect", "circle", "polyline", "img", "input", "hr", "link"}
DANGER = "<script>alert(1)</script>"
FORGOT = GeneralMetrics(
    name="docstrings",
    queries=300,
    documents=400,
    ndcg_at10=0.6,
    base=0.68,
    active=0.66,
    drop=0.08,
    interval=Interval(low=-0.11, high=-0.05),
)
BEYOND = Beyond(
    candidate={"faithfulness": 0.8},
    judge=JudgeSummary(
        model="judge-1", queries=12, repeats=3, faithfulness=Judgements(scored=35, asked=36), calls=120, tokens=12000
    ),
    general=FORGOT,
    not_measured={"relevance": f"the judge said {DANGER}"},
)


def an_about(**more: Any) -> About:
    known: dict[str, Any] = {
        "name": "emb-v2",
        "type": ModelType.EMBEDDING,
        "source": "training",
        "base_model": "sentence-transformers/all-MiniLM-L6-v2",
        "license": "apache-2.0",
        "dimensions": 384,
        "max_tokens": 256,
        "pooling": "mean",
        "config": TrainingConfig(base_model="sentence-transformers/all-MiniLM-L6-v2"),
        "data": DataFacts(
            digest="sha256:" + "a" * 64,
            examples=2000,
            by_source={"archive": 1500, "feedback": 500},
            dropped_by_reason={"nearDuplicate": 7},
            held_out_since="2024-01-01",
        ),
        "curve": Curve(losses=((1, 0.1, 2.0), (10, 1.0, 0.5)), looks=((0, 0.0, 0.6), (10, 1.0, 0.7))),
    }
    return About(**(known | more))


def a_report(found: Comparison | None = None, beyond: Beyond = BEYOND, **more: Any) -> Report:
    """Ten queries won, one lost, one as before."""
    found = found or compared(ranked(*[1] * 10, 3, 2), ranked(*[2] * 10, 1, 2))
    known: dict[str, Any] = {
        "about": an_about(),
        "retriever": "news",
        "namespace": "team",
        "run": "weekly",
        "compared_with": "emb-v1",
        "against": "active",
        "evaluation": summarised(found, beyond, EvaluationConfig()),
        "config": EvaluationConfig(),
        "queries": queries.changes(found),
        "written_at": datetime(2026, 3, 15, 12, tzinfo=UTC),
    }
    return Report(**(known | more))


class Balanced(HTMLParser):
    """Fails where an element is not closed, or closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def text_of(html: str) -> str:
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def test_the_headline_says_the_verdict_with_its_numbers() -> None:
    told = text_of(page(a_report()))
    assert "Better than emb-v1 (active): nDCG@10 " in told
    assert re.search(r"95% interval \+0\.\d{3} to \+0\.\d{3}\), on 12 queries over 20 documents", told)
    assert "10 queries are answered better, 1 worse, 1 as before." in told


@pytest.mark.parametrize(
    ("candidate", "active", "start"),
    [
        (ranked(2), ranked(1), "Worse than emb-v1 (active)"),
        (ranked(1, 2, 1), ranked(2, 1, 1), "Not worse than emb-v1 (active), as far as these queries can tell"),
    ],
)
def test_the_other_verdicts_are_said_as_plainly(candidate: Any, active: Any, start: str) -> None:
    assert words.headline(a_report(compared(candidate, active))).startswith(start)


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing() -> None:
    html = page(a_report())
    assert not re.search(r"<script|<link|<img|src=|@import|url\(|https?://", html)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_texts_of_users_are_escaped() -> None:
    known = held_out()
    danger = {name: f"{text} {DANGER}" for name, text in known.queries.items()}
    found = compared(ranked(1), ranked(2))
    report = a_report(found.__class__(**{**_fields(found), "held_out": _with_queries(found, danger)}))
    html = page(report)
    assert DANGER not in html
    assert html.count("&lt;script&gt;") > 10
    assert DANGER in text_of(html)


def _fields(found: Comparison) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__}


def _with_queries(found: Comparison, texts: dict[str, str]) -> Any:
    return found.held_out.__class__(found.held_out.documents, found.held_out.texts, texts, found.held_out.grades)


def test_every_drawing_is_said_in_words_and_every_table_has_headers() -> None:
    html = page(a_report())
    drawings = re.findall(r"<svg[^>]*>", html)
    assert drawings
    assert all('aria-hidden="true"' in d or re.search(r'role="img" aria-label="[^"]{20,}"', d) for d in drawings)
    assert html.count("<table") == len(re.findall(r"<thead", html))
    assert 'lang="en"' in html
    told = text_of(html)
    assert "Training loss: 2.000 at epoch 0.10, 0.500 at epoch 1.00." in told
    assert "the best is 0.700 at epoch 1.00" in told


def test_judge_forgetting_and_data_are_told_with_their_counts() -> None:
    told = text_of(page(a_report()))
    assert "0.800, from 35 of 36 judgements" in told
    assert "120 requests, 12,000 tokens" in told
    assert "It lost some of what the base model knew: nDCG@10 0.680 (base) → 0.600, -0.080" in told
    assert f"relevance was not measured: the judge said {DANGER}." in told
    assert "dropped: nearDuplicate 7" in told
    assert "from feedback 500" in told


def test_an_import_without_judge_or_curve_has_a_page_too() -> None:
    plain = Beyond(not_measured={"faithfulness": "no judge", "relevance": "no judge", "general": "nothing was trained"})
    about = an_about(source="import", curve=Curve(), data=None, config=None, license=None)
    report = a_report(compared(ranked(1), None), plain, about=about, against="base", compared_with="x/y")
    told = text_of(page(report))
    assert "Better than the base model" in told
    assert "Not measured: nothing was trained." in told
    assert "declares no licence" in told
    assert "Training loss" not in told


def test_a_reranker_is_told_as_what_it_does_to_the_order_of_the_first_stage() -> None:
    about = an_about(type=ModelType.RERANKER, dimensions=None, pooling=None)
    told = text_of(
        page(
            a_report(
                compared(ranked(1), None), about=about, against="firstStage", compared_with="BM25", first_stage="BM25"
            )
        )
    )
    assert "Better than the order of the first stage (BM25)" in told
    assert "Not reranked" in told
    assert "Candidates are found by BM25." in told
    assert "Queries won and lost" in told


def test_wins_and_losses_have_their_places_and_texts() -> None:
    found = queries.changes(compared(ranked(*[1] * 10, 3, 0), ranked(*[2] * 10, 1, 0)))
    assert (found.won, found.lost, found.equal, found.depth) == (10, 1, 1, 5)
    assert found.by_query[0].difference > 0 > found.by_query[-1].difference
    lost = found.examples_lost[0]
    assert (lost.change.rank_before, lost.change.rank_after) == (1, 3)
    assert lost.before is not None
    assert lost.after is not None
    assert (lost.before.relevant, lost.after.relevant) == (True, False)
    assert lost.relevant.text.startswith("The number 10 is big.")
    assert len(found.examples_won) == queries.EXAMPLES
    unseen = queries.changes(compared(ranked(0), ranked(1)))
    assert unseen.examples_lost[0].change.rank_after is None
    assert words.move(unseen.examples_lost[0].change, 5) == "1 → not among the first 5"


def test_what_a_hybrid_search_finds_and_what_was_chosen_for_it_is_told_on_page_and_card() -> None:
    found = compared(ranked(3), ranked(4))
    bounds = {**found.differences, "hybridNdcgAt10": Interval(low=0.25, high=0.45)}
    mine, theirs = (measure_rankings(ranked(place), found.held_out) for place in (1, 2))
    found = replace(found, hybrid=mine, other_hybrid=theirs, differences=bounds)
    training = TrainingMetrics(tuned_share=0.8)
    told = a_report(found, about=an_about(dense_weight=0.7, training=training))
    sentence = (
        "Fused with BM25, as a hybrid search does (vectors count 0.7, words 0.3): nDCG@10 0.631 → 1.000, +0.369 "
        "(95% interval +0.250 to +0.450), beside emb-v1 (active)."
    )
    for text in (text_of(page(told)), card(told.about, told)):
        assert sentence in text
        assert re.search(r"share of the tuned weights, beside the base model's\W+0\.8\b", text)
        assert re.search(r"share of its vectors in a hybrid search\W+0\.7\b", text)
    assert "Fused" not in page(a_report())
    reranker = an_about(type=ModelType.RERANKER, rerank_weight=0.4)
    ordered = a_report(found, about=reranker, against="firstStage", compared_with="emb-v1")
    assert "Ordering what a hybrid search finds, as it serves: nDCG@10 0.631 → 1.000, +0.369" in text_of(page(ordered))
    assert "| share beside the search that it reranks | 0.4 |" in card(reranker)


def test_the_values_can_be_read_again() -> None:
    report = a_report(compared(ranked(0, 1), ranked(1)))
    assert report.queries.examples_lost[0].change.rank_after is None
    assert Report.from_json(report.to_json()) == report


def test_the_card_has_what_the_hub_reads() -> None:
    report = a_report()
    _, front, body = card(report.about, report).split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "apache-2.0"
    assert told["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert (told["library_name"], told["pipeline_tag"]) == ("sentence-transformers", "sentence-similarity")
    (result,) = told["model-index"][0]["results"]
    measured = {one["type"]: one["value"] for one in result["metrics"]}
    assert measured["ndcg_at_10"] == report.evaluation.metrics.ndcg_at10
    assert "answer_relevance" not in measured
    for part in ("| of them from feedback | 500 |", "| dropped: nearDuplicate | 7 |", "| learningRate | 2e-05 |"):
        assert part in body
    for limit in (
        "cut at 256 tokens",
        "documents from 2024-01-01 on",
        "1 of 12 queries (8%)",
        "relevance not measured",
    ):
        assert limit in body


def test_a_card_names_only_a_base_model_that_the_hub_knows_and_no_licence_that_is_not_known() -> None:
    about = an_about(base_model="pvc://models/own", license=None, type=ModelType.RERANKER)
    told = yaml.safe_load(card(about).split("---\n", 2)[1])
    assert "base_model" not in told
    assert told["license"] == "unknown"
    assert told["pipeline_tag"] == "text-ranking"
    assert "model-index" not in told
    assert "CrossEncoder" in card(about)
    assert "what it is worth is measured after it was exported" in card(about).lower()


def test_ticks_are_round_numbers_inside_the_axis() -> None:
    assert charts.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert charts.ticks(0.61, 0.72) == [0.62, 0.64, 0.66, 0.68, 0.7, 0.72]
    assert charts.ticks(3, 3) == [3]


def test_the_histogram_counts_every_change_once_and_no_query_that_stayed() -> None:
    plot = charts.histogram([1.0, 0.05, 0.1, 0.0, 0.0, -0.1, -1.0], "wide")
    counted = {bar.label.rpartition(": ")[0]: int(bar.label.rpartition(": ")[2]) for bar in plot.bars}
    assert counted == {"-1.0 to -0.9": 1, "-0.1 to +0.0": 1, "+0.0 to +0.1": 2, "+0.9 to +1.0": 1}
    assert [bar.gain for bar in plot.bars] == [False, False, True, True]
