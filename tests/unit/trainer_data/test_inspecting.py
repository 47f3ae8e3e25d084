"""`attune-trainer inspect`: the same facts on a screen of 80 columns and as JSON, and pairs that look wrong."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from attune.contract import ExitCode, FeedbackSource
from attune_trainer.__main__ import app
from attune_trainer.data.prepare import prepare
from attune_trainer.data.records import Pair
from attune_trainer.data.snapshot import load_snapshot
from attune_trainer.inspection.facts import facts, histogram
from attune_trainer.inspection.screen import show
from attune_trainer.inspection.suspicion import LONG_QUERY_WORDS, suspicions

TEXT = "a text of some length that speaks about roses and how they are cut in spring"


def pair(query="when are roses cut", pos=TEXT, doc_id="d1", neg=(), neg_ids=()):
    return Pair(query, pos, "archive", f"q-{query}", doc_id, tuple(neg), tuple(neg_ids))


def reasons(*pairs):
    return sorted({suspicion.reason for suspicion in suspicions(pairs)})


@pytest.mark.parametrize(
    ("reason", "pairs"),
    [
        ("queryIsText", [pair(query=TEXT.upper() + "!")]),
        ("queryInText", [pair(query="Roses, and how they are cut")]),
        ("shortQuery", [pair(query="roses")]),
        ("longQuery", [pair(query="roses " * (LONG_QUERY_WORDS + 1))]),
        ("shortText", [pair(pos="roses are cut")]),
        ("longText", [pair(pos=TEXT + " more words" * 2500)]),
        ("noCommonWord", [pair(query="pruning flowers")]),
        ("vagueQuery", [pair(pos=f"{TEXT} {n}", doc_id=f"d{n}") for n in range(3)]),
        ("repeatedPair", [pair(), pair(query="When are roses cut?")]),
        ("negativeIsAnswer", [pair(neg=["other"], neg_ids=["d2"]), pair(pos=TEXT + " two", doc_id="d2")]),
        ("negativeNearText", [pair(neg=[TEXT + " soon"], neg_ids=["d2"])]),
        ("negativeHasQuery", [pair(neg=["Who knows when are roses cut best"], neg_ids=["d2"])]),
    ],
)
def test_a_pair_that_looks_wrong_is_named_by_reason(reason, pairs):
    assert reasons(*pairs) == [reason]


def test_a_pair_that_looks_right_is_not_suspicious():
    assert (
        reasons(
            pair(), pair(query="what do roses need", doc_id="d2", pos=TEXT + " and more", neg=["x y"], neg_ids=["d3"])
        )
        == []
    )


def test_the_histogram_has_round_bins_that_hold_everything():
    bins = histogram([*range(95), 400])
    assert [(one.low, one.high) for one in bins[:2]] == [(0, 10), (10, 20)]
    assert (bins[-1].low, bins[-1].high) == (90, 401)
    assert sum(one.count for one in bins) == 96
    assert [(one.low, one.high, one.count) for one in histogram([0, 0])] == [(0, 1, 2)]


@pytest.fixture
def snapshot(articles, jsonl, spec, encoder):
    rows = articles(120)
    rows[3]["title"] = "Introduction"
    rated = [{"query": f"asked number {n}", "documentId": row["id"], "rating": 5} for n, row in enumerate(rows)]
    feedback = FeedbackSource(uri=jsonl([*rated, {**rated[0], "documentId": "gone"}], "feedback.jsonl"))
    return prepare(spec(jsonl(rows), per_query=3, feedback=feedback), encode_factory=encoder, report=lambda _: None).uri


def test_json_has_counts_lengths_samples_and_suspicions(snapshot):
    done = CliRunner().invoke(app, ["inspect", snapshot, "--json", "--show", "2"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    stored = load_snapshot(snapshot)
    assert told["digest"] == stored.digest
    assert told["counts"] == stored.manifest["counts"]
    assert told["counts"]["droppedBySource"] == {"archive": {"weakTitle": 1}, "feedback": {"unknownDocument": 1}}
    assert told["lengths"]["queries"]["unit"] == "characters"
    assert sum(count for *_, count in told["lengths"]["queries"]["bins"]) == len(stored.train()) + len(
        stored.validation()
    )
    assert len(told["sample"]) == 2
    assert told["suspicious"]["noCommonWord"]["pairs"] > 50
    assert len(told["suspicious"]["noCommonWord"]["first"]) == 2


def test_the_seed_decides_which_pairs_are_drawn(snapshot):
    draws = [
        CliRunner().invoke(app, ["inspect", snapshot, "--json", "--seed", seed]).stdout for seed in ("1", "1", "2")
    ]
    assert draws[0] == draws[1] != draws[2]


def test_the_screen_fits_80_columns_and_names_every_source_and_reason(snapshot):
    console = Console(width=80, record=True, file=None, force_terminal=False)
    stored = load_snapshot(snapshot)
    with console.capture() as capture:
        show(facts(stored, [*stored.train(), *stored.validation()], ("characters", len), shown=2, seed=0), console)
    screen = capture.get()
    assert max(len(line) for line in screen.splitlines()) <= 80
    for word in (
        "archive",
        "feedback",
        "weakTitle",
        "unknownDocument",
        "held-out queries",
        "Length in characters",
        "2 pairs at random",
    ):
        assert word in screen
    assert "feedback line 121: 'gone'" in screen


def test_a_place_without_a_snapshot_is_one_line_and_an_exit_code(tmp_path):
    done = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert done.exit_code == ExitCode.BAD_DATA
    assert done.stdout == ""
    assert done.stderr.startswith("DataNotFound: ")
