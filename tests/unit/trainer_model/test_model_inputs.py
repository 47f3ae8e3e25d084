"""Held-out sets, specs, base model names, progress, signals and unforeseen errors: the edges of the stages."""

import errno
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from attune.contract import ExitCode, Progress, Stage, StageResult
from attune_retrieval.graph import batches_by_length
from attune_trainer import base_model
from attune_trainer.errors import BadConfig, BadData, Interrupted, StoreUnavailable
from attune_trainer.evaluate.heldout import read
from attune_trainer.reporting import Reporter
from attune_trainer.running import explained, run_from_file
from attune_trainer.signals import Termination
from attune_trainer.train.pairs import Pair, read_pairs
from attune_trainer.train.validation import Score, chance, mean_similarity, validation_set
from attune_trainer.train.watch import Memory


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return lines(
        tmp_path / "corpus.jsonl", {"_id": "b", "title": "T", "text": "two"}, {"_id": "a", "title": "", "text": "one"}
    )


@pytest.mark.parametrize("qrels", ["query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tgone\t1\n", "q1 0 a 2\n"])
def test_beir_and_trec_judgements_are_read(tmp_path: Path, corpus: Path, qrels: str) -> None:
    queries = lines(tmp_path / "queries.jsonl", {"_id": "q1", "text": "which?"}, {"_id": "q2", "text": "unjudged"})
    (tmp_path / "qrels.tsv").write_text(qrels)
    held_out = read(corpus, queries, tmp_path / "qrels.tsv")
    assert held_out.documents == ("a", "b")
    assert held_out.texts == ("one", "T two")
    assert held_out.queries == {"q1": "which?"}
    assert held_out.grades == {"q1": {"a": 2}}
    assert held_out.clusters() == ["a"]


def test_labels_are_read_against_an_archive_without_its_titles(tmp_path: Path) -> None:
    archive = lines(tmp_path / "archive.jsonl", {"id": "a", "title": "the answer", "content": "body"})
    labels = lines(
        tmp_path / "labels.jsonl", {"query": "the answer", "id": "a"}, {"query": "graded", "id": "a", "grade": 3}
    )
    held_out = read(archive, labels, None)
    assert held_out.texts == ("body",)
    assert held_out.grades == {"the answer": {"a": 1}, "graded": {"a": 3}}


@pytest.mark.parametrize(
    ("row", "words"),
    [({"_id": "a"}, "line 2 lacks"), ([1], "line 2 is list"), ({"_id": "first", "text": "again"}, "twice")],
)
def test_a_broken_line_of_a_corpus_is_named(tmp_path: Path, row: object, words: str) -> None:
    corpus = lines(tmp_path / "corpus.jsonl", {"_id": "first", "text": "x"}, row)
    with pytest.raises(BadData, match=words):
        read(corpus, tmp_path / "queries.jsonl", None)


def test_queries_without_a_relevant_document_in_the_corpus_are_an_error(tmp_path: Path, corpus: Path) -> None:
    labels = lines(tmp_path / "labels.jsonl", {"query": "q", "id": "elsewhere"})
    with pytest.raises(BadData, match="none of the 1 queries"):
        read(corpus, labels, None)


def test_a_line_that_is_no_pair_is_named(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", {"query": "q", "pos": "p"}, {"query": "q"})
    with pytest.raises(BadData, match="line 2"):
        read_pairs(tmp_path / "train.jsonl")


def test_pairs_without_ids_are_the_same_document_when_their_text_is(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "t.jsonl", {"query": "q", "pos": "a  b", "neg": ["c"]}, {"query": "r", "pos": "a b", "neg": []}
    )
    one, two = read_pairs(path)
    assert one.document == two.document
    assert len(one.negative_documents) == 1


def test_the_validation_set_holds_the_hard_negatives_and_training_documents(tmp_path: Path) -> None:
    path = lines(tmp_path / "v.jsonl", {"query": "q", "pos": "right", "neg": ["wrong"], "docId": "r", "negIds": ["w"]})
    others = [{"query": f"t{n}", "pos": f"other {n}", "docId": f"o{n}"} for n in range(9)]
    training = read_pairs(lines(tmp_path / "t.jsonl", *others))
    found = validation_set(read_pairs(path), training, 0)
    assert found is not None
    assert len(found.whole.documents) == 3
    assert {"r", "w"} < set(found.whole.documents)
    assert found.whole.grades == {"q": {"r": 1}}
    assert found.looks == found.whole
    assert validation_set([], training, 0) is None


def row(name: str, negatives: int = 0) -> Pair:
    wrong = tuple(f"{name}-n{n}" for n in range(negatives))
    return Pair(f"query of {name}", f"text of {name}", name, wrong, wrong)


@pytest.mark.parametrize(
    ("rows", "whole", "looks"), [(600, 200, 200), (1200, 400, 300), (3000, 1000, 500), (90_000, 1500, 1500)]
)
def test_looks_have_so_many_documents_as_training_has_rows_for(rows: int, whole: int, looks: int) -> None:
    found = validation_set([row(f"v{n}", 4) for n in range(150)], [row(f"t{n}") for n in range(rows)], 0)
    assert found is not None
    assert (len(found.whole.documents), len(found.looks.documents)) == (whole, looks)
    assert {f"v{n}" for n in range(150)} <= set(found.looks.documents)
    assert [found.whole.texts[n] for n in found.rows_of_looks] == list(found.looks.texts)
    assert found.looks.queries == found.whole.queries


def test_of_many_mined_negatives_looks_have_the_hardest_of_each_query() -> None:
    found = validation_set([row(f"v{n}", 4) for n in range(150)], [row(f"t{n}") for n in range(2700)], 0)
    assert found is not None
    assert set(found.looks.documents) == {f"v{n}{more}" for n in range(150) for more in ("", "-n0", "-n1")}


def test_mean_similarity_is_the_mean_of_all_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    assert mean_similarity(vectors) == pytest.approx((cosines.sum() - 20) / (20 * 19), abs=1e-6)
    assert mean_similarity(np.ones((5, 1), np.float32)) == 1


def test_small_rises_add_up_before_patience_runs_out() -> None:
    memory = Memory()
    best = [
        memory.note_score(step, Score(score, 0.0), 0.01) for step, score in enumerate([0.5, 0.506, 0.512, 0.515, 0.513])
    ]
    assert best == [True, True, True, True, False]
    assert (memory.best_step, memory.best_score, memory.stale) == (3, 0.515, 2)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.40, 0.50, 0.495], 2),  # better by chance: the last ones have settled
        ([0.40, 0.50, 0.48], 1),
        ([0.40, 0.395, 0.395], 0),  # not better than the untrained model
        ([0.40, 0.50, 0.51], 2),
    ],
)
def test_the_last_weights_win_against_those_that_are_better_by_chance(scores: list[float], kept: int) -> None:
    memory = Memory()
    for step, score in enumerate(scores):
        memory.note_score(step, Score(score, 0.0), 0.01, last=step == len(scores) - 1)
    assert (memory.best_step, memory.best_score) == (kept, scores[kept])


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.40, 0.50, 0.499, 0.495], 3),  # the last before the end for want of improvement
        ([0.40, 0.50, 0.499, 0.48], 1),
    ],
)
def test_nor_are_better_ones_by_chance_kept_when_patience_runs_out(scores: list[float], kept: int) -> None:
    memory = Memory()
    for step, score in enumerate(scores):
        memory.note_score(step, Score(score, 0.0), 0.01, patience=2)
    assert (memory.best_step, memory.best_score, memory.stale) == (kept, scores[kept], 2)


@pytest.mark.parametrize(("spread", "kept"), [(0.5, 2), (0.0, 1)], ids=["some went up, more down", "all went down"])
def test_what_chance_gives_is_told_by_the_queries(spread: float, kept: int) -> None:
    rng = np.random.default_rng(0)
    memory = Memory()
    middle = rng.random(100)
    for step, queries in enumerate([middle - 0.3, middle, middle - 0.04 + spread * rng.choice([-0.5, 0.5], 100)]):
        ndcg = float(middle.mean()) + (-0.3, 0.0, -0.04)[step]
        memory.note_score(step, Score(ndcg, 0.0, tuple(queries.tolist())), 0.01, last=step == 2)
    assert memory.best_step == kept


def test_chance_is_two_standard_errors_of_the_paired_difference() -> None:
    assert chance([0.1, 0.5, 0.9], [0.2, 0.4, 0.9]) == pytest.approx(2 * 0.1 / 3**0.5)
    assert chance([0.1, 0.5], [0.1, 0.5]) == 0
    assert chance([0.1], [0.2]) == chance([0.1, 0.2], []) == 0


def test_batches_hold_few_long_texts_or_many_short_ones() -> None:
    lengths = [500] * 20 + [5] * 300
    batches = list(batches_by_length(lengths, tokens=2000))
    assert sorted(index for batch in batches for index in batch) == list(range(320))
    assert all(len(batch) * max(lengths[index] for index in batch) <= 2000 for batch in batches)
    assert len(batches[0]) == 4


def test_progress_is_throttled_but_first_and_last_are_seen() -> None:
    seen: list[Progress] = []
    clock = iter(np.arange(0, 100, 0.1))
    reporter = Reporter(
        Stage.TRAIN, seen.append, 3.0, lambda: float(next(clock)), lambda: datetime(2026, 1, 1, tzinfo=UTC)
    )
    for percent in range(101):
        reporter.update(percent, step=percent, loss=1 / 3)
    reporter.close()
    assert seen[0].percent == 0
    assert seen[-1].percent == 100
    assert 3 < len(seen) < 15
    assert seen[-1].loss == pytest.approx(0.3333)
    assert (seen[1].estimated_remaining_seconds or 0) > 0


def test_sigterm_ends_a_stage_at_once_and_training_at_a_safe_point() -> None:
    termination = Termination()
    with termination.installed():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        termination.requested = False
        with termination.defer():
            signal.raise_signal(signal.SIGTERM)
        assert termination.requested
    assert signal.getsignal(signal.SIGTERM) is not termination.handle


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "DiskFull", ExitCode.STORE_UNAVAILABLE),
        (RuntimeError("write failed: No space left on device (os error 28)"), "DiskFull", ExitCode.STORE_UNAVAILABLE),
        (MemoryError("3 GiB"), "OutOfMemory", ExitCode.UNEXPECTED),
        (KeyError("surprise"), "Unexpected", ExitCode.UNEXPECTED),
        (BadConfig("no"), "BadConfig", ExitCode.BAD_CONFIG),
    ],
)
def test_every_exception_gets_a_reason_and_an_exit_code(error: Exception, reason: str, code: ExitCode) -> None:
    known = explained(error)
    assert (known.reason, known.exit_code) == (reason, code)
    assert str(error) in str(known) or error.args[-1] in str(known)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "stage: Field required"),
        ("not json", "Invalid JSON"),
        ('{"stage": "train", "config": {"baseModel": "m", "epochs": 0}}', "config.epochs"),
    ],
)
def test_a_bad_spec_is_final_and_names_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv("ATTUNE_TERMINATION_LOG", str(tmp_path / "message"))
    (tmp_path / "stage.json").write_text(text)
    assert run_from_file(Stage.TRAIN, tmp_path / "stage.json") is ExitCode.BAD_CONFIG
    left = StageResult.from_termination_message((tmp_path / "message").read_text())
    assert left is not None
    assert left.reason == "BadSpec"
    assert words in left.message


def test_a_missing_spec_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_TERMINATION_LOG", str(tmp_path / "message"))
    assert run_from_file(Stage.PREPARE, tmp_path / "none.json") is ExitCode.BAD_CONFIG


def test_a_base_model_in_a_store_is_found_by_its_uri(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base_model.locate(f"file://{tiny_model}", None, tmp_path) == tiny_model
    monkeypatch.setenv("ATTUNE_PVC_ROOT", str(tiny_model.parent.parent))
    assert base_model.locate("pvc://bert/model", None, tmp_path) == tiny_model
    with pytest.raises(BadConfig, match="version:NAME"):
        base_model.locate("file:///no/such/model", None, tmp_path)


def test_without_offline_an_unreachable_hub_is_worth_a_retry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("cannot reach the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(StoreUnavailable, match="some/model"):
        base_model.locate("some/model", None, tmp_path)


def test_the_licence_of_the_card_is_found(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n")
    assert base_model.licence(tmp_path) == "apache-2.0"
    assert base_model.licence(tmp_path / "none") is None
